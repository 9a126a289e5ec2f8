"""The last minutes, a sample a second: what the live page draws and `forebay status` sums up. Pure.

Fed once a commit. A sample holds counts and histograms, so that any span of seconds adds up to true percentiles.
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
"""What is called a rate "now" is of the last so many whole seconds."""

LOWEST_MS: Final = 0.05
BUCKET_RATIO: Final = 1.08
NUM_BUCKETS: Final = 256
"""Up to 0.05 ms × 1.08^255, five hours; a percentile is told within 8%."""

_BOUNDS_MS: Final = LOWEST_MS * BUCKET_RATIO ** np.arange(NUM_BUCKETS - 1)


class DurationHistogram:
    """A histogram of durations in milliseconds, its buckets a constant ratio apart."""

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts: npt.NDArray[np.int64] | None = None

    def add(self, values_ms: npt.NDArray[np.float64]) -> None:
        """Every value of float64 [N]."""
        if not len(values_ms):
            return
        counts = np.bincount(np.searchsorted(_BOUNDS_MS, values_ms), minlength=NUM_BUCKETS)
        self.counts = counts if self.counts is None else self.counts + counts

    def merge(self, other: DurationHistogram) -> None:
        if other.counts is not None:
            self.counts = other.counts.copy() if self.counts is None else self.counts + other.counts

    def percentiles(self, shares: Sequence[float]) -> list[float | None]:
        """By nearest rank, each the middle of its bucket in ms; None where there is no value."""
        if self.counts is None:
            return [None] * len(shares)
        ranks = np.cumsum(self.counts)
        total = int(ranks[-1])
        found: list[float | None] = []
        for share in shares:
            bucket = int(np.searchsorted(ranks, max(1, np.ceil(share * total))))
            found.append(round(LOWEST_MS * BUCKET_RATIO ** (bucket - 0.5), 3))
        return found


@dataclass(slots=True)
class SecondStats:
    """What happened in one second. at: that second, since 1970. events: the sum of the batches' sizes."""

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
    """A ring of the last seconds."""

    def __init__(self, *, kept_s: int = HISTORY_S) -> None:
        self._ring: deque[SecondStats] = deque(maxlen=kept_s)

    def on_committed(
        self,
        *,
        wall_ms: int,
        outcomes: Mapping[Outcome, int],
        batch_sizes: Sequence[int],
        model_ms: npt.NDArray[np.float64],
        latencies_ms: npt.NDArray[np.float64],
    ) -> None:
        """A commit. batch_sizes and model_ms: one for each of its micro-batches; latencies_ms: one for each of its events."""
        second = self._second(wall_ms)
        for outcome, count in outcomes.items():
            second.outcomes[outcome] = second.outcomes.get(outcome, 0) + count
        second.commits += 1
        second.batches += len(batch_sizes)
        second.events += sum(batch_sizes)
        second.largest = max((second.largest, *batch_sizes))
        second.model.add(model_ms)
        second.latency.add(latencies_ms)

    def looked(self, *, wall_ms: int, lag: int | None) -> None:
        """The lag as it is now; also makes the seconds in which nothing happened."""
        self._second(wall_ms).lag = lag

    def columns(self, *, now_ms: int, since: int = 0) -> dict[str, list[float | int | None]]:
        """The whole seconds after `since` as columns of one length; the running second is left out."""
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
        """The last `SUMMARY_S` whole seconds in one: rates a second, times in ms."""
        latency, model = DurationHistogram(), DurationHistogram()
        events = batches = largest = 0
        stop = now_ms // 1000
        decided = dict.fromkeys(Outcome, 0)
        for second in self._between(stop - SUMMARY_S, stop):
            events, batches, largest = events + second.events, batches + second.batches, max(largest, second.largest)
            for outcome, count in second.outcomes.items():
                decided[outcome] += count
            latency.merge(second.latency)
            model.merge(second.model)
        p50, p95, p99 = latency.percentiles((0.5, 0.95, 0.99))
        model_p50, model_p99 = model.percentiles((0.5, 0.99))
        return {
            "span_s": SUMMARY_S,
            "events_per_s": round(sum(n for outcome, n in decided.items() if not outcome.of_window) / SUMMARY_S, 2),
            **{f"{outcome.value}_per_s": round(count / SUMMARY_S, 2) for outcome, count in decided.items()},
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
            return ring[-1]  # also where the clock was set back: the ring stays in order
        if ring and at - ring[-1].at < (ring.maxlen or 0):
            for between in range(ring[-1].at + 1, at):
                ring.append(SecondStats(between, lag=ring[-1].lag))
        ring.append(SecondStats(at))
        return ring[-1]


def _mean(total: int, count: int) -> float | None:
    return round(total / count, 1) if count else None
