"""Liveness, readiness and startup of the worker, decided from a snapshot of its state. Pure.

An outage of the cluster is not the worker's fault, and a restart would not end it: it does not fail the liveness probe. Work
that stalls although the cluster and the model are healthy does. A blocked event loop does not answer at all; the probe's own
timeout detects that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from forebay.stream.core.circuit_breaker import BreakerState

CLUSTER_ANSWER_S: Final = 15.0
"""How long the cluster's last answer counts as recent; less than any time after which work counts as stuck."""
LAG_VALID_S: Final = 6.0
"""How long a measured lag is valid; it is polled every two seconds."""
COMMIT_FAILURE_S: Final = 30.0
"""How long a failed commit excuses a stall."""


@dataclass(frozen=True, slots=True)
class HealthSnapshot:
    """The state of the worker at one moment. Times are monotonic seconds.

    joined: whether the positions of a first assignment are known; the assignment may be empty.
    gate_open: whether reading is allowed; it is not during a rebalance and after a rewind.
    lag: None if unknown.
    progress: a value that changes whenever work progresses.
    cluster_answered_s: time of the cluster's last answer; None if there was none.
    commit_failed_s: time of the last failed commit; None if a commit has succeeded since, or none has failed.
    waiting_for: the revisions that must be applied before partitions can be read.
    schema_waits: the partitions that wait for a schema, in words. Others are read.
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
    waiting_for: tuple[str, ...] = ()
    schema_waits: tuple[str, ...] = ()

    @property
    def cluster_is_healthy(self) -> bool:
        """Return whether the cluster has answered recently and has not just refused a commit."""
        # A failed commit is an excuse for a limited time only: after a broker's restart a consumer may stop for ever, and
        # then no commit follows that could succeed.
        answered_s, failed_s = self.cluster_answered_s, self.commit_failed_s
        answers = answered_s is not None and self.now_s - answered_s <= CLUSTER_ANSWER_S
        return answers and (failed_s is None or self.now_s - failed_s > COMMIT_FAILURE_S)

    @property
    def silence_s(self) -> float | None:
        """Return the seconds since the cluster's last answer; None if it has never answered."""
        return None if self.cluster_answered_s is None else round(self.now_s - self.cluster_answered_s, 1)

    @property
    def known_lag(self) -> int | None:
        """Return the lag; None while the cluster is silent, because the last value is out of date."""
        return None if self.silence_s is None or self.silence_s > LAG_VALID_S else self.lag


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a probe.

    reasons: why it failed.
    conditions: other facts to report.
    """

    ok: bool
    reasons: tuple[str, ...] = ()
    conditions: Mapping[str, object] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        return {"status": "ok" if self.ok else "failed", "reasons": list(self.reasons), **self.conditions}


@dataclass(frozen=True, slots=True)
class StallDurations:
    """How many seconds work has stalled, and the gate has been closed, without an excuse."""

    work_s: float = 0.0
    gate_s: float = 0.0


class StallDetector:
    """Measures for how long work has made no progress. Update it about once a second."""

    def __init__(self) -> None:
        self._progress: object = None
        self._working_since_s = -math.inf
        self._open_since_s = -math.inf

    def update(self, snapshot: HealthSnapshot) -> StallDurations:
        """Return the durations as of this snapshot. Any progress or excuse resets them."""
        breakers_closed = all(state is BreakerState.CLOSED for state in snapshot.breakers.values())
        excused = not snapshot.cluster_is_healthy or not breakers_closed or snapshot.draining or not snapshot.warm
        excused = excused or bool(snapshot.waiting_for)
        # The lag of partitions that wait for a schema does not shrink, and a restart would not change that.
        may_read = not snapshot.paused and not snapshot.schema_waits
        has_work = snapshot.in_flight > 0 or (bool(snapshot.lag) and may_read)
        first = self._working_since_s == -math.inf
        if first or excused or not snapshot.gate_open or not has_work or snapshot.progress != self._progress:
            self._working_since_s = snapshot.now_s
        if first or excused or snapshot.gate_open:
            self._open_since_s = snapshot.now_s
        self._progress = snapshot.progress
        return StallDurations(snapshot.now_s - self._working_since_s, snapshot.now_s - self._open_since_s)


@dataclass(frozen=True, slots=True)
class StallLimits:
    """How many seconds work may stall, and a rebalance or an open transaction may keep the gate closed."""

    work_s: float
    gate_s: float


def liveness(snapshot: HealthSnapshot, stall: StallDurations, limits: StallLimits) -> Verdict:
    """Return whether the worker makes progress. This fails only if a restart could help."""
    reasons = []
    if stall.work_s > limits.work_s:
        lag = "unknown" if snapshot.lag is None else f"{snapshot.lag:,}"
        reasons.append(
            f"work has stalled for {stall.work_s:.0f} s although the cluster and the model are healthy: "
            f"{snapshot.in_flight:,} events in flight, lag {lag}"
        )
    if stall.gate_s > limits.gate_s:
        reasons.append(f"no partitions could be read for {stall.gate_s:.0f} s although the cluster is healthy")
    return Verdict(not reasons, tuple(reasons), {"still_for_s": round(max(stall.work_s, stall.gate_s), 1)})


def startup(snapshot: HealthSnapshot) -> Verdict:
    """Return whether the model is warm. An unreachable cluster does not matter here: a restart would not bring it back."""
    return Verdict(snapshot.warm, () if snapshot.warm else ("the model is warming up",))


def readiness(snapshot: HealthSnapshot) -> Verdict:
    """Return whether the worker is ready: model warm, group joined (with or without partitions), gate open, not draining.

    Breakers, an unreachable cluster, a pause and partitions that wait for a schema are reported as conditions only: they change
    nothing for clients of the admin API.
    """
    reasons = []
    if not snapshot.warm:
        reasons.append("the model is warming up")
    if not snapshot.joined:
        reasons.append("the group has not been joined yet")
    elif not snapshot.gate_open and not snapshot.waiting_for:
        reasons.append(
            "the group is being rebalanced, or reading restarts at the committed offsets"
            if snapshot.cluster_is_healthy
            else "the cluster does not answer: reading resumes when it does"
        )
    reasons += [f"waiting for {revisions}" for revisions in snapshot.waiting_for]
    if snapshot.draining:
        reasons.append("draining")
    return Verdict(not reasons, tuple(reasons), {"conditions": conditions(snapshot)})


def conditions(snapshot: HealthSnapshot) -> dict[str, object]:
    """Return the state of breakers, cluster, pause and schemas, which is reported whatever the verdicts are."""
    schemas = {"waiting_for_schemas": list(snapshot.schema_waits)} if snapshot.schema_waits else {}
    healthy, never_answered = snapshot.cluster_is_healthy, snapshot.cluster_answered_s is None
    return {
        "breakers": {name: state.value for name, state in snapshot.breakers.items()},
        "cluster": "ok" if healthy else "unknown" if never_answered else "failing",
        "paused": snapshot.paused,
        **schemas,
    }
