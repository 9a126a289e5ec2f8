"""Samples of the last minutes, one a second, for the live page and `forebay status`. Pure.

Updated once per commit. A sample holds counts and histograms, so that percentiles over any span of seconds are exact to the
width of a bucket.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from forebay.schemas.failures import Outcome

HISTORY_S: Final = 300
SUMMARY_S: Final = 10
"""Number of whole seconds over which current rates are measured."""

LOWEST_MS: Final = 0.05
BUCKET_RATIO: Final = 1.08
NUM_BUCKETS: Final = 256
"""Durations up to 0.05 ms × 1.08^255, five hours; a percentile is accurate to 8%."""

_BOUNDS_MS: Final = LOWEST_MS * BUCKET_RATIO ** np.arange(NUM_BUCKETS - 1)


class DurationHistogram:
    """A histogram of durations in milliseconds with buckets at a constant ratio."""

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts: npt.NDArray[np.int64] | None = None

    def add(self, values_ms: npt.NDArray[np.float64]) -> None:
        """Add values, float64 [N]."""
        if not len(values_ms):
            return
        counts = np.bincount(np.searchsorted(_BOUNDS_MS, values_ms), minlength=NUM_BUCKETS)
        self.counts = counts if self.counts is None else self.counts + counts

    def merge(self, other: DurationHistogram) -> None:
        if other.counts is not None:
            self.counts = other.counts.copy() if self.counts is None else self.counts + other.counts

    def percentiles(self, shares: Sequence[float]) -> list[float | None]:
        """Return percentiles in ms by nearest rank, each the middle of its bucket; None if the histogram is empty.

        shares: percentiles as fractions, such as 0.99.
        """
        if self.counts is None:
            return [None] * len(shares)
        ranks = np.cumsum(self.counts)
        total = int(ranks[-1])
        percentiles: list[float | None] = []
        for share in shares:
            bucket = int(np.searchsorted(ranks, max(1, np.ceil(share * total))))
            percentiles.append(round(LOWEST_MS * BUCKET_RATIO ** (bucket - 0.5), 3))
        return percentiles


@dataclass(slots=True)
class SecondStats:
    """What was committed in one second.

    at: the second, since 1970.
    events: sum of the batches' sizes.
    largest: size of the largest batch.
    """

    at: int
    outcomes: dict[Outcome, int] = field(default_factory=dict)
    commits: int = 0
    batches: int = 0
    events: int = 0
    largest: int = 0
    latency: DurationHistogram = field(default_factory=DurationHistogram)
    model: DurationHistogram = field(default_factory=DurationHistogram)
    lag: int | None = None


class SampleHistory:
    """A ring buffer with the samples of the last seconds."""

    def __init__(self, *, history_s: int = HISTORY_S) -> None:
        self._ring: deque[SecondStats] = deque(maxlen=history_s)

    def record_commit(
        self,
        *,
        wall_ms: int,
        outcomes: Mapping[Outcome, int],
        batch_sizes: Sequence[int],
        model_ms: npt.NDArray[np.float64],
        latencies_ms: npt.NDArray[np.float64],
    ) -> None:
        """Add a commit to the sample of its second.

        batch_sizes, model_ms: size and model time of each micro-batch of the commit.
        latencies_ms: latency of each of its events.
        """
        second = self._second(wall_ms)
        for outcome, count in outcomes.items():
            second.outcomes[outcome] = second.outcomes.get(outcome, 0) + count
        second.commits += 1
        second.batches += len(batch_sizes)
        second.events += sum(batch_sizes)
        second.largest = max((second.largest, *batch_sizes))
        second.model.add(model_ms)
        second.latency.add(latencies_ms)

    def record_lag(self, lag: int | None, *, wall_ms: int) -> None:
        """Record the current lag. This also adds samples for seconds without commits."""
        self._second(wall_ms).lag = lag

    def columns(self, *, now_ms: int, since: int = 0) -> dict[str, list[float | int | None]]:
        """Return the whole seconds after `since` as columns of equal length; the current second is left out."""
        names = ("at", *(outcome.value for outcome in Outcome), "commits", "batches", "batch_mean", "batch_max")
        names += ("latency_p50", "latency_p95", "latency_p99", "model_p50", "model_p99", "lag")
        columns: dict[str, list[float | int | None]] = {name: [] for name in names}
        for second in self._between(since + 1, now_ms // 1000):
            row: list[float | int | None] = [second.at, *(second.outcomes.get(outcome, 0) for outcome in Outcome)]
            row += [second.commits, second.batches, _mean(second.events, second.batches), second.largest or None]
            row += second.latency.percentiles((0.5, 0.95, 0.99))
            row += second.model.percentiles((0.5, 0.99))
            row.append(second.lag)
            for name, value in zip(names, row, strict=True):
                columns[name].append(value)
        return columns

    def summary(self, *, now_ms: int) -> dict[str, float | int | None]:
        """Return rates per second and durations in ms over the last `SUMMARY_S` whole seconds."""
        latency, model = DurationHistogram(), DurationHistogram()
        events = batches = largest = 0
        stop = now_ms // 1000
        counts = dict.fromkeys(Outcome, 0)
        for second in self._between(stop - SUMMARY_S, stop):
            events, batches, largest = events + second.events, batches + second.batches, max(largest, second.largest)
            for outcome, count in second.outcomes.items():
                counts[outcome] += count
            latency.merge(second.latency)
            model.merge(second.model)
        p50, p95, p99 = latency.percentiles((0.5, 0.95, 0.99))
        model_p50, model_p99 = model.percentiles((0.5, 0.99))
        return {
            "span_s": SUMMARY_S,
            "events_per_s": round(
                sum(count for outcome, count in counts.items() if not outcome.of_window) / SUMMARY_S, 2
            ),
            **{f"{outcome.value}_per_s": round(count / SUMMARY_S, 2) for outcome, count in counts.items()},
            "batch_mean": _mean(events, batches),
            "batch_max": largest or None,
            "latency_p50_ms": p50,
            "latency_p95_ms": p95,
            "latency_p99_ms": p99,
            "model_p50_ms": model_p50,
            "model_p99_ms": model_p99,
        }

    def _between(self, start: int, stop: int) -> Iterable[SecondStats]:
        return (second for second in self._ring if start <= second.at < stop)

    def _second(self, wall_ms: int) -> SecondStats:
        at = wall_ms // 1000
        ring = self._ring
        if ring and at <= ring[-1].at:
            return ring[-1]  # also if the clock was set back: the ring stays in order
        if ring and at - ring[-1].at < (ring.maxlen or 0):
            for idle in range(ring[-1].at + 1, at):
                ring.append(SecondStats(idle, lag=ring[-1].lag))
        ring.append(SecondStats(at))
        return ring[-1]


def _mean(total: int, count: int) -> float | None:
    return round(total / count, 1) if count else None
