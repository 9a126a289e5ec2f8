"""The values of all metrics, updated per batch and read by exporters. Pure and thread-safe.

It replaces the aggregation of the OpenTelemetry SDK, which takes values one at a time, for some microseconds each, while a
commit has thousands of latencies (decision 17). The result follows OpenTelemetry's data model.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from forebay.stream.core.model_ref import ModelRef
from forebay.stream.telemetry.catalogue import Counter, Gauge, Histogram

Labels = tuple[str, ...]


class Exemplar(NamedTuple):
    """One value of a histogram, with the sampled span to which it belongs. at_s: seconds since 1970."""

    value: float
    trace_id: int
    span_id: int
    at_s: float


class EventExemplar(NamedTuple):
    """An exemplar for the latency of a sampled event, with its model and its record timestamp in ms."""

    model: ModelRef
    timestamp: int
    exemplar: Exemplar


@dataclass(slots=True)
class HistogramState:
    """The values of a histogram with one set of labels.

    counts: number of values per bucket; one more bucket than bounds.
    exemplars: the last one by bucket.
    """

    counts: npt.NDArray[np.int64]
    sum: float = 0.0
    min: float = float("inf")
    max: float = float("-inf")
    exemplars: dict[int, Exemplar] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return int(self.counts.sum())

    def copy(self) -> HistogramState:
        return HistogramState(
            counts=self.counts.copy(), sum=self.sum, min=self.min, max=self.max, exemplars=dict(self.exemplars)
        )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All values at one moment. Metrics without values are left out."""

    counters: Mapping[Counter, Mapping[Labels, float]]
    gauges: Mapping[Gauge, Mapping[Labels, float]]
    histograms: Mapping[Histogram, Mapping[Labels, HistogramState]]


class MetricStore:
    """Holds values by metric and label values, which are in the order of the metric's labels."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counters: dict[Counter, dict[Labels, float]] = {}
        self._gauges: dict[Gauge, dict[Labels, float]] = {}
        self._histograms: dict[Histogram, dict[Labels, HistogramState]] = {}
        self._bounds: dict[Histogram, npt.NDArray[np.float64]] = {}

    def add(self, metric: Counter, amount: float, labels: Labels = ()) -> None:
        with self._lock:
            values = self._counters.setdefault(metric, {})
            values[_check_labels(metric, labels)] = values.get(labels, 0) + amount

    def set_total(self, metric: Counter, total: float, labels: Labels = ()) -> None:
        """Set a counter whose total is kept elsewhere."""
        with self._lock:
            self._counters.setdefault(metric, {})[_check_labels(metric, labels)] = total

    def replace_totals(self, metric: Counter, totals: Mapping[Labels, float]) -> None:
        """Set a counter to these totals, and remove those of other label values."""
        with self._lock:
            self._counters[metric] = {_check_labels(metric, labels): total for labels, total in totals.items()}

    def set(self, metric: Gauge, value: float, labels: Labels = ()) -> None:
        with self._lock:
            self._gauges.setdefault(metric, {})[_check_labels(metric, labels)] = value

    def replace(self, metric: Gauge, values: Mapping[Labels, float]) -> None:
        """Set these values, and remove those of other label values."""
        with self._lock:
            self._gauges[metric] = {_check_labels(metric, labels): value for labels, value in values.items()}

    def remove(self, labels: Mapping[str, str]) -> None:
        """Remove the values of all metrics that have all of these labels with these values."""
        with self._lock:
            for families in (self._counters, self._gauges, self._histograms):
                for metric, values in families.items():
                    _remove_matching(metric, values, labels)

    def observe(
        self, metric: Histogram, value: float, labels: Labels = (), *, exemplar: Exemplar | None = None
    ) -> None:
        """Add one value; without numpy, whose calls would cost more than everything else here."""
        # In Prometheus a bucket contains the values up to and including its bound.
        bucket = bisect_left(metric.bounds, value)
        with self._lock:
            state = self._state(metric, labels)
            state.counts[bucket] += 1
            state.sum += value
            state.min = min(state.min, value)
            state.max = max(state.max, value)
            if exemplar is not None:
                state.exemplars[bucket] = exemplar

    def observe_many(
        self,
        metric: Histogram,
        values: npt.NDArray[np.float64],
        labels: Labels = (),
        *,
        exemplars: tuple[Exemplar, ...] = (),
    ) -> None:
        """Add values, float64 [N]. The last exemplar of each bucket is kept."""
        if not len(values):
            return
        bounds = self._bounds.get(metric)
        if bounds is None:
            bounds = self._bounds[metric] = np.array(metric.bounds)
        buckets = np.searchsorted(bounds, values, side="left")
        counts = np.bincount(buckets, minlength=len(bounds) + 1)
        total, low, high = float(values.sum()), float(values.min()), float(values.max())
        with self._lock:
            state = self._state(metric, labels)
            state.counts += counts
            state.sum += total
            state.min = min(state.min, low)
            state.max = max(state.max, high)
            for exemplar in exemplars:
                state.exemplars[bisect_left(metric.bounds, exemplar.value)] = exemplar

    def _state(self, metric: Histogram, labels: Labels) -> HistogramState:
        states = self._histograms.setdefault(metric, {})
        state = states.get(labels)
        if state is None:
            counts = np.zeros(len(metric.bounds) + 1, dtype=np.int64)
            state = states[_check_labels(metric, labels)] = HistogramState(counts)
        return state

    def snapshot(self) -> Snapshot:
        with self._lock:
            return Snapshot(
                {metric: dict(values) for metric, values in self._counters.items() if values},
                {metric: dict(values) for metric, values in self._gauges.items() if values},
                {
                    metric: {labels: state.copy() for labels, state in states.items()}
                    for metric, states in self._histograms.items()
                },
            )


def _remove_matching(metric: Counter | Gauge | Histogram, values: dict[Labels, Any], labels: Mapping[str, str]) -> None:
    if not labels.keys() <= set(metric.labels):
        return
    wanted = [(metric.labels.index(name), value) for name, value in labels.items()]
    for key in [key for key in values if all(key[index] == value for index, value in wanted)]:
        del values[key]


def _check_labels(metric: Counter | Gauge | Histogram, labels: Labels) -> Labels:
    if len(labels) != len(metric.labels):
        raise ValueError(f"{metric.name} has the labels {metric.labels}; got the values {labels}")
    return labels
