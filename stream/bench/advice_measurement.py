"""The measurement for `forebay bench --advise`: one worker at rest, at two rates, and while it drains a backlog."""

from __future__ import annotations

import asyncio
import dataclasses
from dataclasses import dataclass
from typing import Final

from forebay.schemas.topics import FEATURES, topic_name
from forebay.stream.bench.advice import MIB, Measured
from forebay.stream.bench.batch_cost import CpuSpan, fit_cost
from forebay.stream.bench.events import EventGenerator
from forebay.stream.bench.live_worker import Backlog, LiveWorker
from forebay.stream.bench.measure import Plan, Progress, deployed, started_reader, started_worker
from forebay.stream.bench.open_loop import OpenLoop, publish_and_time
from forebay.stream.bench.preload import preload_topic
from forebay.stream.bench.reader import PredictionReader
from forebay.stream.bench.setup import signature_of
from forebay.stream.config.sections import AdminSection, Settings, WorkerSection
from forebay.stream.core.clock import Clock
from forebay.stream.kafka.client import client_options
from forebay.stream.supervisor.process_count import usable_cores
from forebay.stream.telemetry.process_usage import free_memory_bytes

_SETTLE_S: Final = 0.5
_READ_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured. rates: events per second of the open loops, ascending; seconds: of each of them.

    events: the backlog to drain.
    """

    rates: tuple[float, ...] = (200.0, 2_000.0)
    seconds: float = 5.0
    events: int = 200_000


async def measure_for_advice(plan: Plan, effort: Effort, *, clock: Clock, progress: Progress) -> Measured:
    """Measure one process with the settings of the plan. Raises ForebayError."""
    settings = plan.settings.model_copy(update={"admin": AdminSection(port=0), "worker": WorkerSection()})
    async with deployed(dataclasses.replace(plan, settings=settings)) as (settings, config):
        options = client_options(settings.kafka)
        async with started_reader(settings, options) as reader, started_worker(settings, config) as process:
            worker = LiveWorker(process, clock)
            await worker.attach()
            return await _Measurement(settings, worker, reader, effort, clock=clock).run(progress)


class _Measurement:
    """Measures a running worker."""

    def __init__(
        self, settings: Settings, worker: LiveWorker, reader: PredictionReader, effort: Effort, *, clock: Clock
    ) -> None:
        self._settings = settings
        self._worker = worker
        self._reader = reader
        self._effort = effort
        self._clock = clock
        self._options = client_options(settings.kafka)
        self._topic = topic_name(settings.topics.prefix, FEATURES.name)
        signature = signature_of(settings.model)
        self._events = EventGenerator(signature)
        self._takes_windows = signature.window is not None
        self._sent = 0

    async def run(self, progress: Progress) -> Measured:
        await asyncio.sleep(_SETTLE_S)
        rest_mib = self._worker.usage().rss_bytes / MIB
        spans: list[CpuSpan] = []
        loops: list[OpenLoop] = []
        batches_per_s = 0.0
        for rate in () if self._takes_windows else self._effort.rates:  # windows would have to close first
            began_s = self._clock.monotonic_s()
            loop, span = await self._loop(rate, progress)
            loops.append(loop)
            spans.append(span)
            batches_per_s = span.batches / (self._clock.monotonic_s() - began_s)
        model_s = await self._worker.model_s()
        backlog = await self._drain(progress)
        model_s = await self._worker.model_s() - model_s
        counts = backlog.counts
        spans.append(CpuSpan(counts.events, counts.batches, backlog.cpu_s))
        event = self._events.value(0, self._clock.wall_ms())
        growth_bytes = max(0.0, self._worker.usage().rss_bytes - rest_mib * MIB)
        return Measured(
            cores=usable_cores(),
            free_mib=free_memory_bytes() / MIB,
            cost=fit_cost(spans),
            batch_limit=self._settings.batch.max_batch_size,
            batches_per_s=batches_per_s,
            rest_mib=rest_mib,
            peak_mib=backlog.peak_rss_mib,
            peak_in_flight_mib=counts.in_flight_bytes / MIB,
            event_bytes=len(event) + len(self._events.key(0)),
            prediction_bytes=await self._prediction_bytes(),
            model_us=model_s / counts.events * 1e6,
            window_bytes=growth_bytes / counts.open_windows if counts.open_windows else None,
            latency_rate=loops[-1].rate if loops else 0.0,
            p50_ms=loops[-1].latency.p50_ms if loops else None,
            p99_ms=loops[-1].latency.p99_ms if loops else None,
            commit_ms=min(loop.commit.p50_ms for loop in loops) if loops else None,
            device=(await self._worker.status())["models"][0]["device"],
        )

    async def _loop(self, rate: float, progress: Progress) -> tuple[OpenLoop, CpuSpan]:
        events = max(1, round(rate * self._effort.seconds))
        first, before = await self._worker.counts(), self._worker.usage()
        loop = await publish_and_time(
            self._worker.process,
            self._reader,
            self._options,
            self._topic,
            num_partitions=self._settings.topics.partitions,
            generator=self._events,
            rate=rate,
            events=events,
            first_number=self._sent,
            clock=self._clock,
            warm_up_s=min(1.0, self._effort.seconds / 4),
            progress=progress(f"{rate:,.0f} events/s", events),
        )
        self._sent += events
        last, after = await self._worker.counts(), self._worker.usage()
        return loop, CpuSpan(last.events - first.events, last.batches - first.batches, after.cpu_s - before.cpu_s)

    async def _drain(self, progress: Progress) -> Backlog:
        await self._worker.pause()
        before = await self._worker.counts()
        await preload_topic(
            self._options,
            self._topic,
            num_partitions=self._settings.topics.partitions,
            events=self._effort.events,
            generator=self._events,
            timestamp_ms=self._clock.wall_ms(),
            progress=progress("filling the topic", self._effort.events),
        )
        until = before.events + self._effort.events
        return await self._worker.drain(until, progress=progress("draining", self._effort.events))

    async def _prediction_bytes(self) -> float:
        """Return the mean size of a prediction with its key; 0 if there is none, as long as windows are open."""
        records = [
            record for records in await self._reader.poll(timeout_s=_READ_S, max_records=1_000) for record in records
        ]
        sizes = [len(record.value) + len(record.key or b"") for record in records]
        return sum(sizes) / len(sizes) if sizes else 0.0
