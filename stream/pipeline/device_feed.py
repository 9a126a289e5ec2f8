"""From the parts that were polled to the device and back: cut into micro-batches, submitted, their results collected.

One flat loop drives the device (`advance`). It never recurses, gives way to the event loop after a few micro-batches, and cuts
no more of them than `limits.max_in_flight_batches` before the device has taken the earlier ones: what one poll or many windows
that close together come to waits uncut.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from forebay.stream.core.records import BatchPart, MicroBatch
from forebay.stream.inference.device_thread import Deferred, DeviceThread
from forebay.stream.pipeline.in_flight import InFlight
from forebay.stream.pipeline.micro_batcher import MicroBatcher
from forebay.stream.pipeline.observer import Observer
from forebay.stream.pipeline.reorder_buffer import ReorderBuffer

MAX_IN_A_ROW: Final = 16
"""How many micro-batches are submitted before heartbeats and commits have their turn: each may take a millisecond."""
RETRY_CAPACITY_S: Final = 0.2
"""How often the device is asked for capacity while batches wait: after a failure it returns by time alone."""


class _Part(NamedTuple):
    """A part that is not yet cut, with the times at which it came."""

    part: BatchPart
    now_s: float
    wall_ms: int


class DeviceFeed:
    """Feeds one device. Results go to `reorder`, and `result_ready` is set for those who commit them."""

    def __init__(
        self,
        batcher: MicroBatcher,
        device: DeviceThread,
        reorder: ReorderBuffer,
        *,
        in_flight: InFlight,
        observer: Observer,
        result_ready: asyncio.Event,
    ) -> None:
        self._batcher = batcher
        self._device = device
        self._reorder = reorder
        self._in_flight = in_flight
        self._observer = observer
        self._result_ready = result_ready
        self._parts: deque[_Part] = deque()
        self._to_device: deque[MicroBatch] = deque()
        self._flush: str | None = None

    @property
    def is_backed_up(self) -> bool:
        """Whether parts wait uncut, so that nothing more should be polled."""
        return bool(self._parts)

    @property
    def num_waiting(self) -> int:
        """How many micro-batches wait for the device."""
        return len(self._to_device)

    def close_at_s(self) -> float:
        """Return the monotonic time at which the open micro-batch closes by itself; infinity where there is none."""
        return self._batcher.close_at_s()

    def add(self, part: BatchPart, *, now_s: float, wall_ms: int) -> None:
        """Take a part in, and send on what it completes."""
        self._parts.append(_Part(part, now_s, wall_ms))
        self.advance()

    def poll(self, now_s: float) -> None:
        """Close the open micro-batch if its time has come, and keep the device busy."""
        if not self._parts:
            self._close(self._batcher.poll(now_s=now_s))
        self.advance()

    def flush(self, reason: str = "flush") -> None:
        """Close the open micro-batch as soon as everything that waits is cut."""
        self._flush = reason
        self.advance()

    def purge(self) -> None:
        """Drop everything that the device does not have yet; its records will be read again."""
        self._parts.clear()
        self._to_device.clear()
        self._batcher.purge()
        self._flush = None

    async def run(self) -> None:
        """Keep the device busy, for ever."""
        while True:
            await self._device.wait(RETRY_CAPACITY_S if self._to_device or self._parts else None)
            self.advance()
            await asyncio.sleep(0)

    def advance(self) -> None:
        """Submit what waits and collect what is finished, until there is no capacity, no batch, or others need the loop."""
        device = self._device
        for _ in range(MAX_IN_A_ROW):
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

    def _close(self, batches: Sequence[MicroBatch]) -> None:
        for batch in batches:
            self._in_flight.on_batch_closed()
            self._observer.on_batch_closed(batch)
            self._reorder.add(batch)
            self._to_device.append(batch)

    def _collect(self) -> None:
        for result in self._device.collect():
            if not self._reorder.contains(result.batch):
                continue  # of an epoch that is over: it will be read again
            if isinstance(result, Deferred):
                # It comes first when there is capacity again.
                self._to_device = deque(sorted([*self._to_device, result.batch], key=lambda waiting: waiting.seq))
                continue
            self._reorder.on_result(result)
            self._observer.on_result(result)
            self._result_ready.set()
