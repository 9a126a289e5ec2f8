"""Latency, throughput and resources by minute, from the outcome deltas of all workers. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, TypeVar

from forebay.schemas.aggregates import WORKER_METRICS
from forebay.stream.aggregate.delta import MeasuredDelta
from forebay.stream.aggregate.metric_alerts import MetricRule, Sample, Subject
from forebay.stream.rollouts.performance import LatencyHistogram, Performance, ProcessUsage

STEP_MS: Final = 60_000
K = TypeVar("K")
T = TypeVar("T")

_MB: Final = 1e6
_MS: Final = 1e3


@dataclass(slots=True)
class _Minute:
    """What a model version did in a minute. events: predicted events and windows."""

    events: int = 0
    performance: Performance = field(default_factory=Performance)


class PerformanceSeries:
    """Minutes by model version and by worker, by the time at which the workers reported them. Times in ms since the epoch."""

    step_ms = STEP_MS

    def __init__(self) -> None:
        self._versions: dict[tuple[str, int], dict[int, _Minute]] = {}
        self._workers: dict[str, dict[int, ProcessUsage]] = {}

    def add(self, measured: MeasuredDelta, timestamp_ms: int) -> None:
        """Add a delta. timestamp_ms: that of its record."""
        start = timestamp_ms // STEP_MS * STEP_MS
        delta, performance = measured.delta, measured.performance
        minute = self._versions.setdefault((delta.model, delta.version), {}).setdefault(start, _Minute())
        if delta.cell.is_prediction:
            minute.events += delta.count
        if performance is None:
            return
        minute.performance.add(performance)
        if performance.process is not None and measured.worker:
            minutes = self._workers.setdefault(measured.worker, {})
            minutes.setdefault(start, ProcessUsage()).add(performance.process)

    def forget(self, before_ms: int) -> None:
        """Drop the minutes that begin before a time, and what has none left."""
        _forget(self._versions, before_ms)
        _forget(self._workers, before_ms)

    # ---- as a MetricSeries

    def subjects(self, rule: MetricRule) -> Iterator[Subject]:
        """Return what the rule applies to. Throughput is that of all versions, unless the rule names one."""
        if rule.metric in WORKER_METRICS:
            yield from (Subject(None, None, worker) for worker in self._workers)
            return
        if rule.metric == "throughput":
            if rule.model is not None:  # also if nothing is known about it: then nothing is predicted
                yield Subject(rule.model, rule.version)
            else:
                yield from {Subject(model) for model, _ in self._versions}
            return
        for model, version in self._versions:
            if rule.model in (None, model) and rule.version in (None, version):
                yield Subject(model, version)

    def last_step(self, rule: MetricRule, subject: Subject, now_ms: int) -> int | None:
        """Return the last complete minute."""
        del rule, subject
        return now_ms // STEP_MS * STEP_MS - STEP_MS

    def sample(self, rule: MetricRule, subject: Subject, start: int) -> Sample | None:
        """Return the metric over the minutes of the rule's time span, which ends with the one at `start`."""
        starts = range(start + STEP_MS - rule.window_ms, start + STEP_MS, STEP_MS)
        seconds = rule.window_ms / 1000
        if subject.model is None:
            return _worker_sample(rule.metric, _found(self._workers.get(subject.detail, {}), starts), seconds)
        minutes = list(self._minutes(subject.model, subject.version, starts))
        events = sum(minute.events for minute in minutes)
        if rule.metric == "throughput":
            # A model that has just begun to predict is not slow. If a rule names it, it should have predicted before.
            is_known = rule.model is not None or self._first(subject.model) <= starts.start
            return Sample(events / seconds, events, events) if is_known else None
        performance = Performance.sum(minute.performance for minute in minutes)
        if performance.rows < rule.min_count:
            return None
        value = _model_value(rule.metric, performance, seconds)
        return None if value is None else Sample(value, performance.rows, performance.rows)

    def oldest(self, subject: Subject) -> int | None:
        """Return the first minute with records of any subject."""
        del subject
        starts = {start for minutes in self._versions.values() for start in minutes}
        return min(starts, default=None)

    def is_over(self, subject: Subject) -> bool:
        """Return True: what does nothing is not slow, and needs nothing."""
        del subject
        return True

    def held_ms(self, since: int, last_step: int, now_ms: int) -> int:
        """Return the time since then."""
        del last_step
        return now_ms - since

    def _first(self, model: str) -> float:
        """Return the first known minute of a model."""
        starts = [min(minutes) for (name, _), minutes in self._versions.items() if name == model]
        return min(starts, default=math.inf)

    def _minutes(self, model: str, version: int | None, starts: range) -> Iterator[_Minute]:
        for (name, number), minutes in self._versions.items():
            if name == model and version in (None, number):
                yield from _found(minutes, starts)


def _forget(series: dict[K, dict[int, T]], before_ms: int) -> None:
    for name, minutes in list(series.items()):
        for start in [start for start in minutes if start < before_ms]:
            del minutes[start]
        if not minutes:
            del series[name]


def _found(minutes: dict[int, T], starts: Iterable[int]) -> list[T]:
    return [minutes[start] for start in starts if start in minutes]


def _worker_sample(metric: str, minutes: list[ProcessUsage], seconds: float) -> Sample | None:
    usage = ProcessUsage()
    for minute in minutes:
        usage.add(minute)
    if metric == "worker_cpu_cores":
        return Sample(usage.cpu_s / seconds, 0, 0) if minutes else None
    size = usage.memory_bytes if metric == "worker_memory_mb" else usage.gpu_memory_bytes
    return None if size is None else Sample(size / _MB, 0, 0)


def _model_value(metric: str, performance: Performance, seconds: float) -> float | None:
    match metric:
        case "latency_p99_ms":
            return _quantile_ms(performance.latency, 0.99)
        case "latency_p50_ms":
            return _quantile_ms(performance.latency, 0.5)
        case "model_p99_ms":
            return _quantile_ms(performance.model_time, 0.99)
        case "latency_mean_ms":
            mean_s = performance.latency.mean()
            return None if mean_s is None else mean_s * _MS
        case "model_cpu_cores":
            return performance.cpu_s / seconds
        case "model_gpus":
            return None if performance.gpu_s is None else performance.gpu_s / seconds
        case "model_memory_mb":
            return None if performance.memory_bytes is None else performance.memory_bytes / _MB
    raise ValueError(f"{metric} is not a metric of a model version")


def _quantile_ms(histogram: LatencyHistogram, share: float) -> float | None:
    value_s = histogram.quantile(share)
    return None if value_s is None else value_s * _MS
