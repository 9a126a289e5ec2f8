"""Sends records outside transactions, at best effort, and without ever making the stream wait."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, Protocol

from forebay.stream.core.clock import Clock
from forebay.stream.core.outputs import Outgoing
from forebay.stream.core.records import TopicPartition

MAX_WAITING_BYTES: Final = 8 << 20
"""Records that wait for the cluster. More are lost."""
MAX_BATCH_BYTES: Final = 128 << 10
"""Record batches are filled in one step on the event loop: this size takes well under a millisecond."""
TIMEOUT_S: Final = 10.0
RETRY_S: Final = 5.0


class PlainProducer(Protocol):
    """A producer without transactions (see `kafka.producer.producer.OutputProducer`)."""

    async def start(self) -> None: ...
    async def send(self, outgoing: Mapping[TopicPartition, Outgoing], *, timestamp_ms: int) -> None: ...
    async def stop(self, *, timeout_s: float) -> None: ...


class _Waiting(NamedTuple):
    outgoing: Mapping[TopicPartition, Outgoing]
    num_bytes: int
    num_events: int
    on_lost: Callable[[int], None]


class BestEffortSink:
    """A bounded queue of records in front of a producer, which connects at the first record.

    what: the things that are lost, for the log, such as "predictions of shadows".
    """

    def __init__(
        self,
        producer: PlainProducer,
        *,
        what: str,
        logger: logging.Logger,
        clock: Clock,
        max_bytes: int = MAX_WAITING_BYTES,
    ) -> None:
        self._producer = producer
        self._what = what
        self._log = logger
        self._clock = clock
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._waiting: list[_Waiting] = []
        self._sending: list[_Waiting] = []
        self._ready = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._connected = False

    def offer(
        self,
        outgoing: Mapping[TopicPartition, Outgoing],
        *,
        num_bytes: int,
        num_events: int,
        on_lost: Callable[[int], None],
    ) -> None:
        """Take the records, or report them as lost, now or later. Never waits."""
        if self._num_bytes + num_bytes > self._max_bytes:
            on_lost(num_events)
            return
        self._num_bytes += num_bytes
        self._waiting.append(_Waiting(outgoing, num_bytes, num_events, on_lost))
        self._idle.clear()
        self._ready.set()

    async def run(self) -> None:
        """Send what is offered, until cancelled. Raises nothing else."""
        while True:
            await self._ready.wait()
            self._ready.clear()
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    await self._send()
            except Exception as error:  # of many kinds; each means that these records are lost
                await self._lose(error)
                await asyncio.sleep(RETRY_S)
            if not self._waiting:
                self._idle.set()

    async def _send(self) -> None:
        if not self._connected:
            await self._producer.start()
            self._connected = True
        while self._waiting:
            self._sending, self._waiting = self._waiting, []
            await self._producer.send(_merged(self._sending), timestamp_ms=self._clock.wall_ms())
            self._num_bytes -= sum(item.num_bytes for item in self._sending)
            self._sending = []

    async def _lose(self, error: Exception) -> None:
        lost, self._sending, self._waiting = [*self._sending, *self._waiting], [], []
        for item in lost:
            self._num_bytes -= item.num_bytes
            item.on_lost(item.num_events)
        num_events = sum(item.num_events for item in lost)
        self._log.warning("%d %s could not be sent and are lost: %s", num_events, self._what, error or "timeout")
        self._connected = False
        self._idle.set()
        await self._producer.stop(timeout_s=1.0)

    async def stop(self, *, timeout_s: float) -> None:
        """Wait until everything is sent, at most for `timeout_s`, and close the producer. `run` must still run."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            pass
        await self._producer.stop(timeout_s=1.0)


def _merged(items: list[_Waiting]) -> Mapping[TopicPartition, Outgoing]:
    """Return the records of all items by partition."""
    if len(items) == 1:
        return items[0].outgoing
    merged: dict[TopicPartition, Outgoing] = {}
    for item in items:
        for partition, records in item.outgoing.items():
            all_records = merged.setdefault(partition, Outgoing())
            all_records.keys += records.keys
            all_records.values += records.values
            all_records.headers += records.headers
    return merged
