"""The feeds of a lane whose events have different priorities: one for each class, which share the executor.

A micro-batch has events of one class. The executor takes from the classes by weighted fair sharing (`core.priority`), so that
urgent events wait for at most what the executor has already, and the others always make progress. If a header makes an event
urgent, what waits of its partition moves into the same class, because the partition keeps its order.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from forebay.stream.core.priority import FairSchedule, Priority
from forebay.stream.core.records import BatchPart, BatchResult, MicroBatch
from forebay.stream.inference.executor import Deferred, Executor
from forebay.stream.pipeline.device_feed import MAX_SUBMITS_PER_TURN, RETRY_CAPACITY_S, DeviceFeed
from forebay.stream.pipeline.micro_batcher import MicroBatcher
from forebay.stream.pipeline.priorities import Priorities

FeedFactory = Callable[[MicroBatcher, Executor], DeviceFeed]
"""Builds the feed of a class for its micro-batcher and its share of the executor."""
_ALL: Final = tuple(Priority)


class PriorityStatus(NamedTuple):
    """What a lane has of one class: events taken since the start, and micro-batches that wait for the device."""

    events: int
    waiting: int


class ExecutorShare:
    """The executor of a lane as the feed of one class uses it: it has capacity only when it is the turn of the class."""

    def __init__(self, sharing: _Sharing, priority: Priority) -> None:
        self._sharing = sharing
        self._priority = priority

    async def start(self, warm_up_sizes: Sequence[int]) -> None:
        raise AssertionError("the executor is started by its owner")

    def capacity(self) -> int:
        return self._sharing.capacity(self._priority)

    def submit(self, batch: MicroBatch) -> None:
        self._sharing.submit(self._priority, batch)

    def collect(self) -> list[BatchResult | Deferred]:
        return self._sharing.collect(self._priority)

    async def wait(self, timeout_s: float | None = None) -> None:
        await self._sharing.executor.wait(timeout_s)

    def wake(self) -> None:
        self._sharing.executor.wake()

    def running_for_s(self) -> float:
        return self._sharing.executor.running_for_s()

    async def submit_ad_hoc(self, batch: MicroBatch) -> BatchResult:
        return await self._sharing.executor.submit_ad_hoc(batch)

    def stop(self) -> None:
        raise AssertionError("the executor is stopped by its owner")


class _Sharing:
    """What the classes of a lane share: the executor, whose turn it is, and the results that they have not collected.

    waiting: returns the classes with a micro-batch that waits.
    """

    def __init__(self, executor: Executor, waiting: Callable[[], list[Priority]]) -> None:
        self.executor = executor
        self._waiting = waiting
        self._schedule = FairSchedule()
        self._class_of: dict[int, Priority] = {}
        self._results: dict[Priority, deque[BatchResult | Deferred]] = {one: deque() for one in _ALL}
        self.num_submitted = 0

    def capacity(self, priority: Priority) -> int:
        # The class that asks has something to submit, even if its open micro-batch still waits for capacity (`DeviceFeed`).
        order = self._schedule.order({*self._waiting(), priority})
        return self.executor.capacity() if order[0] is priority else 0

    def submit(self, priority: Priority, batch: MicroBatch) -> None:
        self.num_submitted += 1
        self._class_of[batch.seq] = priority
        self._schedule.charge(priority, max(batch.num_records, batch.num_rows))
        self.executor.submit(batch)

    def collect(self, priority: Priority) -> list[BatchResult | Deferred]:
        for result in self.executor.collect():
            self._results[self._class_of.pop(result.batch.seq)].append(result)
        own = self._results[priority]
        collected = list(own)
        own.clear()
        return collected


class PriorityFeeds:
    """Feeds the executor of one lane, with the interface of `DeviceFeed`.

    batcher: of the lane; each class gets one with the same limits, in which urgent events do not wait for further ones.
    build: builds the feed of a class.
    """

    def __init__(
        self, batcher: MicroBatcher, executor: Executor, priorities: Priorities, *, build: FeedFactory
    ) -> None:
        self._executor = executor
        self._priorities = priorities
        self._sharing = _Sharing(executor, self._classes_waiting)
        batchers = {
            Priority.HIGH: batcher.sibling(max_queue_delay_ms=0),
            Priority.NORMAL: batcher,
            Priority.LOW: batcher.sibling(),
        }
        self._feeds = {one: build(batchers[one], ExecutorShare(self._sharing, one)) for one in _ALL}
        self._events: Counter[Priority] = Counter()
        self.num_unknown = 0

    @property
    def is_backed_up(self) -> bool:
        """Whether parts of a class wait uncut."""
        return any(feed.is_backed_up for feed in self._feeds.values())

    @property
    def num_waiting(self) -> int:
        """The number of micro-batches that wait for the device."""
        return sum(feed.num_waiting for feed in self._feeds.values())

    @property
    def num_unfinished(self) -> int:
        """The number of closed micro-batches without a result."""
        return sum(feed.num_unfinished for feed in self._feeds.values())

    def held_topics(self, topics: frozenset[str]) -> frozenset[str]:
        """Return which of the topics that feed the lane should not be polled: those of classes with uncut parts."""
        held = (self._priorities.among(topics, priority) for priority, feed in self._feeds.items() if feed.is_backed_up)
        return frozenset[str]().union(*held)

    def statuses(self) -> dict[str, PriorityStatus]:
        """Return the status of each class, the most urgent first."""
        return {
            priority.word: PriorityStatus(self._events[priority], feed.num_waiting)
            for priority, feed in self._feeds.items()
        }

    def waiting(self) -> Iterator[BatchPart]:
        """Return the parts that are not in a closed micro-batch; those of each partition in order."""
        for feed in self._feeds.values():
            yield from feed.waiting()

    def close_at_s(self) -> float:
        """Return the monotonic time at which the next open micro-batch closes by itself; infinity without one."""
        return min(feed.close_at_s() for feed in self._feeds.values())

    def add(self, part: BatchPart, *, now_s: float, wall_ms: int) -> None:
        """Add a part and submit the micro-batches that it completes."""
        pieces, unknown = self._priorities.divide(part)
        self.num_unknown += unknown
        for piece, priority in pieces:
            self._events[priority] += piece.num_records
            place = self._make_way(piece, priority) if self._priorities.headers else priority
            self._feeds[place].add(piece, now_s=now_s, wall_ms=wall_ms)
        self.advance()

    def poll(self, now_s: float) -> None:
        """Close open micro-batches whose time has come, and keep the device busy."""
        for feed in self._feeds.values():
            feed.poll(now_s)
        self.advance()

    def flush(self, reason: str = "flush") -> None:
        """Close the open micro-batches once all waiting parts are cut."""
        for feed in self._feeds.values():
            feed.flush(reason)
        self.advance()

    def purge(self) -> None:
        """Drop everything that was not submitted. Its records will be read again."""
        for feed in self._feeds.values():
            feed.purge()

    async def run(self) -> None:
        """Keep the device busy. Never returns."""
        while True:
            await self._executor.wait(RETRY_CAPACITY_S if self.num_waiting or self.is_backed_up else None)
            self.advance()
            await asyncio.sleep(0)

    def advance(self) -> None:
        """Submit micro-batches of all classes in their turns, and collect results."""
        for _ in range(MAX_SUBMITS_PER_TURN):
            before = self._sharing.num_submitted
            for feed in self._feeds.values():
                feed.advance()
            if self._sharing.num_submitted == before:
                return
        self._executor.wake()

    def _classes_waiting(self) -> list[Priority]:
        return [priority for priority, feed in self._feeds.items() if feed.num_waiting]

    def _make_way(self, piece: BatchPart, priority: Priority) -> Priority:
        """Move what waits of the partition into the piece's class; return the class that the piece has to go to.

        That is a more urgent one if earlier parts of the partition are not in a micro-batch there yet.
        """
        for other, feed in self._feeds.items():
            if other < priority and any(part.partition == piece.partition for part in feed.waiting()):
                return other
            if other > priority:
                self._feeds[priority].take_over(*feed.hand_over(piece.partition))
        return priority
