"""The schedule of instances, in virtual time."""

from __future__ import annotations

import heapq
from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from forebay.stream.core.backoff import Backoff
from forebay.stream.core.circuit_breaker import BreakerState, CircuitBreaker
from forebay.stream.core.records import BatchPart, BatchResult, MicroBatch, TopicPartition
from forebay.stream.inference.executor import Deferred
from forebay.stream.inference.instance_schedule import InstanceSchedule
from forebay.stream.pipeline.reorder_buffer import ReorderBuffer
from tests.core.build import P0, P1, chunk, finish


def breaker() -> CircuitBreaker:
    return CircuitBreaker(failure_threshold=2, reset_timeout_s=30, on_change=lambda _state, _reason: None)


def schedule(num_instances: int, of_version: CircuitBreaker | None = None) -> InstanceSchedule:
    return InstanceSchedule(
        num_instances, breaker=of_version or breaker(), backoff=Backoff(1.0, 4.0, jitter=lambda: 0.0)
    )


def batch(seq: int, partition: TopicPartition = P0, size: int = 1, first: int | None = None) -> MicroBatch:
    start = seq if first is None else first
    return MicroBatch(seq, (chunk(range(start, start + size), partition=partition),), "size", 0.0)


class Run:
    """Instances that run micro-batches for given times. A feed submits them in order, as long as there is capacity.

    finished: the micro-batches in the order in which they end. idle_s: the time that instances had nothing to do although
    micro-batches waited in the feed or the queue.
    """

    def __init__(self, num_instances: int, batches: list[tuple[MicroBatch, float]]) -> None:
        self.schedule = schedule(num_instances)
        self.finished: list[MicroBatch] = []
        self.now_s = self.idle_s = 0.0
        self._num_instances = num_instances
        self._durations = {one.seq: duration for one, duration in batches}
        self._feed = deque(one for one, _ in batches)
        self._ends: list[tuple[float, int, MicroBatch]] = []
        self._idle = set(range(num_instances))

    def run(self) -> None:
        self._start()
        while self._ends:
            end_s, index, done = heapq.heappop(self._ends)
            waits = (
                bool(self._feed) or self.schedule.capacity(self.now_s) < 2 * self._num_instances - len(self._ends) - 1
            )
            self.idle_s += len(self._idle) * (end_s - self.now_s) if waits else 0.0
            self.now_s = end_s
            self._idle.add(index)
            self.schedule.end(index, end_s, deferred=False)
            self.schedule.on_result(index, finish(done), end_s)
            self.finished.append(done)
            self._start()

    def _start(self) -> None:
        while self._feed and self.schedule.capacity(self.now_s):
            self.schedule.add(self._feed.popleft(), self.now_s)
        for index in sorted(self._idle):
            item = self.schedule.take(index, self.now_s)
            if isinstance(item, MicroBatch):
                self._idle.discard(index)
                heapq.heappush(self._ends, (self.now_s + self._durations[item.seq], index, item))


def test_two_instances_share_a_load_of_ten_to_one() -> None:
    """Of eleven micro-batches ten are of one partition; the instances are idle for less than 10 % of the time."""
    batches = [(batch(seq, P1 if seq % 11 == 0 else P0), 0.004 + 0.001 * (seq % 3)) for seq in range(220)]
    run = Run(2, batches)
    run.run()
    busy = [status.busy_s for status in run.schedule.statuses(run.now_s)]
    assert run.idle_s == 0.0
    assert min(busy) > 0.9 * run.now_s
    assert len(run.finished) == 220


