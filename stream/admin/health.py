"""Whether the worker lives, is ready, has started: verdicts over plain facts. Pure.

What a cluster's outage looks like is not the worker's fault, and a restart would not mend it: it fails no liveness probe. Work
that stands still although cluster and model are well does. An event loop that is stalled gives no answer at all, and the
probe's own time-out tells.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from forebay.stream.core.circuit_breaker import BreakerState

CLUSTER_ANSWER_S: Final = 15.0
"""So long a last answer of the cluster counts; less than any time after which work counts as stuck."""
LAG_VALID_S: Final = 6.0
"""How long an answer of the cluster stands for the lag, which is asked for every two seconds."""
COMMIT_FAILURE_S: Final = 30.0
"""So long a commit that failed is an excuse."""


@dataclass(frozen=True, slots=True)
class HealthSnapshot:
    """The worker at one moment; times in monotonic seconds.

    joined: the positions of a first assignment are known (it may be empty). gate_open: reading is allowed now; it is closed
    while the group is rebalanced and after a rewind. lag: None where it is not known. progress: anything that changes when work
    goes on. cluster_answered_s: when it last answered; commit_failed_s: when a commit last failed, with no success since;
    None for never.
    """

    now_s: float
    warm: bool
    joined: bool
    gate_open: bool
    draining: bool
    paused: bool
    in_flight: int
    lag: int | None
    progress: object
    cluster_answered_s: float | None
    commit_failed_s: float | None
    breakers: Mapping[str, BreakerState]

    @property
    def cluster_is_well(self) -> bool:
        """It answers, and has not refused a commit a moment ago."""
        # A failure is an excuse for a while only: after a broker's restart a consumer may sit still for ever, and then no
        # commit follows that could succeed.
        answered_s, failed_s = self.cluster_answered_s, self.commit_failed_s
        answers = answered_s is not None and self.now_s - answered_s <= CLUSTER_ANSWER_S
        return answers and (failed_s is None or self.now_s - failed_s > COMMIT_FAILURE_S)

    @property
    def silence_s(self) -> float | None:
        """For how long the cluster has not answered; None if it never has."""
        return None if self.cluster_answered_s is None else round(self.now_s - self.cluster_answered_s, 1)

    @property
    def known_lag(self) -> int | None:
        """The lag, None while the cluster is silent: its last answer would pass for the lag of now."""
        return None if self.silence_s is None or self.silence_s > LAG_VALID_S else self.lag


@dataclass(frozen=True, slots=True)
class Verdict:
    """ok, why not, and what is worth knowing besides."""

    ok: bool
    reasons: tuple[str, ...] = ()
    conditions: Mapping[str, object] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        return {"status": "ok" if self.ok else "failed", "reasons": list(self.reasons), **self.conditions}


@dataclass(frozen=True, slots=True)
class StallDurations:
    """For how long work has stood still, and reading been closed, with nothing to excuse it; seconds."""

    work_s: float = 0.0
    gate_s: float = 0.0


class StallDetector:
    """Told the facts every second or so."""

    def __init__(self) -> None:
        self._progress: object = None
        self._working_since_s = -math.inf
        self._open_since_s = -math.inf

    def look(self, facts: HealthSnapshot) -> StallDurations:
        """Times run only while nothing moves and nothing excuses it; whatever does sets them back."""
        well = facts.cluster_is_well and all(state is BreakerState.CLOSED for state in facts.breakers.values())
        excused = not well or facts.draining or not facts.warm
        has_work = facts.in_flight > 0 or (bool(facts.lag) and not facts.paused)
        first = self._working_since_s == -math.inf
        if first or excused or not facts.gate_open or not has_work or facts.progress != self._progress:
            self._working_since_s = facts.now_s
        if first or excused or facts.gate_open:
            self._open_since_s = facts.now_s
        self._progress = facts.progress
        return StallDurations(facts.now_s - self._working_since_s, facts.now_s - self._open_since_s)


@dataclass(frozen=True, slots=True)
class Limits:
    """stuck_s: work may stand still so long; closed_s: so long the group, or an open transaction, may keep reading closed."""

    stuck_s: float
    closed_s: float


def liveness(facts: HealthSnapshot, still: StallDurations, limits: Limits) -> Verdict:
    """Fails where only a restart could help."""
    reasons = []
    if still.work_s > limits.stuck_s:
        lag = "unknown" if facts.lag is None else f"{facts.lag:,}"
        reasons.append(
            f"work has stood still for {still.work_s:.0f} s although cluster and model are well: "
            f"{facts.in_flight:,} events in flight, lag {lag}"
        )
    if still.gate_s > limits.closed_s:
        reasons.append(f"no partitions could be read for {still.gate_s:.0f} s although the cluster is well")
    return Verdict(not reasons, tuple(reasons), {"still_for_s": round(max(still.work_s, still.gate_s), 1)})


def startup(facts: HealthSnapshot) -> Verdict:
    """Over when the model is warm. A cluster that is away does not hold it up: a restart would not bring it back."""
    return Verdict(facts.warm, () if facts.warm else ("the model is warming up",))


def readiness(facts: HealthSnapshot) -> Verdict:
    """Whether it takes part: the model warm, the group joined (with or without partitions), the gate open, not draining.

    Breakers, a cluster that is away and a pause by hand are told as conditions: they change nothing for whoever asks.
    """
    reasons = []
    if not facts.warm:
        reasons.append("the model is warming up")
    if not facts.joined:
        reasons.append("the group has not been joined yet")
    elif not facts.gate_open:
        reasons.append(
            "the group is being rebalanced, or reading begins again at the committed offsets"
            if facts.cluster_is_well
            else "the cluster does not answer: reading begins again when it does"
        )
    if facts.draining:
        reasons.append("draining")
    return Verdict(not reasons, tuple(reasons), {"conditions": conditions(facts)})


def conditions(facts: HealthSnapshot) -> dict[str, object]:
    """What an operator wants to know, whatever the verdicts."""
    return {
        "breakers": {name: state.value for name, state in facts.breakers.items()},
        "cluster": "ok" if facts.cluster_is_well else "failing" if facts.cluster_answered_s is not None else "unknown",
        "paused": facts.paused,
    }
