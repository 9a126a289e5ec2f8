"""The assembly of a lane: what it takes from the settings of its model."""

from __future__ import annotations

import pytest

from forebay.stream.config.sections import Settings
from forebay.stream.core.clock import SystemClock
from forebay.stream.core.outputs import OutputTopic, OutputTopics
from forebay.stream.inference.device_thread import DeviceThread
from forebay.stream.inference.instance_pool import InstancePool
from forebay.stream.pipeline.lane import Lane
from forebay.stream.worker.lane_assembly import build_lane
from tests.worker.echo import WindowHashModel


@pytest.mark.parametrize(("name", "topic"), [("wanted", "late-events"), ("counted", None)])
async def test_only_a_model_whose_windows_ask_for_it_writes_its_late_events(name: str, topic: str | None) -> None:
    window = {"kind": "tumbling", "size_ms": 10}
    settings = Settings.model_validate(
        {
            "kafka": {"bootstrap_servers": "127.0.0.1:1"},
            "models": (
                {"name": "wanted", "topics": ["a"], "window": {**window, "late_events_topic": True}},
                {"name": "counted", "topics": ["b"], "window": window},
            ),
        }
    )
    served = {one.model.name: one for one in settings.models_to_serve()}[name]
    lane = build_lane(
        WindowHashModel(name),
        served,
        worker=settings,
        topics=frozenset(served.topics),
        label=name,
        clock=SystemClock(),
        on_fatal=lambda _error: None,
    )
    names = ("predictions", "dead-letters", "outcome-deltas", "late-events")
    topics = OutputTopics(*(OutputTopic(one, 1, 1_000) for one in names))

    own = lane.output_topics(topics)

    assert [one.name for one in own.all()] == [*names[:3], *([topic] if topic else [])]


async def test_the_device_of_a_lane_is_the_one_that_runs_the_model_not_the_configured_one() -> None:
    settings = Settings.model_validate({"model": {"device": "auto"}, "window": {"kind": "tumbling", "size_ms": 10}})
    (served,) = settings.models_to_serve()

    def device_of(model: WindowHashModel) -> str:
        return build_lane(
            model,
            served,
            worker=settings,
            topics=frozenset(),
            label="model",
            clock=SystemClock(),
            on_fatal=lambda _error: None,
        ).device

    assert device_of(WindowHashModel("default")) == "cpu"  # of a backend without devices
    on_gpu = WindowHashModel("default")
    on_gpu.device = "cuda:1"  # type: ignore[attr-defined]
    assert device_of(on_gpu) == "cuda:1"


@pytest.mark.parametrize(
    ("budget", "sizes"),
    [({}, [1, 2, 4, 5]), ({"max_load_memory_mb": 100}, [5]), ({"max_batch_latency_ms": 100}, [5])],
)
async def test_a_model_that_was_measured_is_not_warmed_up_with_all_sizes_again(
    budget: dict[str, int], sizes: list[int]
) -> None:
    window = {"kind": "tumbling", "size_ms": 10}
    settings = Settings.model_validate({"model": budget, "batch": {"max_batch_size": 5}, "window": window})
    (served,) = settings.models_to_serve()
    lane = build_lane(
        WindowHashModel("default"),
        served,
        worker=settings,
        topics=frozenset(),
        label="model",
        clock=SystemClock(),
        on_fatal=lambda _error: None,
    )
    assert lane.warm_up_sizes() == sizes


async def test_a_model_with_several_instances_runs_in_a_pool_and_one_without_on_a_thread() -> None:
    settings = Settings.model_validate({"window": {"kind": "tumbling", "size_ms": 10}})
    (served,) = settings.models_to_serve()

    def lane_of(model: WindowHashModel) -> Lane:
        return build_lane(
            model,
            served,
            worker=settings,
            topics=frozenset(),
            label="model",
            clock=SystemClock(),
            on_fatal=lambda _error: None,
        ).lane

    one, several = WindowHashModel("default"), WindowHashModel("default")
    several.instances = (several, WindowHashModel("default"))  # type: ignore[attr-defined]
    assert isinstance(lane_of(one).executor, DeviceThread) and not lane_of(one).instances()
    assert isinstance(lane_of(several).executor, InstancePool) and len(lane_of(several).instances()) == 2
