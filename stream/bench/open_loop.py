"""Open loop: events are sent at a fixed rate, however fast the worker is. Measures latency."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from forebay.schemas.errors import BrokerError
from forebay.stream.bench.events import Events, number_of
from forebay.stream.bench.latency_recorder import LatencyRecorder
from forebay.stream.bench.reader import PredictionReader
from forebay.stream.bench.stall import stalled_error
from forebay.stream.bench.stats import Latency, summarise
from forebay.stream.core.clock import Clock
from forebay.stream.embedded.worker_process import WorkerProcess
from forebay.stream.publish.pacer import Pacer
from forebay.stream.telemetry.process_usage import ProcessMeter

LAST_TIMEOUT_S: Final = 30.0
WARM_UP_S: Final = 2.0
_LEAD_S: Final = 0.2
_BURST: Final = 200
_POLL_S: Final = 0.1
_POLL_RECORDS: Final = 2_000


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """Latency from the intended send time until a read_committed consumer has read the prediction.

    rate: planned events per second.
    events: number of published events, including the warm-up.
    commit: part of `latency` after the worker sent the prediction, by record timestamps in whole milliseconds.
    late_send_ms: longest delay of a send after its intended time, caused by the benchmark itself.
    cpu_share: CPU time of the worker as a share of one core.
    """

    rate: float
    events: int
    duplicates: int
    latency: Latency
    commit: Latency
    late_send_ms: float
    cpu_share: float
    latencies_ms: tuple[float, ...]


async def publish_and_time(
    worker: WorkerProcess,
    reader: PredictionReader,
    options: Mapping[str, object],
    topic: str,
    *,
    num_partitions: int,
    generator: Events,
    rate: float,
    events: int,
    first_number: int,
    clock: Clock,
    warm_up_s: float = WARM_UP_S,
    progress: Callable[[int], None] = lambda events: None,
) -> OpenLoop:
    """Publish `events` events at `rate` per second, numbered from `first_number`, and measure the latency of their predictions.

    Raises BrokerError if the worker ends, a delivery fails, or predictions do not arrive.
    """
    producer = AIOKafkaProducer(**options, acks="all")
    await producer.start()
    try:
        pacer = Pacer(rate, clock.monotonic_s() + _LEAD_S)
        recorder = LatencyRecorder(pacer, events, warm_up_s=warm_up_s)
        meter = ProcessMeter(worker.pid)
        before = meter.usage()
        sending = asyncio.create_task(
            _publish(
                producer=producer,
                topic=topic,
                num_partitions=num_partitions,
                generator=generator,
                pacer=pacer,
                events=events,
                first_number=first_number,
                clock=clock,
            ),
            name="open-loop",
        )
        try:
            await _read(
                worker=worker,
                reader=reader,
                recorder=recorder,
                sending=sending,
                first_number=first_number,
                clock=clock,
                progress=progress,
            )
            late_send_ms = await sending
        finally:
            sending.cancel()
        after, seconds = meter.usage(), clock.monotonic_s() - pacer.start_s
    except KafkaError as error:
        raise BrokerError(f"publishing failed: {error}", kind="unreachable") from error
    finally:
        await producer.stop()
    latencies_ms = recorder.latencies_ms()
    cpu_s = after.cpu_s - before.cpu_s if before is not None and after is not None else 0.0
    return OpenLoop(
        rate=rate,
        events=events,
        duplicates=recorder.duplicates,
        latency=summarise(latencies_ms),
        commit=summarise(recorder.commits_ms()),
        late_send_ms=late_send_ms,
        cpu_share=cpu_s / seconds,
        latencies_ms=tuple(latencies_ms),
    )


async def _publish(
    producer: Any,
    topic: str,
    num_partitions: int,
    generator: Events,
    pacer: Pacer,
    events: int,
    first_number: int,
    clock: Clock,
) -> float:
    """Send each event individually when it is due, like a live producer. Return the longest delay in ms."""
    late_s = 0.0
    sent = 0
    last: dict[int, asyncio.Future[Any]] = {}
    while sent < events:
        now_s = clock.monotonic_s()
        due = pacer.num_due(now_s, sent, min(_BURST, events - sent))
        if not due:
            await asyncio.sleep(pacer.wait_s(now_s, sent))
            continue
        late_s = max(late_s, now_s - pacer.due_s(sent))
        for index in range(sent, sent + due):
            number = first_number + index
            partition = number % num_partitions
            last[partition] = await producer.send(
                topic, generator.value(number, clock.wall_ms()), generator.key(number), partition=partition
            )
        sent += due
        await asyncio.sleep(0)  # send() does not yield to the event loop while there is room in the batch
    # Deliveries are in order: it is enough to wait for the last one of each partition.
    await asyncio.gather(*last.values())
    return late_s * 1000


async def _read(
    worker: WorkerProcess,
    reader: PredictionReader,
    recorder: LatencyRecorder,
    sending: asyncio.Task[float],
    first_number: int,
    clock: Clock,
    progress: Callable[[int], None],
) -> None:
    """Read until every event has its prediction."""
    changed_s = clock.monotonic_s()
    epoch_s = clock.wall_ms() / 1000 - changed_s  # wall time at monotonic time 0
    while recorder.missing:
        polled = await reader.poll(timeout_s=_POLL_S, max_records=_POLL_RECORDS)
        now_s = clock.monotonic_s()
        for records in polled:
            for record in records:
                # A worker that restarts after a failure may predict events of the closed loop a second time.
                if (number := number_of(record.value) - first_number) >= 0:
                    recorder.record(number, now_s, record.timestamp / 1000 - epoch_s)
        if polled:
            changed_s = now_s
            progress(sum(map(len, polled)))
            continue
        worker.check()
        if sending.done():
            sending.result()
        if now_s - changed_s > LAST_TIMEOUT_S:
            raise stalled_error(worker, f"{recorder.missing:,} events have no prediction after {LAST_TIMEOUT_S:g} s")
