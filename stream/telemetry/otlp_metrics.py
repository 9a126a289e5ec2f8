"""Conversion of a snapshot to OpenTelemetry's data model, for its exporters."""

from __future__ import annotations

from collections.abc import Iterator

from opentelemetry.sdk.metrics import Exemplar as SdkExemplar
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    HistogramDataPoint,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.metrics.export import Gauge as SdkGauge
from opentelemetry.sdk.metrics.export import Histogram as SdkHistogram
from opentelemetry.sdk.metrics.export import Metric as SdkMetric
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from forebay.stream.telemetry import catalogue as c
from forebay.stream.telemetry.metric_store import Exemplar, Snapshot

_CUMULATIVE = AggregationTemporality.CUMULATIVE


def to_metrics_data(snapshot: Snapshot, resource: Resource, *, start_ns: int, now_ns: int) -> MetricsData:
    """Return the snapshot for an exporter. start_ns: when counting began. Times are nanoseconds since 1970."""
    scope = InstrumentationScope("forebay", resource.attributes.get("service.version"))  # type: ignore[arg-type]
    metrics = list(_metrics(snapshot, start_ns, now_ns))
    return MetricsData([ResourceMetrics(resource, [ScopeMetrics(scope, metrics, "")], "")])


def _metrics(snapshot: Snapshot, start_ns: int, now_ns: int) -> Iterator[SdkMetric]:
    def points(metric: c.Metric, values: dict[tuple[str, ...], float]) -> list[NumberDataPoint]:
        return [
            NumberDataPoint(dict(zip(metric.labels, labels, strict=True)), start_ns, now_ns, value)
            for labels, value in values.items()
        ]

    for counter, values in snapshot.counters.items():
        total = Sum(points(counter, dict(values)), _CUMULATIVE, is_monotonic=True)
        yield SdkMetric(counter.name, counter.description, counter.unit, total)
    for gauge, values in snapshot.gauges.items():
        yield SdkMetric(gauge.name, gauge.description, gauge.unit, SdkGauge(points(gauge, dict(values))))
    for histogram, states in snapshot.histograms.items():
        state_points = [
            HistogramDataPoint(
                dict(zip(histogram.labels, labels, strict=True)),
                start_ns,
                now_ns,
                state.count,
                state.sum,
                state.counts.tolist(),
                histogram.bounds,
                state.min,
                state.max,
                [_exemplar(exemplar) for exemplar in state.exemplars.values()],
            )
            for labels, state in states.items()
        ]
        yield SdkMetric(histogram.name, histogram.description, histogram.unit, SdkHistogram(state_points, _CUMULATIVE))


def _exemplar(exemplar: Exemplar) -> SdkExemplar:
    return SdkExemplar({}, exemplar.value, int(exemplar.at_s * 1e9), exemplar.span_id, exemplar.trace_id)
