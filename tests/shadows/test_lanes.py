"""The shadows of a worker, as revisions say."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from forebay.models.backends.protocol import Model
from forebay.schemas.errors import ModelError
from forebay.schemas.rollouts import Action
from forebay.stream.config.sections import Settings
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import BatchResult
from forebay.stream.rollouts.revision import Revision, Shadow, initial_revision
from forebay.stream.shadows.job import OnOutcome, ShadowExecutor
from forebay.stream.shadows.lanes import ShadowLanes, ShadowObserver, ShadowSettings
from forebay.stream.shadows.work import ShadowWork
from tests.core.build import ManualClock
from tests.shadows.build import ONE_FEATURE, TOPIC, HeldExecutor, RecordingSink, ShadowModel, result


class ScriptedLoader:
    """Returns models by version; waits while `gate` is not set. It raises the error of a version that has one."""

    def __init__(self) -> None:
        self.models: dict[int, ShadowModel] = {2: ShadowModel()}
        self.errors: dict[int, Exception] = {}
        self.loads: list[tuple[int, str | None]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def load(self, ref: ModelRef, digest: str | None) -> Model:
        assert ref.name == "m"
        self.loads.append((ref.version, digest))
        await self.gate.wait()
        if ref.version in self.errors:
            raise self.errors[ref.version]
        return self.models[ref.version]


class Rig:
    """The shadows of a worker that serves version 1 of the model m."""

    def __init__(self, *, windowed: bool = False) -> None:
        self.clock = ManualClock()
        self.loader = ScriptedLoader()
        self.sink = RecordingSink()
        self.executors: list[HeldExecutor] = []
        served = Settings.model_validate({"model": {"name": "m"}}).models_to_serve()[0]
        self.lanes = ShadowLanes(
            ShadowSettings(
                topic=TOPIC,
                models={"m": served},
                windowed=frozenset({"m"}) if windowed else frozenset(),
                queue_batches=8,
                deadline_s=1.0,
                max_share=0.25,
                max_event_bytes=1_000,
                max_key_bytes=100,
            ),
            loader=self.loader,
            signature_of={ModelRef("m", 1): ONE_FEATURE}.get,
            is_load_high=lambda: False,
            sink=self.sink,
            clock=self.clock,
            make_executor=self._executor,
        )

    def _executor(self, work: ShadowWork, on_outcome: OnOutcome) -> ShadowExecutor:
        self.executors.append(HeldExecutor(work, on_outcome, clock=self.clock))
        return self.executors[-1]

    async def apply(self, revision: Revision) -> None:
        """Apply a revision and wait for its loads."""
        self.lanes.apply(revision)
        await self.loaded()

    async def loaded(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    def state(self, version: int = 2) -> tuple[str, str | None]:
        status = self.lanes.comparisons("m")[version]
        return status["state"], status["error"]


def revision(number: int, *shadows: Shadow, action: Action = Action.SHADOW) -> Revision:
    return replace(initial_revision("m", 1), number=number, action=action, shadows=shadows, digests={2: "abc"}, seed=7)


ONE = Shadow(2, 1.0)


async def test_a_revision_starts_its_shadow_and_the_next_one_ends_it() -> None:
    rig = Rig()
    await rig.apply(revision(1, ONE))
    assert (rig.loader.loads, rig.state()) == ([(2, "abc")], ("running", None))
    rig.lanes.on_result(result())
    rig.executors[0].run()
    assert len(rig.sink.records) == 10
    assert b'"revision":1' in (rig.sink.records[0][2] or b"")
    await rig.apply(revision(2, action=Action.ABORT))
    assert rig.executors[0].stopped
    assert rig.lanes.comparisons("m") == {}


async def test_a_shadow_continues_through_revisions_that_keep_it() -> None:
    rig = Rig()
    await rig.apply(revision(1, ONE))
    rig.lanes.on_result(result())
    await rig.apply(revision(2, Shadow(2, 0.5), action=Action.STEP))
    assert len(rig.loader.loads) == 1
    status = rig.lanes.comparisons("m")[2]
    assert (status["sample"], status["sampled"]) == (0.5, 10)


async def test_results_are_ignored_while_a_shadow_loads() -> None:
    rig = Rig()
    rig.loader.gate.clear()
    await rig.apply(revision(1, ONE))
    rig.lanes.on_result(result())
    assert rig.state() == ("loading", None)
    rig.loader.gate.set()
    await rig.loaded()
    assert rig.state() == ("running", None)
    assert rig.lanes.comparisons("m")[2]["sampled"] == 0


async def test_a_load_ends_with_the_revision_that_asked_for_it() -> None:
    rig = Rig()
    rig.loader.gate.clear()
    await rig.apply(revision(1, ONE))
    await rig.apply(revision(2, action=Action.ABORT))
    rig.loader.gate.set()
    await rig.loaded()
    assert rig.executors == []


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (ModelError("the manifest has another SHA-256", kind="digest"), "the manifest has another SHA-256"),
        (RuntimeError("out of registers"), "RuntimeError: out of registers"),
    ],
)
async def test_a_shadow_that_cannot_be_loaded_is_an_error_in_the_status_only(error: Exception, shown: str) -> None:
    rig = Rig()
    rig.loader.errors[2] = error
    await rig.apply(revision(1, ONE))
    assert rig.state() == ("failed", shown)
    rig.lanes.on_result(result())
    del rig.loader.errors[2]
    await rig.apply(revision(2, ONE, action=Action.STEP))
    assert rig.state() == ("running", None)


async def test_a_disabled_shadow_starts_again_only_if_somebody_asks_for_it() -> None:
    rig = Rig()
    await rig.apply(revision(1, ONE))
    rig.lanes.disable_all("a test")
    await rig.apply(revision(2, ONE, action=Action.STEP))
    assert rig.state() == ("disabled", "a test")
    await rig.apply(revision(3, ONE))
    assert rig.state() == ("running", None)


async def test_models_that_take_windows_have_no_shadows() -> None:
    rig = Rig(windowed=True)
    await rig.apply(revision(1, ONE))
    assert rig.state()[0] == "failed"
    assert "windows over event time" in str(rig.state()[1])
    assert rig.loader.loads == []


async def test_a_version_that_the_worker_no_longer_has_is_not_compared() -> None:
    rig = Rig()
    await rig.apply(revision(1, ONE))
    rig.lanes.on_result(result(model=ModelRef("m", 9)))
    assert rig.lanes.comparisons("m")[2]["sampled"] == 0


async def test_a_shadow_with_other_columns_decodes_the_records() -> None:
    rig = Rig()
    rig.loader.models[2] = ShadowModel(width=2)
    await rig.apply(revision(1, ONE))
    rig.lanes.on_result(result())
    assert not rig.executors[0].jobs[0].has_same_columns
    rig.executors[0].run()
    assert rig.lanes.comparisons("m")[2]["comparisons"]["1"]["failures"]["shadow_only"] == 10  # not valid for any model


async def test_an_error_of_this_package_disables_shadows_and_does_not_reach_the_stream() -> None:
    rig, observer = Rig(), ShadowObserver()
    observer.on_result(result())  # not connected yet
    observer.connect(rig.lanes)
    await rig.apply(revision(1, ONE))
    observer.on_result(replace_batch(result()))
    assert rig.state() == ("disabled", "AttributeError: 'NoneType' object has no attribute 'chunks'")


def replace_batch(broken: BatchResult) -> BatchResult:
    """Return a result that no shadow can read."""

    class Broken:
        model = broken.model
        batch = None

    return Broken()  # type: ignore[return-value]


async def test_a_stop_ends_loads_and_executors() -> None:
    rig = Rig()
    await rig.apply(revision(1, ONE))
    rig.loader.gate.clear()
    await rig.apply(revision(2, ONE, Shadow(3, 1.0)))
    await rig.lanes.stop()
    assert rig.executors[0].stopped
