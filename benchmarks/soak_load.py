"""The load of a soak: events at a steady rate, and a check that each has exactly one prediction, in order.

The k-th event of partition p has the number k · P + p, where P is the number of partitions. So the predictions of a partition
have ascending numbers, and none is missing or repeated if their count is right.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka import AIOKafkaProducer

from forebay.stream.bench.events import Events
from forebay.stream.bench.preload import BATCH_BYTES
from forebay.stream.core.clock import Clock

TICK_S: Final = 0.01
BATCH_EVENTS: Final = 1_000
_MAX_IN_FLIGHT: Final = 64
_ID_START: Final = b'{"id":"event-'


@dataclass(slots=True)
class PredictionOrder:
    """Counts the predictions of single events by partition, and finds one that is out of order, repeated or elsewhere.

    num_models: events whose number is a multiple of it are predicted by themselves; all if it is 1.
    """

    num_partitions: int
    num_models: int = 1
    read: int = 0
    fault: str = ""
    last: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.last = [-1] * self.num_partitions

    def add(self, partition: int, value: bytes) -> None:
        """Check one prediction; those of windows are ignored."""
        number = number_in(value)
        if number is None:
            return
        self.read += 1
        if number <= self.last[partition] or number % self.num_partitions != partition or number % self.num_models:
            self.fault = self.fault or f"event {number} after {self.last[partition]} in partition {partition}"
        self.last[partition] = number

    def expected(self, sent: Sequence[int]) -> int:
        """Return how many of the events are predicted by themselves. sent: the number of events of each partition."""
        if self.num_models == 1:
            return sum(sent)
        step = self.num_partitions
        return sum(
            sum(1 for number in range(partition, count * step, step) if number % self.num_models == 0)
            for partition, count in enumerate(sent)
        )


def number_in(prediction: bytes) -> int | None:
    """Return the number of the event of a prediction; None for the prediction of a window."""
    if not prediction.startswith(_ID_START):
        return None
    return int(prediction[len(_ID_START) : prediction.index(b'"', len(_ID_START))])


class SteadyLoad:
    """Publishes events evenly to all partitions, and keeps when each batch was published.

    order: the check of the predictions, which `readable` advances.
    """

    def __init__(
        self, producer: AIOKafkaProducer, topic: str, events: Events, order: PredictionOrder, clock: Clock
    ) -> None:
        self._producer = producer
        self._topic = topic
        self._events = events
        self._order = order
        self._clock = clock
        self._unread: list[deque[tuple[int, float]]] = [deque() for _ in range(order.num_partitions)]
        self._in_flight: deque[asyncio.Future[Any]] = deque()
        self.sent = [0] * order.num_partitions
        self.latencies_ms: list[float] = []
        """Of each batch since they were last taken: until the last of its predictions was readable."""

    async def publish(self, count: int) -> None:
        """Publish this many events to each partition."""
        while count > 0:
            size = min(count, BATCH_EVENTS)
            for partition in range(self._order.num_partitions):
                await self._publish_batch(partition, size)
            count -= size

    async def run(self, rate: float, seconds: float, on_tick: Callable[[float], None]) -> None:
        """Publish at a rate for a time. on_tick: receives the seconds so far."""
        began_s, each = self._clock.monotonic_s(), 0
        while (elapsed_s := self._clock.monotonic_s() - began_s) < seconds:
            due = int(elapsed_s * rate / self._order.num_partitions) - each
            if due > 0:
                await self.publish(due)
                each += due
            on_tick(elapsed_s)
            await asyncio.sleep(TICK_S)

    async def flush(self) -> None:
        """Wait until everything is confirmed. Raises KafkaError."""
        while self._in_flight:
            await self._in_flight.popleft()

    def readable(self, partition: int, now_s: float) -> None:
        """Record the latency of the batches whose predictions have all been read."""
        unread, last = self._unread[partition], self._order.last[partition]
        while unread and unread[0][0] <= last:
            self.latencies_ms.append((now_s - unread.popleft()[1]) * 1000)

    async def _publish_batch(self, partition: int, count: int) -> None:
        step, models = self._order.num_partitions, self._order.num_models
        batch = self._producer.create_batch()
        now_s, now_ms = self._clock.monotonic_s(), self._clock.wall_ms()
        last_predicted = -1
        for k in range(self.sent[partition], self.sent[partition] + count):
            number = k * step + partition
            value = self._events.value(number, now_ms)
            if batch.append(timestamp=now_ms, key=self._events.key(number), value=value) is None:
                break
            self.sent[partition] += 1
            if number % models == 0:
                last_predicted = number
        if last_predicted >= 0:
            self._unread[partition].append((last_predicted, now_s))
        self._in_flight.append(await self._producer.send_batch(batch, self._topic, partition=partition))
        while self._in_flight and (self._in_flight[0].done() or len(self._in_flight) > _MAX_IN_FLIGHT):
            await self._in_flight.popleft()


def producer_options(options: dict[str, object]) -> dict[str, object]:
    """Return the options of a producer of large batches."""
    return {**options, "acks": "all", "max_batch_size": BATCH_BYTES}
