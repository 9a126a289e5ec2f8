"""The checks of a canary against the stable version. Pure: statistics and the time go in, findings come out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, pi, sqrt
from typing import Final

from forebay.stream.rollouts.confidence import events_until_above, exceeds, upper_bound
from forebay.stream.rollouts.findings import Check as Check
from forebay.stream.rollouts.findings import Finding as Finding
from forebay.stream.rollouts.findings import State as State
from forebay.stream.rollouts.performance import LatencyHistogram, Performance
from forebay.stream.rollouts.quality_checks import Arms, QualityLimits, check_quality, check_sample
from forebay.stream.rollouts.version_stats import Period, VersionStats

FALSE_ALARM: Final = 0.001
"""Probability with which the check of failures ever rolls back a version that fails no more often than it may."""
MIN_EVENTS: Final = 30
"""Fewer events of a canary are not judged by their failures, and fewer of the stable version are not compared with."""
MIN_WINDOW_ROWS: Final = 20
"""Fewer rows in a judge window are not judged by their latency or cost."""
MIN_DIFFERENCE_S: Final = 0.001
"""A shorter difference between model calls does not count: a version that is called rarely finds cold caches."""
COMPARABLE_CALLS: Final = 0.5
"""The cost of micro-batches that hold fewer rows than this share of the stable version's is not compared with it."""
SETTLE_MS: Final = 2000
"""Outcomes of a judge window may arrive this long after its end."""
_SD: Final = 2.0


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The limits, as in the section `rollouts` of the configuration.

    min_events: for steps that do not say how many events they need.
    max_cost_ratio: 0 if the cost is not judged.
    quality: None if the quality is not judged.
    """

    window_s: float = 60.0
    windows: int = 3
    min_events: int = 1000
    max_non_finite: int = 0
    max_failure_rate: float = 0.01
    max_failure_ratio: float = 2.0
    max_latency_ratio: float = 1.5
    max_cost_ratio: float = 0.0
    quality: QualityLimits | None = None

    @property
    def settle_ms(self) -> float:
        """How long after the end of a judge window it is judged."""
        return min(SETTLE_MS, self.window_s * 250)


@dataclass(frozen=True, slots=True)
class Comparison:
    """A canary beside the stable version.

    periods: the revisions since the version became a canary, oldest first; the last one is the current revision.
    share: the canary's share of the keys of both versions.
    """

    canary: int
    stable: int
    periods: Sequence[Period]
    thresholds: Thresholds
    now_ms: int
    share: float = 1.0

    @property
    def period(self) -> Period:
        return self.periods[-1]

    @property
    def last_window(self) -> int:
        """The number of the last complete judge window of the current revision; -1 if there is none yet."""
        return max(self.period.window_at(round(self.now_ms - self.thresholds.settle_ms)) - 1, -1)

    def baseline(self, own: VersionStats, *, enough: Callable[[VersionStats], bool]) -> VersionStats:
        """Return the stable version's statistics to compare with: `own` if it is enough, else all since the canary began."""
        return own if enough(own) else VersionStats.sum(period.total(self.stable) for period in self.periods)


def run_checks(comparison: Comparison) -> list[Finding]:
    """Return the findings of all checks."""
    return [
        _check_not_finite(comparison),
        _check_failures(comparison),
        _check_latency(comparison),
        *([_check_cost(comparison)] if comparison.thresholds.max_cost_ratio else []),
        *_check_labels(comparison),
    ]


def _check_labels(comparison: Comparison) -> Iterator[Finding]:
    """Check the quality in the windows since the current revision, in which the canary had the same share all the time."""
    limits, period = comparison.thresholds.quality, comparison.period
    if limits is None:
        return
    arms = Arms(
        comparison.stable,
        comparison.canary,
        period.quality(comparison.stable),
        period.quality(comparison.canary),
        share=comparison.share,
    )
    yield check_sample(arms)
    yield check_quality(arms, limits, share_of_error=_share(len(comparison.periods)))


def _check_not_finite(comparison: Comparison) -> Finding:
    version, limit = comparison.canary, comparison.thresholds.max_non_finite
    total = VersionStats.sum(period.total(version) for period in comparison.periods)
    found, rows = total.performance.not_finite, total.performance.rows
    evidence = {"rows": rows, "not_finite": found, "limit": limit}
    if found > limit:
        reason = f"{found:,} of {rows:,} outputs of version {version} are NaN or infinite; {limit:,} are allowed"
        return Finding(Check.NOT_FINITE, State.FAILED, reason, evidence)
    return Finding(Check.NOT_FINITE, State.PASSED if rows else State.NO_DATA, evidence=evidence)


# ---- failures