@given(
    num_instances=st.integers(2, 5),
    load=st.lists(
        st.tuples(st.sampled_from([P0, P1]), st.integers(1, 3), st.floats(0.001, 10.0)), min_size=1, max_size=40
    ),
)
def test_whatever_the_durations_no_instance_is_idle_while_work_waits_and_partitions_keep_their_order(
    num_instances: int, load: list[tuple[TopicPartition, int, float]]
) -> None:
    next_offsets = {P0: 0, P1: 0}
    batches: list[tuple[MicroBatch, float]] = []
    for seq, (partition, size, duration_s) in enumerate(load):
        batches.append((batch(seq, partition, size, next_offsets[partition]), duration_s))
        next_offsets[partition] += size
    run = Run(num_instances, batches)
    run.run()
    assert run.idle_s == 0.0
    reorder = ReorderBuffer()
    for one, _ in batches:
        reorder.add(one)
    positions = {P0: 0, P1: 0}
    for done in run.finished:
        reorder.on_result(finish(done))
        for result in reorder.take(max_records=10**6, max_bytes=10**9):
            for part in result.batch.chunks:
                _advance(positions, part)
    assert positions == next_offsets


def _advance(positions: dict[TopicPartition, int], part: BatchPart) -> None:
    assert part.first_offset == positions[part.partition]
    positions[part.partition] = part.next_offset


# ---- failures


def run_one(instances: InstanceSchedule, index: int, now_s: float, *, fails: bool) -> None:
    item = instances.take(index, now_s)
    assert isinstance(item, MicroBatch)
    instances.end(index, now_s + 0.1, deferred=fails)
    result: BatchResult | Deferred = Deferred(item, "it is gone") if fails else finish(item)
    instances.on_result(index, result, now_s + 0.1)


def test_an_instance_that_fails_waits_and_the_other_one_goes_on() -> None:
    of_version = breaker()
    instances = schedule(2, of_version)
    for seq in range(4):
        instances.add(batch(seq), 0.0)
    for _ in range(3):
        run_one(instances, 1, 0.0, fails=False)
    run_one(instances, 0, 0.0, fails=True)
    assert instances.capacity(0.1) == 2, "one instance is left, with one micro-batch to run and one to wait"
    instances.add(batch(4), 0.1)
    assert instances.take(0, 0.2) is None
    assert not instances.readmit(0.2)
    run_one(instances, 1, 0.2, fails=False)
    assert [status.suspended for status in instances.statuses(0.3)] == [True, False]
    assert instances.readmit(1.2) and instances.capacity(1.2) == 4
    assert of_version.state is BreakerState.CLOSED and of_version.failures == 0


def test_the_breaker_opens_when_all_instances_fail() -> None:
    of_version = breaker()
    instances = schedule(2, of_version)
    now_s = 0.0
    for index in (0, 1, 0):
        instances.readmit(now_s)
        instances.add(batch(0), now_s)
        run_one(instances, index, now_s, fails=True)
        now_s += 10
    assert of_version.state is BreakerState.OPEN
    instances.readmit(now_s)
    assert instances.capacity(now_s) == 0
    assert instances.capacity(now_s + 30) > 0
    instances.add(batch(0), now_s + 30)
    assert of_version.state is BreakerState.HALF_OPEN and instances.capacity(now_s + 30) == 0, "one call is a trial"
    run_one(instances, 1, now_s + 30, fails=False)
    assert of_version.state.value == "closed"


def test_a_call_that_hangs_is_found_and_keeps_the_breaker_open_although_others_succeed() -> None:
    of_version = breaker()
    instances = schedule(2, of_version)
    for seq in range(3):
        instances.add(batch(seq), 0.0)
    hanging = instances.take(0, 0.0)
    assert isinstance(hanging, MicroBatch)
    item = instances.take(1, 4.0)
    assert isinstance(item, MicroBatch)
    assert instances.running_for_s(5.0) == 5.0
    of_version.trip(5.0, "a call has not returned")
    instances.end(1, 5.0, deferred=False)
    result = finish(item)
    object.__setattr__(result, "started_s", 4.0)
    instances.on_result(1, result, 5.0)
    assert of_version.state is BreakerState.OPEN
    instances.end(0, 6.0, deferred=False)
    instances.on_result(0, finish(hanging), 6.0)
    assert of_version.state.value == "closed"
    assert instances.running_for_s(6.0) == 0.0
