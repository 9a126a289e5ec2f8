"""Which of two versions is better: what is known, how certainly, and how much more it takes to decide. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import ceil, isinf
from typing import Final

from forebay.stream.experiments.arms import comparable
from forebay.stream.experiments.block_sums import BlockSums
from forebay.stream.experiments.confidence_sequence import (
    MIN_BLOCKS,
    Estimate,
    Interval,
    best_rho,
    boundary,
    e_value,
    estimate,
    interval,
    planned_information,
)
from forebay.stream.experiments.metric import Metric
from forebay.stream.experiments.paired_sums import PairedSums

_MAX_GROWTH: Final = 1e6
_SMALLEST_EFFECT: Final = 1e-12


class Outcome(StrEnum):
    """What is known. NO_DIFFERENCE: none larger than the smallest effect of interest. NO_DATA: no labels of one version."""

    BETTER = "better"
    WORSE = "worse"
    NO_DIFFERENCE = "no_difference"
    INCONCLUSIVE = "inconclusive"
    NO_DATA = "no_data"


@dataclass(frozen=True, slots=True)
class Plan:
    """How an experiment is judged.

    alpha: probability with which its interval ever fails to contain the true difference.
    min_effect: smallest effect of interest, as a share of the control's value.
    """

    alpha: float = 0.05
    min_effect: float = 0.05


@dataclass(frozen=True, slots=True)
class ArmResult:
    """One version. events: predictions with a label. value: the metric, None without labels."""

    events: int
    predictions: int
    num_blocks: int
    value: float | None

    def to_dict(self) -> dict[str, object]:
        """Return the arm as JSON values."""
        return {
            "events": self.events,
            "predictions": self.predictions,
            "matched_share": self.events / self.predictions if self.predictions else None,
            "blocks": self.num_blocks,
            "value": self.value,
        }


@dataclass(frozen=True, slots=True)
class Result:
    """The comparison of a treatment with a control by one metric.

    difference, interval: treatment - control.
    effect: the smallest effect of interest in units of the metric.
    evidence: the e-value against "no difference".
    is_not_worse: whether the treatment is certainly not worse by the smallest effect of interest or more.
    events_needed: about how many more events of the treatment decide, at least; None if unknown.
    """

    metric: Metric
    plan: Plan
    control: ArmResult
    treatment: ArmResult
    outcome: Outcome
    difference: float
    interval: Interval
    effect: float
    evidence: float
    is_not_worse: bool
    events_needed: int | None

    @property
    def is_suspect(self) -> bool:
        """Whether the treatment looks worse by at least the smallest effect of interest, but not certainly."""
        undecided = self.outcome is Outcome.INCONCLUSIVE
        return undecided and self.metric.worsening(self.difference) >= self.effect

    def to_dict(self) -> dict[str, object]:
        """Return the result as JSON values."""
        known = not isinf(self.interval.low)
        return {
            "metric": self.metric.name,
            "higher_is_better": self.metric.higher_is_better,
            "alpha": self.plan.alpha,
            "min_effect": self.plan.min_effect,
            "effect": self.effect,
            "control": self.control.to_dict(),
            "treatment": self.treatment.to_dict(),
            "difference": None if self.outcome is Outcome.NO_DATA else self.difference,
            "low": self.interval.low if known else None,
            "high": self.interval.high if known else None,
            "verdict": self.outcome.value,
            "e_value": self.evidence,
            "events_needed": self.events_needed,
        }


def compare(control: BlockSums, treatment: BlockSums, metric: Metric, plan: Plan) -> Result:
    """Compare two versions that predicted different keys."""
    sums = comparable(control, treatment, metric.column)
    estimates = [estimate(arm.sums, arm.n_matched, spread=metric.spread) for arm in sums]
    arms = [
        ArmResult(
            events=(events := int(arm.n_matched.sum())),
            predictions=int(arm.n_predictions.sum()),
            num_blocks=found.num_blocks,
            value=found.mean if events > 0 else None,
        )
        for arm, found in zip(sums, estimates, strict=True)
    ]
    return _result(metric, plan, arms=(arms[0], arms[1]), found=estimates[1].minus(estimates[0]))


def compare_paired(paired: PairedSums, served: BlockSums, metric: Metric, plan: Plan) -> Result:
    """Compare a shadow with a version that served, by the events that both predicted.

    served: sums of that version, for the value that the smallest effect of interest is a share of.
    """
    differences = paired.differences(metric.column)
    level = estimate(served.sums(metric.column), served.n_matched)
    found = estimate(differences, paired.n_matched, spread=metric.spread)
    if (
        not found.variance
    ):  # all are equal so far; a block that is not may come, with a difference as large as the value
        found = estimate(differences, paired.n_matched, spread=abs(level.mean))
    events = int(paired.n_matched.sum())
    known = events > 0 and level.num_blocks > 0
    arms = [
        ArmResult(events, events, found.num_blocks, value if known else None)
        for value in (level.mean, level.mean + found.mean)
    ]
    return _result(metric, plan, arms=(arms[0], arms[1]), found=found)


def _result(metric: Metric, plan: Plan, *, arms: tuple[ArmResult, ArmResult], found: Estimate) -> Result:
    control, treatment = arms
    effect = plan.min_effect * abs(control.value or 0.0)
    if control.value is None or treatment.value is None:
        rho, bounds = 1.0, interval(Estimate(0.0, 0.0, 0), alpha=plan.alpha, rho=1.0)
    else:
        rho = best_rho(planned_information(max(effect, _SMALLEST_EFFECT), plan.alpha), plan.alpha)
        bounds = interval(found, alpha=plan.alpha, rho=rho)
    worst = max(metric.worsening(bounds.low), metric.worsening(bounds.high))
    has_data = control.value is not None and treatment.value is not None
    outcome = _outcome(metric, bounds, effect) if has_data else Outcome.NO_DATA
    needed: int | None = 0
    if outcome in (Outcome.INCONCLUSIVE, Outcome.NO_DATA):
        needed = _events_needed(found, treatment, plan=plan, effect=effect, rho=rho)
    return Result(
        metric=metric,
        plan=plan,
        control=control,
        treatment=treatment,
        outcome=outcome,
        difference=found.mean,
        interval=bounds,
        effect=effect,
        evidence=e_value(found, rho=rho) if has_data else 1.0,
        is_not_worse=worst < effect,
        events_needed=needed,
    )


def _outcome(metric: Metric, bounds: Interval, effect: float) -> Outcome:
    if -effect < bounds.low and bounds.high < effect:
        return Outcome.NO_DIFFERENCE
    if not bounds.excludes(0.0):
        return Outcome.INCONCLUSIVE
    return Outcome.WORSE if metric.worsening(bounds.low) > 0 else Outcome.BETTER


def _events_needed(found: Estimate, treatment: ArmResult, *, plan: Plan, effect: float, rho: float) -> int | None:
    """Return how many more events are needed if the estimate stays and the information grows with the events.

    It grows more slowly if keys repeat, so this is the least.
    """
    if not treatment.events:
        return MIN_BLOCKS
    growth = max(1.0, MIN_BLOCKS / max(1, found.num_blocks))
    if found.information <= 0:
        return ceil(treatment.events * growth) - treatment.events or MIN_BLOCKS
    clear = max(abs(found.mean), effect - abs(found.mean))

    def decides(growth: float) -> bool:
        information = found.information * growth
        return boundary(information, plan.alpha, rho) / information < clear

    while not decides(growth):
        growth *= 1.05
        if growth > _MAX_GROWTH:
            return None
    return max(ceil(treatment.events * (growth - 1)), 1)