def _check_failures(comparison: Comparison) -> Finding:
    """Compare the failure rates since the revision and in the last judge windows.

    The check fails if the canary's lower bound exceeds the limit computed from the stable version's upper bound. Both bounds
    hold at all times, and their errors add up to FALSE_ALARM over all revisions and windows, so that a version whose failure
    rate does not exceed the limit is ever rolled back with at most that probability, if failures are independent of each
    other and rates constant within a span. Many failures of one key at once are not independent; then it rolls back.

    Each revision starts from zero: sums over revisions with different weights would compare different times of the day.
    """
    period, version, stable = comparison.period, comparison.canary, comparison.stable
    # The errors 6/(pi k)² add up to 1 over k = 1, 2, ...
    error = FALSE_ALARM / 2 * _share(len(comparison.periods))
    recent = max(comparison.last_window + 2 - comparison.thresholds.windows, 0)
    spans = [(period.total(version), period.total(stable), error)]
    if recent:
        spans.append((period.since(version, recent), period.since(stable, recent), error * _share(recent)))
    findings = [_compare_failures(comparison, canary, own, error) for canary, own, error in spans]
    for state in (State.FAILED, State.SUSPECT):
        for finding in findings:
            if finding.state is state:
                return finding
    return findings[0]


def _share(number: int) -> float:
    return 6 / (pi * number) ** 2


def _compare_failures(comparison: Comparison, canary: VersionStats, own: VersionStats, error: float) -> Finding:
    thresholds = comparison.thresholds
    stable = comparison.baseline(own, enough=lambda stats: stats.events >= MIN_EVENTS)
    limit = max(thresholds.max_failure_rate, thresholds.max_failure_ratio * stable.failure_rate)
    evidence: dict[str, object] = {
        "events": canary.events,
        "failures": canary.failures,
        "rate": _rounded(canary.failure_rate),
        "stable_events": stable.events,
        "stable_failures": stable.failures,
        "stable_rate": _rounded(stable.failure_rate),
        "limit": _rounded(limit),
    }
    reason = (
        f"{canary.failures:,} of {canary.events:,} events of version {comparison.canary} failed "
        f"({canary.failure_rate:.2%}); the limit is {limit:.2%}, with {stable.failures:,} of {stable.events:,} "
        f"({stable.failure_rate:.2%}) of version {comparison.stable}"
    )
    if not canary.events:
        return Finding(Check.FAILURES, State.NO_DATA, evidence=evidence)
    if canary.failure_rate <= limit:
        return Finding(Check.FAILURES, State.PASSED, evidence=evidence)
    upper = upper_bound(stable.failures, stable.events, error / 2)
    certain = max(thresholds.max_failure_rate, thresholds.max_failure_ratio * upper)
    if canary.events >= MIN_EVENTS and exceeds(canary.failures, canary.events, certain, error / 2):
        return Finding(Check.FAILURES, State.FAILED, reason, evidence)
    needed = events_until_above(canary.failure_rate, canary.events, min(certain, limit), error / 2)
    return Finding(Check.FAILURES, State.SUSPECT, reason, evidence, events_needed=max(needed or 0, 1))


# ---- latency and cost, in judge windows in a row


def _check_latency(comparison: Comparison) -> Finding:
    return _check_windows(comparison, Check.LATENCY, _latency_excess)


def _check_cost(comparison: Comparison) -> Finding:
    return _check_windows(comparison, Check.COST, _cost_excess)


@dataclass(frozen=True, slots=True)
class _Excess:
    """What exceeds the limit in a judge window, in plain words and in numbers."""

    reason: str
    evidence: Mapping[str, object]


_FindExcess = Callable[[Comparison, VersionStats, VersionStats], _Excess | None]


def _check_windows(comparison: Comparison, check: Check, find: _FindExcess) -> Finding:
    """Fail if the limit is exceeded in each of the last judge windows."""
    period, wanted = comparison.period, comparison.thresholds.windows
    excesses: list[_Excess] = []
    for window in range(comparison.last_window, max(comparison.last_window - wanted, -1), -1):
        canary = period.window(comparison.canary, window)
        stable = comparison.baseline(
            period.window(comparison.stable, window), enough=lambda stats: stats.performance.rows >= MIN_WINDOW_ROWS
        )
        if min(canary.performance.rows, stable.performance.rows) < MIN_WINDOW_ROWS:
            break
        excess = find(comparison, canary, stable)
        if excess is None:
            break
        excesses.append(excess)
    if not excesses and (together := _excess_together(comparison, find)) is not None:
        reason = f"{together.reason}, in the last judge windows together but not in each"
        return Finding(check, State.SUSPECT, reason, together.evidence, windows_needed=1)
    if not excesses:
        known = period.total(comparison.canary).performance.rows > 0 and comparison.last_window >= 0
        return Finding(check, State.PASSED if known else State.NO_DATA)
    reason = f"{excesses[0].reason}, in {len(excesses)} judge windows in a row"
    evidence = {**excesses[0].evidence, "windows": len(excesses), "window_s": comparison.thresholds.window_s}
    if len(excesses) == wanted:
        return Finding(check, State.FAILED, reason, evidence)
    return Finding(check, State.SUSPECT, reason, evidence, windows_needed=wanted - len(excesses))


