"""The worker's telemetry as one object: the stages' observer, the Prometheus page, and what is sent to a collector."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from opentelemetry.sdk.metrics.export import MetricExporter
from opentelemetry.sdk.trace import TracerProvider

from forebay.schemas.headers import TRACEPARENT
from forebay.stream.config.sections import TelemetrySection
from forebay.stream.core.clock import Clock
from forebay.stream.core.records import BatchResult, Chunk, MicroBatch, PartitionLag, TopicPartition, WindowStatus
from forebay.stream.output.ledger import Ledger
from forebay.stream.pipeline.observer import CommitTimes
from forebay.stream.telemetry import catalogue as c
from forebay.stream.telemetry.collector import Signal, describe_process, find_collector
from forebay.stream.telemetry.log_setup import share_rate_limits
from forebay.stream.telemetry.metric_store import Exemplar, MetricStore
from forebay.stream.telemetry.metrics_observer import MetricsRecorder
from forebay.stream.telemetry.otlp_logs import OtlpHandler, TraceIds
from forebay.stream.telemetry.otlp_metrics import to_metrics_data
from forebay.stream.telemetry.polled_gauges import GaugePoller, PolledComponents
from forebay.stream.telemetry.prometheus import render_page
from forebay.stream.telemetry.resources import GpuMeter, record_build, visible_gpus
from forebay.stream.telemetry.shutdown import close_with_timeout
from forebay.stream.telemetry.spans import BatchTraces
from forebay.stream.telemetry.tracing import make_tracer_provider, tracer_of


@dataclass(frozen=True, slots=True)
class WorkerIdentity:
    """Whom it is about. model, version, device: what serves; instance: this worker's own name, group_id: its group's;
    transactional: whether commits are transactions."""

    model: str
    version: int
    device: str
    instance: str
    group_id: str
    transactional: bool
    max_in_flight_events: int


class Telemetry:
    """An `Observer` for one worker.

    `run` and `page` look at the parts that `watch` was given, and are for the event loop's thread.
    """

    def __init__(
        self,
        section: TelemetrySection,
        about: WorkerIdentity,
        *,
        clock: Clock,
        environ: Mapping[str, str],
    ) -> None:
        self._section = section
        self._clock = clock
        self._store = MetricStore()
        self._recorder = MetricsRecorder(
            self._store,
            model=about.model,
            version=about.version,
            transactional=about.transactional,
            clock=clock,
            exemplar_of=self._exemplar_of,
        )
        self._resource = describe_process(section, instance=about.instance, environ=environ)
        metrics_to = find_collector(section, Signal.METRICS, environ)
        self._exporter = None if metrics_to is None else metrics_to.metric_exporter()
        self._start_ns = time.time_ns()
        self._provider: TracerProvider | None = None
        self._traces: BatchTraces | None = None
        if (traces_to := find_collector(section, Signal.TRACES, environ)) is not None:
            self._provider = make_tracer_provider(
                traces_to.span_exporter(), self._resource, ratio=section.trace_sample_ratio
            )
            tracer = tracer_of(self._provider)
            for handler in logging.getLogger().handlers:
                handler.addFilter(TraceIds())
            self._traces = BatchTraces(
                tracer, group_id=about.group_id, model=about.model, version=about.version, clock=clock
            )
        self._sampler: GaugePoller | None = None
        self._log_handler: OtlpHandler | None = None
        if (logs_to := find_collector(section, Signal.LOGS, environ)) is not None:
            self._log_handler = OtlpHandler(logs_to.log_exporter(), self._resource)
            share_rate_limits(self._log_handler)
            logging.getLogger().addHandler(self._log_handler)
        self._store.set(c.READY, 0)
        self._store.set(c.IN_FLIGHT_LIMIT, about.max_in_flight_events)
        self._store.set(c.MODEL_INFO, 1, (about.model, str(about.version), about.device))
        record_build(self._store)

    # ---- what the admin server and the worker's assembly call

    def attach(self, components: PolledComponents) -> None:
        """Poll these components from now on."""
        self._sampler = GaugePoller(
            self._store,
            self._recorder,
            components,
            clock=self._clock,
            gpus=GpuMeter(self._store, visible=visible_gpus()),
        )

    def record_lag(self, partition_lags: Mapping[TopicPartition, PartitionLag]) -> None:
        """Record the lag of the assigned partitions. After `watch`."""
        assert self._sampler is not None
        self._sampler.record_lag(partition_lags)

    def page(self, *, accept: str = "") -> tuple[bytes, str]:
        """The Prometheus page and its content type. accept: the request's header; OpenMetrics where it is asked for."""
        if self._sampler is not None:
            self._sampler.sample()
        return render_page(self._store.snapshot(), accept=accept)

    async def run(self) -> None:
        """Send metrics until cancelled, if they are to be sent. After `watch`. Never fails for a collector."""
        if self._exporter is None:
            return
        assert self._sampler is not None
        while True:
            await asyncio.sleep(self._section.metrics_interval_ms / 1000)
            self._sampler.sample()
            await asyncio.to_thread(self._export, self._exporter)

    async def close(self) -> None:
        """Send what is left, for a few seconds at most."""
        if self._sampler is not None:
            self._sampler.sample()
        if self._log_handler is not None:
            logging.getLogger().removeHandler(self._log_handler)
        await close_with_timeout(self._close)

    # ---- the observer

    def on_polled(self, chunks: Sequence[Chunk], *, began_s: float, received_s: float) -> None:
        decoded_s = self._clock.monotonic_s()
        self._recorder.on_polled(chunks, received_s=received_s, decoded_s=decoded_s)
        if self._traces is not None:
            self._traces.on_polled(chunks, began_s=began_s, received_s=received_s, decoded_s=decoded_s)

    def on_batch_closed(self, batch: MicroBatch) -> None:
        self._recorder.on_batch_closed(batch)
        if self._traces is not None:
            self._traces.on_batch_closed(batch)

    def on_result(self, result: BatchResult) -> None:
        self._recorder.on_result(result)

    def on_commit_started(self, batches: Sequence[BatchResult]) -> None:
        if self._traces is not None:
            self._traces.on_commit_started(batches)

    def delta_headers(self, batches: Sequence[BatchResult]) -> list[tuple[str, bytes]]:
        traceparent = None if self._traces is None else self._traces.traceparent(batches)
        return [] if traceparent is None else [(TRACEPARENT, traceparent)]

    def on_committed(self, batches: Sequence[BatchResult], ledger: Ledger, times: CommitTimes) -> None:
        exemplars = [] if self._traces is None else self._traces.on_committed(batches, times)
        self._recorder.on_committed(batches, ledger, times, exemplars)

    def on_commit_failed(self, batches: Sequence[BatchResult], error: BaseException) -> None:
        self._recorder.on_commit_failed(error)
        if self._traces is not None:
            self._traces.on_commit_failed(batches, error)

    def on_purged(self) -> None:
        if self._traces is not None:
            self._traces.on_purged()

    def on_window_status(self, statuses: Mapping[TopicPartition, WindowStatus]) -> None:
        if self._sampler is not None:
            self._sampler.windows = statuses

    # ---- what runs beside

    def _export(self, exporter: MetricExporter) -> None:
        """Raises nothing: the exporter logs what went wrong, and the next time all of it is sent anew."""
        now_ns = time.time_ns()
        exporter.export(to_metrics_data(self._store.snapshot(), self._resource, start_ns=self._start_ns, now_ns=now_ns))

    def _exemplar_of(self, batch: MicroBatch, value: float) -> Exemplar | None:
        return None if self._traces is None else self._traces.exemplar_of(batch, value)

    def _close(self) -> None:
        if self._provider is not None:
            self._provider.shutdown()
        if self._exporter is not None and self._sampler is not None:
            self._export(self._exporter)
            self._exporter.shutdown()
        if self._log_handler is not None:
            self._log_handler.shutdown()
