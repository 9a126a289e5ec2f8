"""The wire form of a snapshot of metrics, from one process to another of the same release. Pure."""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np

from forebay.stream.telemetry import catalogue as c
from forebay.stream.telemetry.metric_store import Exemplar, HistogramState, Labels, Snapshot

_BY_NAME: Final = {metric.name: metric for metric in c.METRICS}


class _Histogram(msgspec.Struct, array_like=True):
    labels: Labels
    counts: list[int]
    sum: float
    least: float | None
    most: float | None
    exemplars: list[tuple[int, float, str, str, float]]


class _Value(msgspec.Struct, array_like=True):
    labels: Labels
    value: float


class _Document(msgspec.Struct):
    values: dict[str, list[_Value]]
    histograms: dict[str, list[_Histogram]]


_DECODER: Final = msgspec.json.Decoder(_Document)


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """Return the snapshot as JSON, with metrics by their names."""
    values = {
        metric.name: [_Value(labels, value) for labels, value in by_labels.items()]
        for families in (snapshot.counters, snapshot.gauges)
        for metric, by_labels in families.items()
    }
    histograms = {
        metric.name: [_histogram(labels, state) for labels, state in states.items()]
        for metric, states in snapshot.histograms.items()
    }
    return msgspec.json.encode(_Document(values, histograms))


def decode_snapshot(data: bytes) -> Snapshot:
    """Parse what `encode_snapshot` returned. Raises ValueError for anything else."""
    document = _DECODER.decode(data)
    counters: dict[c.Counter, dict[Labels, float]] = {}
    gauges: dict[c.Gauge, dict[Labels, float]] = {}
    for name, values in document.values.items():
        metric = _BY_NAME[name]
        by_labels = {value.labels: value.value for value in values}
        if isinstance(metric, c.Counter):
            counters[metric] = by_labels
        elif isinstance(metric, c.Gauge):
            gauges[metric] = by_labels
    histograms: dict[c.Histogram, dict[Labels, HistogramState]] = {}
    for name, states in document.histograms.items():
        metric = _BY_NAME[name]
        if isinstance(metric, c.Histogram):
            histograms[metric] = {state.labels: _state(state) for state in states}
    return Snapshot(counters, gauges, histograms)


def _histogram(labels: Labels, state: HistogramState) -> _Histogram:
    has_values = bool(state.counts.any())
    return _Histogram(
        labels=labels,
        counts=state.counts.tolist(),
        sum=state.sum,
        least=state.min if has_values else None,
        most=state.max if has_values else None,
        # Identifiers have up to 128 bits, more than the integers of JSON.
        exemplars=[
            (bucket, exemplar.value, f"{exemplar.trace_id:x}", f"{exemplar.span_id:x}", exemplar.at_s)
            for bucket, exemplar in state.exemplars.items()
        ],
    )


def _state(wire: _Histogram) -> HistogramState:
    state = HistogramState(np.array(wire.counts, dtype=np.int64), wire.sum)
    if wire.least is not None and wire.most is not None:
        state.min, state.max = wire.least, wire.most
    for bucket, value, trace_id, span_id, at_s in wire.exemplars:
        state.exemplars[bucket] = Exemplar(value, int(trace_id, 16), int(span_id, 16), at_s)
    return state
