"""The judge of canaries: from a revision and what its versions did, to what happens next. Pure: the time is passed in.

A canary that fails a check is ended at once. It goes a step forward only if the step has lasted long enough, the canary has
predicted enough events, and no check failed or is suspect. If quality is judged, labels must show that the canary is not worse.
Everything else holds: without data nothing happens.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import ceil

from forebay.stream.rollouts.changes import Proposal, abort, step
from forebay.stream.rollouts.checks import Check, Comparison, Finding, State, Thresholds, run_checks
from forebay.stream.rollouts.revision import Revision, StepPolicy
from forebay.stream.rollouts.version_stats import Period, VersionStats

AUTHOR = "judge"
"""The author of revisions that the aggregator proposes."""


class Decision(StrEnum):
    """What happens next. INCONCLUSIVE: it holds because something is missing; HOLD: it holds, and nothing is missing."""

    HOLD = "hold"
    INCONCLUSIVE = "inconclusive"
    STEP = "step"
    PROMOTE = "promote"
    ROLL_BACK = "roll_back"

    @property
    def changes(self) -> bool:
        """Whether it leads to a new revision."""
        return self in (Decision.STEP, Decision.PROMOTE, Decision.ROLL_BACK)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on one canary.

    check: the check that failed or is suspect, if there is one.
    reason: in plain words.
    evidence: the numbers.
    events_needed, wait_s: how many more of the canary's events, and how much more time, are needed at least.
    """

    model: str
    version: int
    revision: int
    decision: Decision
    check: Check | None
    reason: str
    evidence: Mapping[str, object] = field(default_factory=dict)
    events_needed: int = 0
    wait_s: float = 0.0

    def to_dict(self) -> dict[str, object]:
        """Return the verdict for JSON."""
        return {
            "model": self.model,
            "version": self.version,
            "revision": self.revision,
            "verdict": self.decision.value,
            "check": None if self.check is None else self.check.value,
            "reason": self.reason,
            "evidence": dict(self.evidence),
            "events_needed": self.events_needed,
            "wait_s": round(self.wait_s, 1),
        }


def judge(
    history: Sequence[Revision], periods: Sequence[Period], thresholds: Thresholds, *, now_ms: int
) -> tuple[Verdict, ...]:
    """Return the verdict on each canary of a model's current revision.

    history: the valid revisions of the model, oldest first; the last one is the current revision.
    periods: what the versions did, at least from the revision with which the oldest canary began, oldest first.
    """
    current = history[-1]
    verdicts: list[Verdict] = []
    for canary in current.canaries:
        first = first_as_canary(history, canary.version) or current.number
        own = [period for period in periods if period.number >= first]
        stable_weight = 100 - sum(other.weight for other in current.canaries)
        comparison = Comparison(
            canary.version,
            current.stable,
            periods=own,
            thresholds=thresholds,
            now_ms=now_ms,
            share=canary.weight / (canary.weight + stable_weight),
        )
        verdicts.append(_Case(current, comparison).judge())
    return tuple(verdicts)


def first_as_canary(history: Iterable[Revision], version: int) -> int | None:
    """Return the revision with which a version became a canary without a break since; None if it is not one now.

    history: the valid revisions of a model, oldest first.
    """
    first: int | None = None
    for revision in history:
        if version not in (canary.version for canary in revision.canaries):
            first = None
        elif first is None:
            first = revision.number
    return first


def next_revision(current: Revision, verdict: Verdict, *, id: str, now_ms: int) -> Revision:
    """Return the revision that carries out a verdict. Raises ConfigError if it is not possible."""
    proposal = Proposal(
        id=id,
        author=AUTHOR,
        automatic=True,
        reason=verdict.reason,
        created_ms=now_ms,
        evidence={"check": None if verdict.check is None else verdict.check.value, **verdict.evidence},
    )
    if verdict.decision is Decision.ROLL_BACK:
        return abort(current, proposal, verdict.version)
    return step(current, proposal)


