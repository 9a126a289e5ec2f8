"""Memory test: many events through the worker with a short backlog, to see whether its memory keeps growing.

It is not part of the closed loop, because a backlog itself takes memory: a broker may return far more than a fetch asked for
(the embedded broker returns everything it has), and the worker holds it until it is processed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import AIOKafkaProducer

from forebay.schemas.errors import BrokerError
from forebay.stream.bench.events import EventGenerator
from forebay.stream.bench.preload import BATCH_BYTES, BATCH_EVENTS, build_batch
from forebay.stream.bench.reader import PredictionReader
from forebay.stream.bench.stall import STALL_TIMEOUT_S, stalled_error
from forebay.stream.bench.stats import growth_mib_per_million
from forebay.stream.core.clock import Clock
from forebay.stream.embedded.worker_process import WorkerProcess
from forebay.stream.telemetry.process_usage import ProcessMeter

BACKLOG_EVENTS: Final = 20_000
_POLL_S: Final = 0.01
_POLL_RECORDS: Final = 10_000
_SAMPLE_S: Final = 0.05
_MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Memory:
    """The worker's memory after `events` events.

    rss_mib: resident memory in MiB.
    growth_mib_per_million: growth in MiB per million events, after the first 200,000, of its own memory (without files, such
        as libraries); None if there were too few events.
    """

    events: int
    rss_mib: float
    growth_mib_per_million: float | None


async def soak(
    worker: WorkerProcess,
    reader: PredictionReader,
    options: Mapping[str, object],
    topic: str,
    *,
    num_partitions: int,
    generator: EventGenerator,
    events: int,
    first_number: int,
    clock: Clock,
    progress: Callable[[int], None] = lambda events: None,
) -> Memory:
    """Send `events` events, numbered from `first_number`, with a short backlog, and measure the worker's memory.

    progress: receives the number of new readable predictions.

    Raises BrokerError, KafkaError.
    """
    meter = ProcessMeter(worker.pid)
    producer = AIOKafkaProducer(**options, acks="all", max_batch_size=BATCH_BYTES)
    await producer.start()
    try:
        in_flight: deque[asyncio.Future[Any]] = deque()
        samples: list[tuple[int, int]] = []
        sent = done = turn = 0
        changed_s = sampled_s = clock.monotonic_s()
        while done < events:
            while sent < events and sent - done < BACKLOG_EVENTS:
                count = min(BATCH_EVENTS, events - sent)
                batch, count = build_batch(
                    producer, generator, first=first_number + sent, count=count, timestamp_ms=clock.wall_ms()
                )
                in_flight.append(await producer.send_batch(batch, topic, partition=turn % num_partitions))
                sent += count
                turn += 1
            while in_flight and in_flight[0].done():
                in_flight.popleft().result()
            count = sum(map(len, await reader.poll(timeout_s=_POLL_S, max_records=_POLL_RECORDS)))
            now_s = clock.monotonic_s()
            if count:
                done += count
                changed_s = now_s
                progress(count)
            elif now_s - changed_s > STALL_TIMEOUT_S:
                raise stalled_error(
                    worker, f"{done:,} of {events:,} predictions arrived, then none for {STALL_TIMEOUT_S:g} s"
                )
            if now_s - sampled_s >= _SAMPLE_S:
                sampled_s = now_s
                worker.check()
                if (usage := meter.usage()) is not None:
                    samples.append((done, usage.own_bytes))
    finally:
        await producer.stop()
    usage = meter.usage()
    if usage is None:
        worker.check()
        raise BrokerError("the worker's memory cannot be read", kind="worker_ended")
    return Memory(done, usage.rss_bytes / _MIB, growth_mib_per_million(samples))
