"""The verdict of a soak: whether memory and latency stayed flat, and whether every event has exactly one outcome. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Final

import numpy as np

_Z_95: Final = 1.959964
MAX_GROWTH_PER_HOUR: Final = 0.01
"""Memory is flat if it may not grow at all, or grows by less than this share of itself in an hour."""
MAX_LATENCY_RATIO: Final = 1.2
"""Latency is flat if that of the last third is at most this much above that of the first."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The state of the worker at one moment, and the latencies since the previous sample.

    at_s: seconds since the load began.
    rss_mib, own_mib: resident memory, and the part of it without files.
    objects: objects that Python's garbage collector tracks; None if they are not known.
    p50_ms, p99_ms: from when a batch of events was published until its last prediction was readable; None without any.
    """

    at_s: float
    rss_mib: float
    own_mib: float
    cpu_s: float
    open_files: int
    threads: int
    objects: int | None
    lag: int | None
    in_flight: int
    open_windows: int
    p50_ms: float | None
    p99_ms: float | None
    events: int


@dataclass(frozen=True, slots=True)
class Slope:
    """A slope per hour with its 95 % interval."""

    per_hour: float
    low: float
    high: float


def theil_sen(at_s: Sequence[float], values: Sequence[float]) -> Slope:
    """Return the median of the slopes of all pairs of points, which a few outliers do not change.

    The interval is that of Sen (1968), from the normal approximation of Kendall's statistic without ties. It assumes
    independent values; those of a process are not quite, so the true interval is somewhat wider.

    Raises ValueError for fewer than 3 points.
    """
    count = len(values)
    if count < 3:
        raise ValueError(f"{count} points are too few for a slope")
    x, y = np.asarray(at_s) / 3600, np.asarray(values, dtype=np.float64)
    first, second = np.triu_indices(count, 1)
    slopes = np.sort((y[second] - y[first]) / (x[second] - x[first]))
    half_width = _Z_95 * math.sqrt(count * (count - 1) * (2 * count + 5) / 18) / 2
    low = max(0, round(len(slopes) / 2 - half_width) - 1)
    high = min(len(slopes) - 1, round(len(slopes) / 2 + half_width))
    return Slope(float(np.median(slopes)), float(slopes[low]), float(slopes[high]))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a soak showed.

    exact: whether every published event has exactly one outcome.
    p50_ms, p99_ms: medians over the samples of the first and the last third.
    """

    rss: Slope
    own: Slope
    memory_flat: bool
    p50_ms: tuple[float, float]
    p99_ms: tuple[float, float]
    latency_flat: bool
    exact: bool

    @property
    def passed(self) -> bool:
        return self.memory_flat and self.latency_flat and self.exact


def judge(samples: Sequence[Sample], *, warm_up_s: float, exact: bool) -> Verdict:
    """Return the verdict over the samples after the warm-up. Raises ValueError if there are too few."""
    settled = [sample for sample in samples if sample.at_s >= warm_up_s]
    if len(settled) < 9:
        raise ValueError(f"{len(settled)} samples after the warm-up of {warm_up_s:g} s are too few; use more --minutes")
    at_s = [sample.at_s for sample in settled]
    rss, own = (theil_sen(at_s, [getattr(sample, name) for sample in settled]) for name in ("rss_mib", "own_mib"))
    third = len(settled) // 3
    first, last = settled[:third], settled[-third:]
    p50_ms, p99_ms = ((_median(first, name), _median(last, name)) for name in ("p50_ms", "p99_ms"))
    limit = MAX_GROWTH_PER_HOUR * median(sample.rss_mib for sample in settled)
    return Verdict(
        rss=rss,
        own=own,
        memory_flat=rss.low <= 0 or rss.per_hour <= limit,
        p50_ms=p50_ms,
        p99_ms=p99_ms,
        latency_flat=not p99_ms[1] > MAX_LATENCY_RATIO * p99_ms[0],
        exact=exact,
    )


def _median(samples: Sequence[Sample], name: str) -> float:
    values = [value for sample in samples if (value := getattr(sample, name)) is not None]
    return float(median(values)) if values else math.nan


def to_lines(verdict: Verdict, samples: Sequence[Sample], counts: dict[str, int]) -> list[str]:
    """Return the verdict as a Markdown table."""
    first, last = samples[0], samples[-1]

    def slope(name: str, value: Slope) -> str:
        return f"| {name} | {value.per_hour:+.1f} MiB/h (95 %: {value.low:+.1f} to {value.high:+.1f}) |"

    def pair(name: str, values: tuple[float, float]) -> str:
        return f"| {name}, first → last third | {values[0]:.1f} → {values[1]:.1f} ms |"

    objects = [sample.objects for sample in samples if sample.objects is not None]
    seconds = last.at_s - first.at_s
    busy = (last.cpu_s - first.cpu_s) / seconds if seconds else math.nan
    return [
        "| | |",
        "|---|---|",
        slope("resident memory, slope", verdict.rss),
        slope("memory without files, slope", verdict.own),
        f"| resident memory at the start, largest, at the end | {first.rss_mib:.0f}, "
        f"{max(sample.rss_mib for sample in samples):.0f}, {last.rss_mib:.0f} MiB |",
        pair("p50", verdict.p50_ms),
        pair("p99", verdict.p99_ms),
        f"| largest lag seen | {max((sample.lag or 0 for sample in samples), default=0):,} events |",
        f"| open files at the start, at the end | {first.open_files}, {last.open_files} |",
        f"| threads at the start, at the end | {first.threads}, {last.threads} |",
        *([f"| objects of the collector, first, last | {objects[0]:,}, {objects[-1]:,} |"] if objects else []),
        f"| CPU of the worker, share of a core | {busy:.0%} |",
        *(f"| {name} | {count:,} |" for name, count in counts.items()),
        f"| **memory** | **{'flat' if verdict.memory_flat else 'grows'}** |",
        f"| **latency** | **{'flat' if verdict.latency_flat else 'grows'}** |",
        f"| **counts** | **{'exact' if verdict.exact else 'NOT exact'}** |",
    ]


def to_document(verdict: Verdict, samples: Sequence[Sample], counts: dict[str, int]) -> dict[str, Any]:
    """Return the verdict, the counts and all samples as JSON values."""
    return {
        "verdict": {**asdict(verdict), "passed": verdict.passed},
        "counts": counts,
        "samples": [asdict(sample) for sample in samples],
    }
