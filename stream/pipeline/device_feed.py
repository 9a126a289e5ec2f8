"""The feed of an executor: cuts the parts of one lane into micro-batches, submits them and collects their results.

One flat loop drives the executor (`advance`). It never recurses, yields to the event loop after a few micro-batches, and cuts
at most `limits.max_in_flight_batches` micro-batches ahead of the executor. The rest of a poll, or of many windows that close
together, waits uncut.

With an objective, a micro-batch whose time has come stays open while the executor is busy, and takes what is polled meanwhile:
closed ones would queue as they are, however small.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, Protocol

import numpy as np

from forebay.stream.core.records import BatchPart, BatchResult, MicroBatch, TopicPartition
from forebay.stream.inference.executor import Deferred, Executor
from forebay.stream.pipeline.in_flight import InFlight
from forebay.stream.pipeline.micro_batcher import MicroBatcher
from forebay.stream.pipeline.observer import Observer

MAX_SUBMITS_PER_TURN: Final = 16
"""Number of micro-batches submitted before the event loop runs heartbeats and commits. Each may take a millisecond."""
RETRY_CAPACITY_S: Final = 0.2
"""How often to check for capacity while micro-batches wait: after a failure it returns after a time, without a signal."""


class _Part(NamedTuple):
    """A part that is not yet cut, with its time of arrival."""

    part: BatchPart
    now_s: float
    wall_ms: int


class ResultBuffer(Protocol):
    """Puts results back into order (see `reorder_buffer` and `merging_reorder_buffer`)."""

    def add(self, batch: MicroBatch) -> None: ...
    def contains(self, batch: MicroBatch) -> bool: ...
    def on_result(self, result: BatchResult) -> None: ...
    def take(self, *, max_records: int, max_bytes: int) -> list[BatchResult]: ...
    def purge(self) -> None: ...


class DeviceFeed:
    """Feeds the executor of one lane.

    reorder: receives the results.
    result_ready: set after each result, for the committing task.
    bypass: whether parts without rows may finish without waiting for the executor. With several lanes they must, because
    other lanes' rows of the same partition are committed together with them.
    """

    def __init__(
        self,
        batcher: MicroBatcher,
        device: Executor,
        reorder: ResultBuffer,
        *,
        in_flight: InFlight,
        observer: Observer,
        result_ready: asyncio.Event,
        bypass: bool = False,
    ) -> None:
        self._batcher = batcher
        self._device = device
        self._reorder = reorder
        self._in_flight = in_flight
        self._observer = observer
        self._result_ready = result_ready
        self._bypass = bypass
        self._parts: deque[_Part] = deque()
        self._to_device: deque[MicroBatch] = deque()
        self._flush: str | None = None
        self._unfinished = 0
        self._is_held = False

    @property
    def is_backed_up(self) -> bool:
        """Whether parts wait uncut, so that nothing more should be polled."""
        return bool(self._parts)

    @property
    def num_waiting(self) -> int:
        """The number of micro-batches that wait for the device."""
        return len(self._to_device)

    @property
    def num_unfinished(self) -> int:
        """The number of closed micro-batches without a result."""
        return self._unfinished

    def held_topics(self, topics: frozenset[str]) -> frozenset[str]:
        """Return which of the topics that feed the lane should not be polled."""
        return topics if self.is_backed_up else frozenset()

    def waiting(self) -> Iterator[BatchPart]:
        """Return the parts that are not in a closed micro-batch, in order."""
        yield from self._batcher.parts
        for waiting in self._parts:
            yield waiting.part

    def close_at_s(self) -> float:
        """Return the monotonic time at which the open micro-batch closes by itself; infinity without an open one.

        While parts wait uncut, or it waits for the device, it does not close by itself: a caller that waited for that time
        would never wait again.
        """
        return math.inf if self._parts or self._is_held else self._batcher.close_at_s()

    def add(self, part: BatchPart, *, now_s: float, wall_ms: int) -> None:
        """Add a part and submit the micro-batches that it completes."""
        if self._bypass and part.num_rows == 0 and all(one.partition != part.partition for one in self.waiting()):
            self._finish_empty(self._batcher.close_alone(part, now_s=now_s), now_s)
            return
        self._parts.append(_Part(part, now_s, wall_ms))
        self.advance()

    def poll(self, now_s: float) -> None:
        """Close the open micro-batch if its time has come, and keep the device busy."""
        if not self._parts:
            self._is_held = now_s >= self._batcher.close_at_s() and self._must_wait()
            if not self._is_held:
                self._close(self._batcher.poll(now_s=now_s))
        self.advance()

    def flush(self, reason: str = "flush") -> None:
        """Close the open micro-batch once all waiting parts are cut."""
        self._flush = reason
        self.advance()

    def purge(self) -> None:
        """Drop everything that was not submitted. Its records will be read again."""
        self._parts.clear()
        self._to_device.clear()
        self._batcher.purge()
        self._flush = None
        self._unfinished = 0
        self._is_held = False

    def hand_over(self, partition: TopicPartition) -> tuple[list[MicroBatch], list[_Part]]:
        """Remove and return what waits of a partition: uncut parts, and the micro-batches up to its last one."""
        if any(part.partition == partition for part in self._batcher.parts):
            self._close(self._batcher.flush(reason="priority"))
        holds = [any(part.partition == partition for part in batch.chunks) for batch in self._to_device]
        count = len(holds) - holds[::-1].index(True) if True in holds else 0
        batches = [self._to_device.popleft() for _ in range(count)]
        self._unfinished -= count
        parts = [waiting for waiting in self._parts if waiting.part.partition == partition]
        if parts:
            self._parts = deque(waiting for waiting in self._parts if waiting.part.partition != partition)
        return batches, parts

    def take_over(self, batches: Sequence[MicroBatch], parts: Sequence[_Part]) -> None:
        """Take what another feed of the lane has handed over."""
        self._unfinished += len(batches)
        if batches:
            self._to_device = deque(sorted([*self._to_device, *batches], key=lambda waiting: waiting.seq))
        self._parts.extend(parts)

    async def run(self) -> None:
        """Keep the device busy. Never returns."""
        while True:
            is_waiting = self._to_device or self._parts or self._is_held
            await self._device.wait(RETRY_CAPACITY_S if is_waiting else None)
            self.advance()
            await asyncio.sleep(0)

    def advance(self) -> None:
        """Submit micro-batches and collect results until there is no capacity or no micro-batch, or the turn is over."""
        device = self._device
        for _ in range(MAX_SUBMITS_PER_TURN):
            self._collect()
            self._cut()
            if not self._to_device or not device.capacity():
                return
            device.submit(self._to_device.popleft())
        self._collect()
        device.wake()

    def _cut(self) -> None:
        limit, size = self._in_flight.max_batches, self._batcher.max_batch_size
        while self._parts and len(self._to_device) < limit:
            part, now_s, wall_ms = self._parts.popleft()
            if part.size > size:
                part, rest = part.split(size)
                self._parts.appendleft(_Part(rest, now_s, wall_ms))
            self._close(self._batcher.add(part, now_s=now_s, wall_ms=wall_ms))
        if self._flush is not None and not self._parts:
            self._close(self._batcher.flush(reason=self._flush))
            self._flush = None
        if self._is_held and not self._must_wait():
            self._close(self._batcher.flush(reason="delay"))

    def _must_wait(self) -> bool:
        """Return whether the open micro-batch should wait for the device.

        Not for the last place of the executor: what closes while a call runs would be small, and wait for that call anyway.
        """
        if not self._batcher.waits_for_device:
            return False
        is_busy = self._unfinished > len(self._to_device)
        return bool(self._to_device) or self._device.capacity() <= int(is_busy)

    def _close(self, batches: Sequence[MicroBatch]) -> None:
        if batches:
            self._is_held = False
        for batch in batches:
            self._in_flight.on_batch_closed()
            self._observer.on_batch_closed(batch)
            self._reorder.add(batch)
            self._to_device.append(batch)
            self._unfinished += 1

    def _finish_empty(self, batch: MicroBatch, now_s: float) -> None:
        self._in_flight.on_batch_closed()
        self._reorder.add(batch)
        nothing = np.empty((0, 1), dtype=np.float32)
        result = BatchResult(
            batch, nothing, classes_B=None, confidences_B=None, failures={}, model_s=0.0, started_s=now_s
        )
        self._reorder.on_result(result)
        if batch.num_records:
            self._observer.on_batch_closed(batch)
            self._observer.on_result(result)
        self._result_ready.set()

    def _collect(self) -> None:
        for result in self._device.collect():
            if not self._reorder.contains(result.batch):
                continue  # from an earlier epoch; its records will be read again
            if isinstance(result, Deferred):
                # Put it first in the queue, by its sequence number.
                self._to_device = deque(sorted([*self._to_device, result.batch], key=lambda waiting: waiting.seq))
                continue
            self._unfinished -= 1
            self._reorder.on_result(result)
            self._observer.on_result(result)
            self._result_ready.set()
