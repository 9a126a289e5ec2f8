"""The feeds of a lane with priorities, over an executor that runs one micro-batch at a time when it is let."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from forebay.stream.core.priority import Priority
from forebay.stream.core.records import BatchPart, BatchResult, MicroBatch, TopicPartition
from forebay.stream.inference.executor import Deferred
from forebay.stream.pipeline.device_feed import DeviceFeed
from forebay.stream.pipeline.in_flight import Bounds, InFlight
from forebay.stream.pipeline.micro_batcher import MicroBatcher
from forebay.stream.pipeline.observer import NullObserver
from forebay.stream.pipeline.priorities import Priorities
from forebay.stream.pipeline.priority_feeds import PriorityFeeds
from forebay.stream.pipeline.reorder_buffer import ReorderBuffer
from tests.core.build import JULY, chunk, finish

HIGH, NORMAL, LOW = Priority
URGENT, USUAL, BACKFILL = (TopicPartition(topic, 0) for topic in ("urgent", "usual", "backfill"))


class SteppedExecutor:
    """An executor that holds at most two micro-batches. `step` runs the first of them. begun: the order in which they came."""

    def __init__(self) -> None:
        self._queue: deque[MicroBatch] = deque()
        self._results: list[BatchResult | Deferred] = []
        self.begun: list[MicroBatch] = []

    def step(self, *, defer: bool = False) -> bool:
        if not self._queue:
            return False
        batch = self._queue.popleft()
        self._results.append(Deferred(batch, "not now") if defer else finish(batch))
        return True

    async def start(self, warm_up_sizes: Sequence[int]) -> None:
        pass

    def capacity(self) -> int:
        return 2 - len(self._queue) - len(self._results)

    def submit(self, batch: MicroBatch) -> None:
        assert self.capacity() > 0
        self.begun.append(batch)
        self._queue.append(batch)

    def collect(self) -> list[BatchResult | Deferred]:
        results, self._results = self._results, []
        return results

    async def wait(self, timeout_s: float | None = None) -> None:
        await asyncio.sleep(0)

    def wake(self) -> None:
        pass

    def running_for_s(self) -> float:
        return 0.0

    async def submit_ad_hoc(self, batch: MicroBatch) -> BatchResult:
        raise NotImplementedError

    def stop(self) -> None:
        pass


class Rig:
    def __init__(self, *, headers: bool = False, max_batch_size: int = 4, max_batches: int = 4) -> None:
        self.executor = SteppedExecutor()
        self.reorder = ReorderBuffer()
        self.now_s = 0.0
        in_flight = InFlight(Bounds(10**6, 10**9, max_batches), limit_batches=False)

        def build(batcher: MicroBatcher, executor: object) -> DeviceFeed:
            return DeviceFeed(
                batcher,
                executor,  # type: ignore[arg-type]
                self.reorder,
                in_flight=in_flight,
                observer=NullObserver(),
                result_ready=asyncio.Event(),
            )

        self.batcher = MicroBatcher(max_batch_size=max_batch_size, max_batch_bytes=10**6, max_queue_delay_ms=5)
        self.feeds = PriorityFeeds(
            self.batcher,
            self.executor,
            Priorities(frozenset({"urgent"}), frozenset({"backfill"}), headers),
            build=build,
        )
        self.positions: dict[TopicPartition, int] = {}

    def add(self, partition: TopicPartition, first: int, count: int, header: bytes | None = None) -> None:
        headers = [] if header is None else [("forebay-priority", header)]
        part: BatchPart = chunk(range(first, first + count), partition=partition, headers=headers)
        self.feeds.add(part, now_s=self.now_s, wall_ms=JULY)

    def poll(self) -> None:
        self.feeds.poll(self.now_s)

    def step(self) -> bool:
        """Run one micro-batch and commit what can be committed; return whether there was one."""
        ran = self.executor.step()
        self.feeds.advance()
        for result in self.reorder.take(max_records=10**6, max_bytes=10**9):
            for part in result.batch.chunks:
                assert part.first_offset == self.positions.get(part.partition, 0), "the order of a partition is kept"
                self.positions[part.partition] = part.next_offset
        return ran

    def finish(self) -> None:
        self.feeds.flush()
        while self.step():
            pass
        assert self.feeds.num_unfinished == 0 and not self.feeds.is_backed_up and not list(self.feeds.waiting())


def topics_of(batches: Sequence[MicroBatch]) -> list[str]:
    return ["+".join(sorted({part.partition.topic for part in batch.chunks})) for batch in batches]


def test_urgent_events_overtake_a_backlog_and_do_not_wait_for_more() -> None:
    rig = Rig()
    rig.add(BACKFILL, 0, 40)
    rig.add(USUAL, 0, 8)
    assert topics_of(rig.executor.begun) == ["backfill", "backfill"]
    rig.add(URGENT, 0, 1)
    rig.poll()
    for _ in range(4):
        rig.step()
    assert topics_of(rig.executor.begun[2:]) == ["urgent", "usual", "usual", "backfill"]
    assert rig.positions[URGENT] == 1
    rig.finish()
    assert rig.positions == {BACKFILL: 40, USUAL: 8, URGENT: 1}


def test_an_open_micro_batch_that_waits_for_the_model_gets_its_turn_before_a_backlog_of_a_lower_class() -> None:
    rig = Rig()
    rig.batcher.waits_for_device = True
    rig.add(BACKFILL, 0, 40)
    rig.add(USUAL, 0, 1)
    rig.now_s = 1.0
    rig.poll()
    for _ in range(3):
        rig.step()
        rig.poll()
    assert topics_of(rig.executor.begun[:3]) == ["backfill", "backfill", "usual"]
    rig.finish()


def test_a_smaller_limit_of_the_lane_holds_for_all_classes() -> None:
    rig = Rig()
    rig.batcher.set_limits(max_batch_size=2, max_queue_delay_s=0.0, sufficient_size=2)
    for partition in (BACKFILL, USUAL, URGENT):
        rig.add(partition, 0, 8)
    rig.finish()
    assert {batch.num_records for batch in rig.executor.begun} == {2}


def test_only_topics_of_a_class_that_is_backed_up_are_held() -> None:
    rig = Rig(max_batches=2)
    rig.add(BACKFILL, 0, 40)
    topics = frozenset({"urgent", "usual", "backfill"})
    assert rig.feeds.is_backed_up and rig.feeds.held_topics(topics) == {"backfill"}
    assert rig.feeds.statuses() == {"high": (0, 0), "normal": (0, 0), "low": (40, 2)}
    rig.finish()
    assert rig.feeds.held_topics(topics) == frozenset()


def test_a_header_takes_what_waits_of_its_partition_with_it() -> None:
    rig = Rig(headers=True, max_batches=3)
    for first in range(0, 24, 4):
        rig.add(TopicPartition("usual", 1), first, 4)
    rig.add(USUAL, 0, 2)
    rig.add(USUAL, 2, 1, b"high")
    rig.add(USUAL, 3, 2)
    rig.poll()
    rig.step()
    rig.step()
    rig.step()
    rig.step()
    assert rig.positions[USUAL] >= 3, "it has overtaken the other partition"
    assert rig.positions[TopicPartition("usual", 1)] < 24
    rig.add(USUAL, 5, 1, b"urgent")
    assert rig.feeds.num_unknown == 1
    rig.finish()
    assert rig.positions == {USUAL: 6, TopicPartition("usual", 1): 24}


def test_a_micro_batch_that_could_not_run_returns_to_its_class() -> None:
    rig = Rig()
    rig.add(BACKFILL, 0, 8)
    rig.add(URGENT, 0, 4)
    rig.executor.step(defer=True)
    rig.feeds.advance()
    rig.finish()
    assert rig.positions == {BACKFILL: 8, URGENT: 4}


def test_a_purge_drops_what_was_not_submitted() -> None:
    rig = Rig()
    rig.add(BACKFILL, 0, 40)
    rig.feeds.purge()
    rig.reorder.purge()
    while rig.executor.step():
        rig.feeds.advance()
    assert rig.feeds.num_waiting == rig.feeds.num_unfinished == 0 and not rig.positions
    rig.add(BACKFILL, 0, 40)
    rig.finish()
    assert rig.positions == {BACKFILL: 40}


STEP = st.one_of(
    st.tuples(
        st.sampled_from([URGENT, USUAL, TopicPartition("usual", 1), BACKFILL]),
        st.integers(1, 9),
        st.sampled_from([None, None, b"high", b"normal", b"low"]),
    ),
    st.just("step"),
    st.just("defer"),
    st.just("poll"),
)


@given(st.lists(STEP, max_size=60), st.integers(1, 3))
def test_all_events_are_committed_in_the_order_of_their_partition(
    steps: list[tuple[TopicPartition, int, bytes | None] | str], max_batches: int
) -> None:
    rig = Rig(headers=True, max_batches=max_batches)
    read: dict[TopicPartition, int] = {}
    for step in steps:
        rig.now_s += 0.001
        if isinstance(step, tuple):
            partition, count, header = step
            rig.add(partition, read.get(partition, 0), count, header)
            read[partition] = read.get(partition, 0) + count
        elif step == "poll":
            rig.poll()
        elif step == "defer":
            rig.executor.step(defer=True)
            rig.feeds.advance()
        else:
            rig.step()
    rig.finish()
    assert rig.positions == read


def test_the_backlog_progresses_while_urgent_events_never_end() -> None:
    """Weights of 16 to 1: of 340 micro-batches at least 19 are of the backlog."""
    rig = Rig(max_batch_size=4, max_batches=2)
    rig.add(BACKFILL, 0, 400)
    for first in range(0, 1600, 4):
        rig.add(URGENT, first, 4)
        rig.step()
    low = topics_of(rig.executor.begun).count("backfill")
    assert low >= len(rig.executor.begun) // 17 - 1 > 15
