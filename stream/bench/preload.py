"""Filling a topic before the measurement, in complete record batches."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from aiokafka import AIOKafkaProducer

from forebay.stream.bench.events import Events

BATCH_EVENTS: Final = 1_000
BATCH_BYTES: Final = 900_000
_MAX_IN_FLIGHT: Final = 16


async def preload_topic(
    options: Mapping[str, object],
    topic: str,
    *,
    num_partitions: int,
    events: int,
    generator: Events,
    timestamp_ms: int,
    progress: Callable[[int], None] = lambda events: None,
) -> None:
    """Write `events` events, numbered from 0, evenly to all partitions. Raises KafkaError.

    options: options of the Kafka client.
    progress: receives the number of further events delivered.
    """
    producer = AIOKafkaProducer(**options, acks="all", max_batch_size=BATCH_BYTES)
    await producer.start()
    try:
        in_flight: deque[tuple[asyncio.Future[Any], int]] = deque()
        number = turn = 0
        while number < events or in_flight:
            if number < events:
                batch, count = build_batch(
                    producer,
                    generator,
                    first=number,
                    count=min(BATCH_EVENTS, events - number),
                    timestamp_ms=timestamp_ms,
                )
                delivery = await producer.send_batch(batch, topic, partition=turn % num_partitions)
                in_flight.append((delivery, count))
                number += count
                turn += 1
            if len(in_flight) >= _MAX_IN_FLIGHT or number == events:
                delivery, count = in_flight.popleft()
                await delivery
                progress(count)
    finally:
        await producer.stop()


def build_batch(
    producer: AIOKafkaProducer, generator: Events, first: int, count: int, timestamp_ms: int
) -> tuple[Any, int]:
    """Build a record batch of at most `count` events from `first` on. Return it and its number of events."""
    batch = producer.create_batch()
    number = first
    while number < first + count and batch.append(
        timestamp=timestamp_ms, key=generator.key(number), value=generator.value(number, timestamp_ms)
    ):
        number += 1
    return batch, number - first
