"""The checks of a canary's quality by its labels, and of its share of the keys. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from forebay.schemas.errors import ConfigError
from forebay.stream.experiments.block_sums import BlockSums
from forebay.stream.experiments.experiment import Outcome, Plan, Result, compare
from forebay.stream.experiments.guard_rails import alpha_of_each
from forebay.stream.experiments.metric import metric_for
from forebay.stream.experiments.sample_ratio import ShareCheck, check_matched_share, check_sample_ratio
from forebay.stream.rollouts.findings import Check, Finding, State

SWITCH_MS = 30_000
"""Workers apply a revision within this time. A window of quality counts if it begins later."""


@dataclass(frozen=True, slots=True)
class QualityLimits:
    """How quality is judged.

    metric: the canary must not be worse by it.
    guard_rails: further metrics by which it must not be clearly worse.
    min_effect: smallest effect of interest, as a share of the stable version's value.
    alpha: probability of ever rolling back a canary because of its quality that is as good by all of these metrics.
    """

    metric: str
    guard_rails: Sequence[str] = ()
    min_effect: float = 0.05
    alpha: float = 0.05

    def plan(self, share: float) -> Plan:
        """Return the plan for each of the metrics. share: of the error, for one revision of several."""
        return Plan(alpha_of_each(self.alpha * share, 1 + len(self.guard_rails)), self.min_effect)


@dataclass(frozen=True, slots=True)
class Arms:
    """The sums of both versions over windows in which the canary had the same share all the time.

    share: the canary's share of the keys of both.
    """

    stable: int
    canary: int
    stable_sums: BlockSums | None
    canary_sums: BlockSums | None
    share: float


def check_sample(arms: Arms) -> Finding:
    """Check that the versions got their shares of the keys, and labels for the same share of their predictions.

    Where they did not, the versions cannot be compared, and the canary goes no step forward.
    """
    stable, canary = arms.stable_sums, arms.canary_sums
    if stable is None or canary is None or arms.share >= 1:
        return Finding(Check.SAMPLE_RATIO, State.NO_DATA)
    ratio, matched = check_sample_ratio(stable, canary, arms.share), check_matched_share(stable, canary)
    evidence = {"keys": ratio.to_dict(), "labels": matched.to_dict()}
    if ratio.is_wrong:
        reason = (
            f"version {arms.canary} got {_range(ratio)} of the keys, and should have got {ratio.expected:.2%}: its quality "
            "cannot be compared; look for events that were lost or routed elsewhere"
        )
        return Finding(Check.SAMPLE_RATIO, State.SUSPECT, reason, evidence)
    if matched.is_wrong:
        reason = (
            f"{matched.found:.1%} of the predictions of version {arms.canary} got a label, and {matched.expected:.1%} of "
            f"version {arms.stable}: labels are not missing at random, so the quality cannot be compared"
        )
        return Finding(Check.SAMPLE_RATIO, State.SUSPECT, reason, evidence)
    return Finding(Check.SAMPLE_RATIO, State.PASSED if ratio.is_known else State.NO_DATA, evidence=evidence)


def _range(check: ShareCheck) -> str:
    return f"{max(check.interval.low, 0):.2%} to {min(check.interval.high, 1):.2%}"


def check_quality(arms: Arms, limits: QualityLimits, *, share_of_error: float) -> Finding:
    """Compare the quality of both versions by all metrics.

    It fails if the canary is certainly worse by one of them. It is suspect if it looks worse by the smallest effect of
    interest. It passes if the canary is certainly not worse by that effect. Otherwise it is inconclusive.
    """
    if arms.share >= 1:
        return Finding(Check.QUALITY, State.NO_DATA)
    if arms.stable_sums is None or arms.canary_sums is None:
        missing = arms.canary if arms.canary_sums is None else arms.stable
        reason = f"no quality of version {missing} yet; labels are needed, and a running `forebay evaluate`"
        return Finding(Check.QUALITY, State.INCONCLUSIVE, reason, events_needed=1)
    plan = limits.plan(share_of_error)
    try:
        results = [
            compare(arms.stable_sums, arms.canary_sums, metric_for(name, arms.canary_sums.task), plan)
            for name in (limits.metric, *limits.guard_rails)
        ]
    except ConfigError as error:
        return Finding(Check.QUALITY, State.INCONCLUSIVE, f"quality is not judged: {error.message}")
    evidence = {"metrics": [result.to_dict() for result in results]}
    for state, chosen in _states(results):
        needed = chosen.events_needed or 0
        return Finding(Check.QUALITY, state, _words(arms, chosen), evidence, events_needed=needed)
    return Finding(Check.QUALITY, State.PASSED, evidence=evidence)


def _states(results: Sequence[Result]) -> Iterator[tuple[State, Result]]:
    """Yield what is wrong, the worst first."""
    yield from ((State.FAILED, result) for result in results if result.outcome is Outcome.WORSE)
    yield from ((State.SUSPECT, result) for result in results if result.is_suspect)
    if not results[0].is_not_worse:
        yield State.INCONCLUSIVE, results[0]


def _words(arms: Arms, result: Result) -> str:
    control, treatment = result.control, result.treatment
    if treatment.value is None or control.value is None:
        version = arms.canary if treatment.value is None else arms.stable
        return f"no labels of version {version} yet"
    what = f"the {result.metric.title} of version {arms.canary}"
    sizes = f"{treatment.events:,} labelled events in {treatment.num_blocks:,} blocks of keys"
    found = f"{what} is {treatment.value:.4g} against {control.value:.4g} of version {arms.stable}, by {sizes}"
    low, high = result.interval
    if result.outcome is Outcome.WORSE:
        return f"{found}: worse by {_bounds(result)}"
    if result.to_dict()["low"] is None:
        return found
    return f"{found}: a difference of {low:+.3g} to {high:+.3g}; differences below {result.effect:.3g} do not matter"


def _bounds(result: Result) -> str:
    ends = sorted(result.metric.worsening(end) for end in result.interval)
    return f"{ends[0]:.3g} to {ends[1]:.3g}"
