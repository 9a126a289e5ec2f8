"""The Prometheus page: a snapshot in the text format that the scraper requests.

OpenMetrics, which Prometheus requests, has exemplars; the older text format does not. OpenTelemetry's own Prometheus exporter
leaves them out of both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from prometheus_client import Metric as Family
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar as PrometheusExemplar
from prometheus_client.utils import floatToGoString

from forebay.stream.telemetry import catalogue as c
from forebay.stream.telemetry.metric_store import Exemplar, HistogramState, Labels, Snapshot

_VERSION_PARAMETER: Final = re.compile(r"version=([^;,]*)")
_VERSION: Final = re.compile(r"\d{1,9}(\.\d{1,9}){0,3}", re.ASCII)


def render_page(snapshot: Snapshot, *, accept: str) -> tuple[bytes, str]:
    """Return the page and its content type. accept: the request's Accept header, which may be anything."""
    encode, content_type = choose_encoder(accept if _has_valid_versions(accept) else "")
    return encode(_SnapshotCollector(snapshot)), content_type


def _has_valid_versions(accept: str) -> bool:
    """Return whether all versions are numbers. The client library fails on others, and repeats them in its response."""
    return all(_VERSION.fullmatch(version.strip()) for version in _VERSION_PARAMETER.findall(accept))


class _SnapshotCollector(Collector):
    """The families of a snapshot, in the catalogue's order."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Family]:
        for metric in c.METRICS:
            family = Family(metric.family, metric.description, metric.type, metric.prometheus_unit)
            if isinstance(metric, c.Histogram):
                for labels, state in self._snapshot.histograms.get(metric, {}).items():
                    _add_histogram(family, metric, labels, state)
            else:
                values = (
                    self._snapshot.counters.get(metric, {})
                    if isinstance(metric, c.Counter)
                    else self._snapshot.gauges.get(metric, {})
                )
                for labels, value in values.items():
                    family.add_sample(metric.prometheus_name, _named(metric, labels), value)
            if family.samples:
                yield family


def _named(metric: c.Metric, labels: Labels) -> dict[str, str]:
    """Return labels by name. With several processes, a gauge may have one more, the process."""
    names = metric.labels if len(labels) == len(metric.labels) else (*metric.labels, "process")
    return dict(zip(names, labels, strict=True))


def _add_histogram(family: Family, metric: c.Histogram, labels: Labels, state: HistogramState) -> None:
    label_values = dict(zip(metric.labels, labels, strict=True))
    cumulative = 0
    for bucket, (bound, count) in enumerate(zip([*metric.bounds, float("inf")], state.counts.tolist(), strict=True)):
        cumulative += count
        family.add_sample(
            f"{metric.family}_bucket",
            {**label_values, "le": floatToGoString(bound)},
            cumulative,
            exemplar=_exemplar(state.exemplars.get(bucket)),
        )
    family.add_sample(f"{metric.family}_count", label_values, cumulative)
    family.add_sample(f"{metric.family}_sum", label_values, state.sum)


def _exemplar(exemplar: Exemplar | None) -> PrometheusExemplar | None:
    if exemplar is None:
        return None
    ids = {"trace_id": f"{exemplar.trace_id:032x}", "span_id": f"{exemplar.span_id:016x}"}
    return PrometheusExemplar(ids, exemplar.value, exemplar.at_s)