@dataclass(frozen=True, slots=True)
class _Case:
    """One canary of a revision, and the statistics."""

    revision: Revision
    comparison: Comparison

    def verdict(
        self, decision: Decision, reason: str, finding: Finding | None = None, *, events: int = 0, wait_s: float = 0.0
    ) -> Verdict:
        return Verdict(
            self.revision.model,
            version=self.comparison.canary,
            revision=self.revision.number,
            decision=decision,
            check=None if finding is None else finding.check,
            reason=reason,
            evidence=_evidence(self.comparison) if finding is None else finding.evidence,
            events_needed=events,
            wait_s=wait_s,
        )

    def judge(self) -> Verdict:
        """Return the verdict."""
        findings = run_checks(self.comparison)
        for finding in findings:
            if finding.state is State.FAILED:
                return self.verdict(Decision.ROLL_BACK, finding.reason, finding)
        for finding in findings:
            if finding.state is State.SUSPECT:
                events, wait_s = finding.events_needed, finding.windows_needed * self.comparison.thresholds.window_s
                reason = f"{finding.reason}; {_needs(events, wait_s)} to decide" if events or wait_s else finding.reason
                return self.verdict(Decision.INCONCLUSIVE, reason, finding, events=events, wait_s=wait_s)
        if self.revision.steps is None:
            return self._without_steps()
        return self._judge_step(self.revision.steps, findings)

    def _without_steps(self) -> Verdict:
        if not self.comparison.period.total(self.comparison.canary).events:
            return self.verdict(
                Decision.INCONCLUSIVE, f"no data: {_needs(1, 0)} of version {self.comparison.canary}", events=1
            )
        return self.verdict(Decision.HOLD, "no check failed; a rollout without steps stays as it is")

    def _judge_step(self, steps: StepPolicy, findings: Sequence[Finding]) -> Verdict:
        comparison = self.comparison
        canary, limits = comparison.period.total(comparison.canary), comparison.thresholds
        predictions = canary.events - canary.failures
        events = max((steps.min_events or limits.min_events) - predictions, 0)
        # A latency that is too high shows after this many judge windows.
        least_s = max(steps.every_s, limits.windows * limits.window_s + limits.settle_ms / 1000)
        wait_s = max(least_s - (comparison.now_ms - comparison.period.start_ms) / 1000, 0.0)
        needs = f"{_needs(events, wait_s)} for the next step"
        if events:
            found = f"{predictions:,} predictions" if predictions else "no data"
            return self.verdict(
                Decision.INCONCLUSIVE,
                f"{found} of version {comparison.canary} in this step; {needs}",
                events=events,
                wait_s=wait_s,
            )
        if not canary.performance.rows:
            reason = "the workers report no latency; enable rollouts in the configuration of all of them"
            return self.verdict(Decision.INCONCLUSIVE, reason, wait_s=wait_s)
        stable = comparison.baseline(VersionStats(), enough=lambda stats: stats.events > 0)
        if not stable.events:
            reason = f"no data of the stable version {comparison.stable} to compare with"
            return self.verdict(Decision.INCONCLUSIVE, reason, wait_s=wait_s)
        if self.revision.paused:
            return self.verdict(Decision.HOLD, "no check failed; the steps are paused")
        if wait_s:
            return self.verdict(Decision.HOLD, f"no check failed; {needs}", wait_s=wait_s)
        for finding in findings:
            if finding.state is State.INCONCLUSIVE:
                more = finding.events_needed
                reason = f"{finding.reason}; {_needs(more, 0)} with labels at least for the next step" if more else ""
                return self.verdict(Decision.INCONCLUSIVE, reason or finding.reason, finding, events=more)
        done = f"no check failed in {predictions:,} predictions at {steps.weights[self.revision.step]:g} %"
        if self.revision.step + 1 < len(steps.weights):
            return self.verdict(Decision.STEP, f"{done}; next is {steps.weights[self.revision.step + 1]:g} %")
        return self.verdict(Decision.PROMOTE, f"{done}, the last step")


def _needs(events: int, wait_s: float) -> str:
    parts = [f"{events:,} more {'event' if events == 1 else 'events'}"] if events else []
    if wait_s:
        parts.append(f"{ceil(wait_s):,} s more")
    return f"needs {' and '.join(parts)}" if parts else "needs nothing more"


def _evidence(comparison: Comparison) -> dict[str, object]:
    """Return the sums of the current revision, for verdicts without a failed check."""
    evidence: dict[str, object] = {}
    for name, version in (("canary", comparison.canary), ("stable", comparison.stable)):
        stats = comparison.period.total(version)
        p99_s = stats.performance.latency.quantile(0.99)
        evidence[name] = {
            "version": version,
            "events": stats.events,
            "failures": stats.failures,
            "not_finite": stats.performance.not_finite,
            "p99_s": None if p99_s is None else float(f"{p99_s:.4g}"),
        }
    return evidence