def _excess_together(comparison: Comparison, find: _FindExcess) -> _Excess | None:
    """Return what exceeds the limit in the sum of the last judge windows, which has less noise than each of them."""
    period = comparison.period
    first = comparison.last_window - comparison.thresholds.windows + 1
    if first < 0:
        return None
    canary, stable = period.since(comparison.canary, first), period.since(comparison.stable, first)
    if min(canary.performance.rows, stable.performance.rows) < MIN_WINDOW_ROWS:
        return None
    return find(comparison, canary, stable)


def _latency_excess(comparison: Comparison, canary: VersionStats, stable: VersionStats) -> _Excess | None:
    """Compare the p99 of the whole latency, and the p99 and the median of the model's call alone.

    A canary gets fewer events, so its micro-batches wait longer for further rows: that wait is added to the limit of the whole
    latency. The call alone shows a slower model within that wait. Its median shows it where the p99 is that of a busy machine.
    """
    own, other = canary.performance, stable.performance
    whole, call = (own.latency, other.latency), (own.model_time, other.model_time)
    for what, histograms, share, added_s in (
        ("p99 of the latency", whole, 0.99, own.queue_delay_s),
        ("p99 of the model's call", call, 0.99, 0.0),
        ("median of the model's call", call, 0.5, 0.0),
    ):
        excess = _quantile_excess(comparison, (own, other), histograms, share=share, added_s=added_s, what=what)
        if excess is not None:
            return excess
    return None


def _quantile_excess(
    comparison: Comparison,
    performances: tuple[Performance, Performance],
    histograms: tuple[LatencyHistogram, LatencyHistogram],
    *,
    share: float,
    added_s: float,
    what: str,
) -> _Excess | None:
    """Return an excess if the canary's quantile is clearly above the limit: by the bounds of both quantiles."""
    own, other = histograms
    low_s = _quantile_bound_s(own, performances[0], share, -_SD)
    high_s = _quantile_bound_s(other, performances[1], share, _SD)
    found_s, stable_s = own.quantile(share), other.quantile(share)
    if low_s is None or high_s is None or found_s is None or stable_s is None:
        return None
    # A larger micro-batch takes longer, at most in proportion to its rows.
    scale = max(_rows_per_call(performances[0]) / _rows_per_call(performances[1]), 1.0)
    ratio = comparison.thresholds.max_latency_ratio * scale

    def limit_s(seconds: float) -> float:
        return max(ratio * seconds + added_s, seconds + MIN_DIFFERENCE_S)

    if low_s <= limit_s(high_s):
        return None
    return _Excess(
        f"the {what} of version {comparison.canary} is {_milliseconds(found_s)} in {own.total:,} rows; the limit is "
        f"{_milliseconds(limit_s(stable_s))}, with {_milliseconds(stable_s)} of version {comparison.stable}",
        {
            "measure": what,
            "rows": own.total,
            "found_s": _rounded(found_s),
            "stable_rows": other.total,
            "stable_s": _rounded(stable_s),
            "limit_s": _rounded(limit_s(stable_s)),
        },
    )


def _quantile_bound_s(histogram: LatencyHistogram, performance: Performance, share: float, sd: float) -> float | None:
    """Return a quantile moved by `sd` standard deviations of its rank. The rows of a micro-batch are not independent."""
    rows = histogram.total
    rank = share * rows + sd * sqrt(rows * max(_rows_per_call(performance), 1.0) * share * (1 - share))
    return histogram.at_rank(floor(rank) if sd < 0 else ceil(rank))


def _rows_per_call(performance: Performance) -> float:
    return performance.rows / performance.calls if performance.calls else 1.0


def _cost_excess(comparison: Comparison, canary: VersionStats, stable: VersionStats) -> _Excess | None:
    own, other = canary.performance, stable.performance
    cost_s, stable_cost_s = canary.cpu_s_per_row, stable.cpu_s_per_row
    if cost_s is None or stable_cost_s is None or not own.calls or not other.calls:
        return None
    limit_s = comparison.thresholds.max_cost_ratio * stable_cost_s
    if cost_s <= limit_s or own.rows / own.calls < COMPARABLE_CALLS * other.rows / other.calls:
        return None
    return _Excess(
        f"a prediction of version {comparison.canary} costs {cost_s * 1e6:.3g} µs of CPU time; the limit is "
        f"{limit_s * 1e6:.3g} µs, with {stable_cost_s * 1e6:.3g} µs of version {comparison.stable}",
        {
            "rows": own.rows,
            "cpu_s": _rounded(cost_s),
            "stable_cpu_s": _rounded(stable_cost_s),
            "limit_s": _rounded(limit_s),
        },
    )


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms"


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
