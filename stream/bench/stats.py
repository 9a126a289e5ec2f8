"""Statistics of the measurements. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev
from typing import Final

from forebay.stream.core.percentile import percentile

MEMORY_SETTLED_EVENTS: Final = 200_000
"""Up to this many events, a worker's memory grows for good reasons: buffers, pools, the interpreter itself."""
_MIB: Final = 1 << 20
_MIN_SAMPLES: Final = 8
# The 95 % quantiles of Student's t with 1, 2, ... degrees of freedom; more degrees use the last one, which is slightly larger.
_T_95: Final = (
    *(6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812),
    *(1.796, 1.782, 1.771, 1.761, 1.753, 1.746, 1.740, 1.734, 1.729, 1.725),
)


@dataclass(frozen=True, slots=True)
class Latency:
    """Latencies of `count` events, in milliseconds."""

    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


def summarise(latencies_ms: Sequence[float]) -> Latency:
    """Return the percentiles of the latencies. Raises ValueError if there are none."""
    ordered = sorted(latencies_ms)
    p50_ms, p95_ms, p99_ms = (percentile(ordered, percent) for percent in (50, 95, 99))
    return Latency(count=len(ordered), p50_ms=p50_ms, p95_ms=p95_ms, p99_ms=p99_ms, max_ms=ordered[-1])


def pairwise_ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Return the ratio of `ours` to `theirs` in each round: whatever slowed the machine in a round slowed both.

    Raises ValueError if the numbers of rounds differ or a divisor is not positive.
    """
    if len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} rounds against {len(theirs)}")
    if any(value <= 0 for value in theirs):
        raise ValueError("a rate must be positive")
    return [our / their for our, their in zip(ours, theirs, strict=True)]


def growth_mib_per_million(
    samples: Sequence[tuple[int, int]], *, settled_events: int = MEMORY_SETTLED_EVENTS
) -> float | None:
    """Return the memory growth in MiB per million events after the first `settled_events`; None if there are too few samples.

    samples: (events so far, resident bytes), in order. The medians of the first and the last quarter of the settled samples
    are compared, so that a single peak does not decide.
    """
    settled = [sample for sample in samples if sample[0] >= settled_events]
    if len(settled) < _MIN_SAMPLES:
        return None
    quarter = len(settled) // 4
    first, last = settled[:quarter], settled[-quarter:]
    events = median(count for count, _ in last) - median(count for count, _ in first)
    if events <= 0:
        return None
    grown_bytes = median(size for _, size in last) - median(size for _, size in first)
    return grown_bytes / _MIB / (events / 1_000_000)


@dataclass(frozen=True, slots=True)
class MeanRatio:
    """The geometric mean of ratios of paired rounds.

    lower_95: the one-sided lower 95 % confidence bound of the mean; None with a single round.
    """

    mean: float
    lower_95: float | None


def mean_ratio(ratios: Sequence[float]) -> MeanRatio:
    """Return the geometric mean of ratios, with its lower bound. Raises ValueError if there are none."""
    logs = [math.log(ratio) for ratio in ratios]
    mean = fmean(logs)
    if len(logs) == 1:
        return MeanRatio(math.exp(mean), None)
    t = _T_95[min(len(logs) - 1, len(_T_95)) - 1]
    return MeanRatio(math.exp(mean), math.exp(mean - t * stdev(logs) / math.sqrt(len(logs))))
