"""The telemetry of a worker: an observer of the stages, the Prometheus page, and the export to a collector."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from opentelemetry.sdk.metrics.export import MetricExporter
from opentelemetry.sdk.trace import TracerProvider

from forebay.schemas.headers import TRACEPARENT
from forebay.stream.config.sections import TelemetrySection
from forebay.stream.core.clock import Clock
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import BatchResult, Chunk, MicroBatch, PartitionLag, TopicPartition, WindowStatus
from forebay.stream.output.ledger import Ledger
from forebay.stream.pipeline.observer import CommitTimes
from forebay.stream.rollouts.rollout_status import revision_of
from forebay.stream.telemetry import catalogue as c
from forebay.stream.telemetry.collector import Signal, describe_process, find_collector
from forebay.stream.telemetry.log_setup import share_rate_limits
from forebay.stream.telemetry.metric_store import Exemplar, Labels, MetricStore, Snapshot
from forebay.stream.telemetry.metrics_observer import MetricsRecorder, model_labels
from forebay.stream.telemetry.otlp_logs import OtlpHandler, TraceIds
from forebay.stream.telemetry.otlp_metrics import to_metrics_data
from forebay.stream.telemetry.polled_gauges import GaugePoller, PolledComponents
from forebay.stream.telemetry.prometheus import render_page
from forebay.stream.telemetry.resources import GpuMeter, record_build, visible_gpus
from forebay.stream.telemetry.rollout_metrics import RolloutRecorder
from forebay.stream.telemetry.shutdown import close_with_timeout
from forebay.stream.telemetry.snapshot_wire import encode_snapshot
from forebay.stream.telemetry.spans import BatchTraces
from forebay.stream.telemetry.tracing import make_tracer_provider, tracer_of


class ModelOnDevice(NamedTuple):
    """A served model, and the device that runs it."""

    model: ModelRef
    device: str


@dataclass(frozen=True, slots=True)
class WorkerIdentity:
    """The worker and the models that telemetry is about.

    models: at least one; the first is the default model.
    instance: instance id of the worker.
    transactional: whether commits are transactions.
    """

    models: Sequence[ModelOnDevice]
    instance: str
    group_id: str
    transactional: bool
    max_in_flight_events: int


class Telemetry:
    """An `Observer` that records metrics and traces of one worker.

    rollouts: the observer of its rollouts.

    Call `run`, `page` and `attach` on the event loop's thread.
    """

    def __init__(
        self,
        section: TelemetrySection,
        identity: WorkerIdentity,
        *,
        clock: Clock,
        environ: Mapping[str, str],
    ) -> None:
        self._section = section
        self._clock = clock
        self._store = MetricStore()
        self.rollouts = RolloutRecorder(self._store)
        self._recorder = MetricsRecorder(
            self._store,
            models=[served.model for served in identity.models],
            transactional=identity.transactional,
            clock=clock,
            exemplar_of=self._exemplar_of,
        )
        self._resource = describe_process(section, instance=identity.instance, environ=environ)
        collector = find_collector(section, Signal.METRICS, environ)
        self._exporter = None if collector is None else collector.metric_exporter()
        self._start_ns = time.time_ns()
        self._provider: TracerProvider | None = None
        self._traces: BatchTraces | None = None
        if (collector := find_collector(section, Signal.TRACES, environ)) is not None:
            self._provider = make_tracer_provider(
                collector.span_exporter(), self._resource, ratio=section.trace_sample_ratio
            )
            tracer = tracer_of(self._provider)
            for handler in logging.getLogger().handlers:
                handler.addFilter(TraceIds())
            self._traces = BatchTraces(tracer, group_id=identity.group_id, clock=clock)
        self._gauge_poller: GaugePoller | None = None
        self._log_handler: OtlpHandler | None = None
        if (collector := find_collector(section, Signal.LOGS, environ)) is not None:
            self._log_handler = OtlpHandler(collector.log_exporter(), self._resource)
            share_rate_limits(self._log_handler)
            logging.getLogger().addHandler(self._log_handler)
        self._store.set(c.READY, 0)
        self._store.set(c.IN_FLIGHT_LIMIT, identity.max_in_flight_events)
        self._devices = {served.model: served.device for served in identity.models}
        self._record_models()
        record_build(self._store)

    # ---- for the admin server and the worker's assembly

    def attach(self, components: PolledComponents) -> None:
        """Poll these components from now on."""
        if self._traces is not None:
            self._traces.revision_of = lambda model: revision_of(components.rollouts(), model)
        self._gauge_poller = GaugePoller(
            self._store,
            self._recorder,
            components,
            clock=self._clock,
            gpus=GpuMeter(self._store, visible=visible_gpus()),
            rollouts=self.rollouts,
        )

    def add_model(self, served: ModelOnDevice) -> None:
        """Record metrics of another version."""
        self._recorder.add_model(served.model)
        self._devices[served.model] = served.device
        self._record_models()

    def remove_model(self, model: ModelRef) -> None:
        """Remove the metrics of a version that is no longer loaded, so that a worker with many rollouts does not grow."""
        self._devices.pop(model, None)
        if self._traces is not None:
            self._traces.remove_model(model)
        name, number = model_labels(model)
        self._store.remove({"model": name, "version": number})
        self._record_models()

    def _record_models(self) -> None:
        info: dict[Labels, float] = {(*model_labels(model), device): 1 for model, device in self._devices.items()}
        self._store.replace(c.MODEL_INFO, info)

    def record_lag(self, partition_lags: Mapping[TopicPartition, PartitionLag]) -> None:
        """Record the lag of the assigned partitions. Call `attach` before."""
        assert self._gauge_poller is not None
        self._gauge_poller.record_lag(partition_lags)

    def page(self, *, accept: str = "") -> tuple[bytes, str]:
        """Return the Prometheus page and its content type. accept: header of the request, which may ask for OpenMetrics."""
        return render_page(self.snapshot(), accept=accept)

    def snapshot(self) -> Snapshot:
        """Return all current values."""
        if self._gauge_poller is not None:
            self._gauge_poller.sample()
        return self._store.snapshot()

    def encoded_snapshot(self) -> bytes:
        """Return all current values in the form for another process (see `snapshot_wire`)."""
        return encode_snapshot(self.snapshot())

    async def run(self) -> None:
        """Export metrics until cancelled, if there is a collector. Call `attach` before. A failing collector is ignored."""
        if self._exporter is None:
            return
        assert self._gauge_poller is not None
        while True:
            await asyncio.sleep(self._section.metrics_interval_ms / 1000)
            self._gauge_poller.sample()
            await asyncio.to_thread(self._export, self._exporter)

    async def close(self) -> None:
        """Send what has not been sent, for at most a few seconds."""
        try:
            if self._exporter is not None and self._gauge_poller is not None:
                self._gauge_poller.sample()
        finally:
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
        exemplars = [] if self._traces is None else self._traces.event_exemplars(batches)
        self._recorder.on_committed(batches, ledger, times, exemplars)
        if self._traces is not None:
            self._traces.on_committed(batches, times)

    def on_commit_failed(self, batches: Sequence[BatchResult], error: BaseException) -> None:
        self._recorder.on_commit_failed(error)
        if self._traces is not None:
            self._traces.on_commit_failed(batches, error)

    def on_purged(self) -> None:
        if self._traces is not None:
            self._traces.on_purged()

    def on_window_status(self, statuses: Mapping[TopicPartition, WindowStatus]) -> None:
        if self._gauge_poller is not None:
            self._gauge_poller.windows = statuses

    # ---- on other threads

    def _export(self, exporter: MetricExporter) -> None:
        """Export all metrics. Never raises: the exporter logs its errors, and the next export has all values again."""
        now_ns = time.time_ns()
        exporter.export(to_metrics_data(self._store.snapshot(), self._resource, start_ns=self._start_ns, now_ns=now_ns))

    def _exemplar_of(self, batch: MicroBatch, value: float) -> Exemplar | None:
        return None if self._traces is None else self._traces.exemplar_of(batch, value)

    def _close(self) -> None:
        if self._provider is not None:
            self._provider.shutdown()
        if self._exporter is not None and self._gauge_poller is not None:
            self._export(self._exporter)
            self._exporter.shutdown()
        if self._log_handler is not None:
            self._log_handler.shutdown()
