"""A blocked lane blocks only the topics that feed it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from forebay.schemas.errors import ModelError
from forebay.stream.core.circuit_breaker import CircuitBreaker
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import BatchResult, Chunk, MicroBatch, TopicPartition
from forebay.stream.inference.executor import Deferred
from forebay.stream.pipeline.in_flight import Bounds, InFlight
from forebay.stream.pipeline.lane import CallLimits, Lane
from forebay.stream.pipeline.lanes import Lanes
from forebay.stream.pipeline.micro_batcher import MicroBatcher
from forebay.stream.pipeline.observer import NullObserver
from tests.core.build import ManualClock, chunk, finish

A, B = ModelRef("a", 1), ModelRef("b", 1)
TOPIC_A, TOPIC_B, MIXED = TopicPartition("only-a", 0), TopicPartition("only-b", 0), TopicPartition("mixed", 0)
TOPICS = frozenset(["only-a", "only-b", "mixed"])
ALL = {"max_records": 10**6, "max_bytes": 10**9}


class StepExecutor:
    """An executor that finishes micro-batches when a test says so."""

    def __init__(self) -> None:
        self.batches: list[MicroBatch] = []
        self.results: list[BatchResult | Deferred] = []
        self.is_away = False
        self.call_s = 0.0

    async def start(self, warm_up_sizes: Sequence[int]) -> None:
        pass

    def capacity(self) -> int:
        return 0 if self.is_away else 2 - len(self.batches)

    def submit(self, batch: MicroBatch) -> None:
        assert self.capacity()
        self.batches.append(batch)

    def collect(self) -> list[BatchResult | Deferred]:
        results, self.results = self.results, []
        return results

    async def wait(self, timeout_s: float | None = None) -> None:
        await asyncio.Event().wait()

    def wake(self) -> None:
        pass

    def running_for_s(self) -> float:
        return self.call_s

    async def submit_ad_hoc(self, batch: MicroBatch) -> BatchResult:
        return finish(batch)

    def stop(self) -> None:
        pass

    def finish_all(self) -> None:
        self.results += [finish(batch) for batch in self.batches]
        self.batches.clear()


class Scene:
    def __init__(
        self,
        models: Sequence[ModelRef] = (A, B),
        *,
        max_events: int = 300,
        topics: frozenset[str] = TOPICS,
        may_change: bool = False,
    ) -> None:
        self.in_flight = InFlight(Bounds(max_events, 10**9, 4), limit_batches=len(models) == 1 and not may_change)
        self.clock = ManualClock()
        self.executors = {model: StepExecutor() for model in models}
        self.breakers = {
            model: CircuitBreaker(failure_threshold=1, reset_timeout_s=30, on_change=lambda state, reason: None)
            for model in models
        }
        own = {A: frozenset(["only-a", "mixed"]), B: frozenset(["only-b"])}
        self.lanes = Lanes(
            [self.lane(model, own[model] if len(models) > 1 else TOPICS) for model in models],
            topics=topics,
            in_flight=self.in_flight,
            observer=NullObserver(),
            result_ready=asyncio.Event(),
            clock=self.clock,
            may_change=may_change,
        )

    def lane(self, model: ModelRef, topics: frozenset[str]) -> Lane:
        return Lane(
            model,
            executor=self.executors[model],
            batcher=MicroBatcher(max_batch_size=10, max_batch_bytes=10**6, max_queue_delay_ms=5),
            breaker=self.breakers[model],
            call_limits=CallLimits(1.0, 5.0),
            topics=topics,
        )

    def add_lane(self, model: ModelRef) -> None:
        """Add the lane of another version of the first model."""
        self.executors[model] = StepExecutor()
        self.breakers[model] = CircuitBreaker(
            failure_threshold=1, reset_timeout_s=30, on_change=lambda state, reason: None
        )
        self.lanes.add_lane(self.lane(model, TOPICS), serves=False)

    def poll(self, *parts: Chunk) -> None:
        for part in parts:
            self.in_flight.on_polled(events=part.num_records, num_bytes=part.num_bytes)
            self.lanes.add(part, now_s=self.clock.now_s, wall_ms=self.clock.now_ms)

    def readable(self) -> frozenset[str]:
        return self.lanes.readable_topics(self.clock.now_s)

    def blocked(self, model: ModelRef) -> str | None:
        return next(status.blocked for status in self.lanes.status() if status.model == model)

    def take(self) -> list[BatchResult]:
        self.lanes.poll(self.clock.now_s)
        return self.lanes.reorder.take(**ALL)


async def test_an_open_breaker_blocks_the_topics_of_its_lane() -> None:
    scene = Scene()
    scene.breakers[B].trip(scene.clock.now_s, "too slow")
    assert scene.readable() == {"only-a", "mixed"}
    assert (scene.blocked(A), scene.blocked(B)) == (None, "breaker_open")


async def test_a_topic_is_blocked_while_it_has_events_in_flight_for_a_blocked_lane() -> None:
    scene = Scene()
    scene.poll(chunk([0, 2], partition=MIXED, model=A), chunk([1], partition=MIXED, model=B))
    scene.breakers[B].trip(scene.clock.now_s, "too slow")
    assert scene.readable() == {"only-a"}
    scene.lanes.flush()
    for executor in scene.executors.values():
        executor.finish_all()
    results = scene.take()
    assert sum(result.batch.num_records for result in results) == 3
    scene.lanes.release(results)
    assert scene.readable() == {"only-a", "mixed"}


async def test_a_lane_with_uncut_parts_blocks_its_topics() -> None:
    scene = Scene()
    scene.executors[B].is_away = True
    scene.poll(chunk(range(100), partition=TOPIC_B, model=B))
    assert scene.blocked(B) == "device_backlog" and scene.readable() == {"only-a", "mixed"}
    (status,) = (status for status in scene.lanes.status() if status.model == B)
    assert (status.events, status.batches, status.waiting) == (100, 4, 4)


async def test_a_topic_that_holds_its_share_is_not_read() -> None:
    scene = Scene(max_events=60)
    scene.executors[B].is_away = True
    scene.poll(chunk(range(40), partition=TOPIC_B, model=B))
    assert scene.readable() == {"only-a", "mixed"} and scene.blocked(B) == "in_flight_limit"


async def test_a_single_topic_may_use_all_that_the_limits_permit() -> None:
    scene = Scene(max_events=60, topics=frozenset(["mixed"]))
    scene.executors[B].is_away = True
    scene.poll(chunk(range(40), partition=MIXED, model=B))
    assert scene.readable() == {"mixed"} and scene.blocked(B) is None
    scene.poll(chunk(range(40, 60), partition=MIXED, model=A))
    assert scene.readable() == frozenset() and scene.blocked(B) == "in_flight_limit"


async def test_one_lane_alone_blocks_everything() -> None:
    scene = Scene([A])
    assert scene.readable() == TOPICS
    scene.breakers[A].trip(scene.clock.now_s, "too slow")
    assert scene.readable() == frozenset()


async def test_parts_without_rows_do_not_wait_for_the_model() -> None:
    scene = Scene()
    scene.executors[B].is_away = True
    scene.poll(chunk([0], partition=MIXED, model=A), chunk([1], partition=MIXED, model=B, rejected=[1]))
    scene.lanes.flush()
    scene.executors[A].finish_all()
    results = scene.take()
    assert [result.batch.num_records for result in results] == [1, 1]
    assert not scene.executors[B].batches


async def test_a_part_without_rows_waits_for_the_rows_before_it() -> None:
    scene = Scene()
    scene.poll(chunk([0], partition=TOPIC_B, model=B), chunk([1], partition=TOPIC_B, model=B, rejected=[1]))
    assert scene.take() == []
    scene.lanes.flush()
    scene.executors[B].finish_all()
    assert [result.batch.num_records for result in scene.take()] == [2]


async def test_a_purge_drops_all_lanes_and_late_results_are_ignored() -> None:
    scene = Scene()
    scene.poll(chunk([0], partition=TOPIC_A, model=A), chunk([0], partition=TOPIC_B, model=B))
    scene.lanes.flush()
    scene.lanes.purge()
    scene.lanes.reorder.purge()
    for executor in scene.executors.values():
        executor.finish_all()
    assert scene.take() == []
    assert [status.events for status in scene.lanes.status()] == [0, 0]


async def test_a_deferred_micro_batch_is_submitted_again_in_its_lane_only() -> None:
    scene = Scene()
    scene.poll(chunk([0], partition=TOPIC_A, model=A), chunk([0], partition=TOPIC_B, model=B))
    scene.lanes.flush()
    executor = scene.executors[B]
    (batch,) = executor.batches
    executor.batches.clear()
    executor.results.append(Deferred(batch, "the device is gone"))
    scene.executors[A].finish_all()
    assert [result.model for result in scene.take()] == [A]
    assert executor.batches == [batch]


async def test_a_hanging_call_names_the_model() -> None:
    scene = Scene()
    scene.executors[B].call_s = 2.0
    watching = asyncio.create_task(scene.lanes.watch())
    scene.lanes._check_call(scene.lanes._states[B].lane)
    assert scene.blocked(B) == "breaker_open" and scene.blocked(A) is None
    scene.executors[B].call_s = 6.0
    with pytest.raises(ModelError, match="a model call of b has not returned after 6"):
        scene.lanes._check_call(replace(scene.lanes._states[B].lane))
    watching.cancel()


async def test_the_error_of_a_feed_is_raised_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene()

    async def fail(timeout_s: float | None = None) -> None:
        raise ValueError("for this test")

    monkeypatch.setattr(scene.executors[B], "wait", fail)
    with pytest.raises(ValueError, match="for this test"):
        await scene.lanes.run()


A2 = ModelRef("a", 2)


async def test_a_hanging_call_names_the_version_if_several_are_loaded() -> None:
    scene = Scene([A], may_change=True)
    scene.add_lane(A2)
    scene.executors[A2].call_s = 6.0
    with pytest.raises(ModelError, match="a model call of a version 2 has not returned after 6"):
        scene.lanes._check_call(scene.lanes._states[A2].lane)


def finish_all(scene: Scene) -> list[BatchResult]:
    scene.lanes.flush()
    for executor in scene.executors.values():
        executor.finish_all()
    results = scene.take()
    scene.lanes.release(results)
    return results


async def test_a_version_that_serves_no_more_may_hang() -> None:
    scene = Scene([A], may_change=True)
    scene.add_lane(A2)
    scene.lanes.serve("a", [A, A2])
    scene.poll(chunk([0], partition=MIXED, model=A2))
    scene.executors[A2].call_s = 6.0
    scene.lanes.serve("a", [A])
    with pytest.raises(ModelError, match="a model call of a version 2"):
        scene.lanes.check_calls()
    scene.executors[A2].call_s = 2.0
    scene.lanes.check_calls()
    assert scene.lanes.stuck(scene.clock.now_s) == [A2]
    scene.lanes.purge()
    scene.executors[A2].call_s = 6.0
    scene.lanes.check_calls()
    assert scene.lanes.stuck(scene.clock.now_s) == []


async def test_two_versions_share_a_partition_and_are_committed_together() -> None:
    scene = Scene([A], may_change=True)
    scene.add_lane(A2)
    scene.lanes.serve("a", [A, A2])
    scene.poll(chunk([0, 2], partition=MIXED, model=A), chunk([1, 3], partition=MIXED, model=A2))
    scene.lanes.flush()
    scene.executors[A].finish_all()
    assert [[part.next_offset for part in result.batch.chunks] for result in scene.take()] == [[1]]
    scene.executors[A2].finish_all()
    results = scene.take()
    assert sorted(part.next_offset for result in results for part in result.batch.chunks) == [3, 4]


async def test_a_resident_lane_blocks_nothing_and_a_serving_one_everything() -> None:
    scene = Scene([A], may_change=True)
    scene.add_lane(A2)
    scene.breakers[A2].trip(scene.clock.now_s, "too slow")
    assert scene.readable() == TOPICS
    scene.lanes.serve("a", [A, A2])
    assert scene.readable() == frozenset()
    scene.lanes.serve("a", [A])
    scene.breakers[A].trip(scene.clock.now_s, "too slow")
    assert scene.readable() == frozenset()


async def test_a_lane_that_serves_no_more_blocks_only_topics_with_its_events() -> None:
    scene = Scene([A], may_change=True)
    scene.add_lane(A2)
    scene.lanes.serve("a", [A2])
    scene.poll(chunk([0], partition=TOPIC_B, model=A2))
    scene.lanes.serve("a", [A])
    scene.breakers[A2].trip(scene.clock.now_s, "too slow")
    assert scene.readable() == {"only-a", "mixed"}


async def test_a_lane_is_removed_once_nothing_is_in_flight_for_it() -> None:
    scene = Scene([A], may_change=True)
    scene.add_lane(A2)
    scene.lanes.serve("a", [A2])
    assert not scene.lanes.remove_lane(A2), "it serves"
    scene.poll(chunk([0], partition=MIXED, model=A2), chunk([1], partition=MIXED, model=A2, rejected=[1]))
    scene.lanes.serve("a", [A])
    assert not scene.lanes.remove_lane(A2), "its events are waiting"
    scene.lanes.flush()
    assert not scene.lanes.remove_lane(A2), "its events are on the device"
    scene.executors[A2].finish_all()
    results = scene.take()
    assert not scene.lanes.remove_lane(A2), "its events are not committed"
    scene.lanes.release(results)
    assert scene.lanes.remove_lane(A2) and not scene.lanes.has_lane(A2)
    scene.poll(chunk([2], partition=MIXED, model=A))
    assert [result.model for result in finish_all(scene)] == [A]


async def test_a_purge_makes_a_lane_removable_and_its_late_results_harm_nothing() -> None:
    scene = Scene([A], may_change=True)
    scene.add_lane(A2)
    scene.lanes.serve("a", [A2])
    scene.poll(chunk([0], partition=MIXED, model=A2))
    scene.lanes.flush()
    scene.lanes.purge()
    scene.lanes.reorder.purge()
    scene.lanes.serve("a", [A])
    assert scene.lanes.remove_lane(A2)
    scene.add_lane(A2)
    scene.lanes.serve("a", [A2])
    scene.poll(chunk([0], partition=MIXED, model=A2))
    assert [result.batch.num_records for result in finish_all(scene)] == [1]


async def test_feeds_come_and_go_with_their_lanes() -> None:
    scene = Scene([A], may_change=True)
    running = asyncio.create_task(scene.lanes.run())
    await asyncio.sleep(0)
    scene.add_lane(A2)
    feeds = {task.get_name() for task in asyncio.all_tasks()}
    assert {"feed-a-1", "feed-a-2"} <= feeds
    assert scene.lanes.remove_lane(A2)
    for _ in range(3):
        await asyncio.sleep(0)
    feeds = {task.get_name() for task in asyncio.all_tasks()}
    assert "feed-a-1" in feeds and "feed-a-2" not in feeds and not running.done()
    scene.add_lane(A2)
    _fail_waiting(scene.executors[A2])
    with pytest.raises(ValueError, match="for this test"):
        await running


def _fail_waiting(executor: StepExecutor) -> None:
    async def fail(timeout_s: float | None = None) -> None:
        raise ValueError("for this test")

    executor.wait = fail  # type: ignore[method-assign]
