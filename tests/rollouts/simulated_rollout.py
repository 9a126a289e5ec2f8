"""A simulated rollout: random outcomes of two versions, judged after each part of a judge window, with the verdicts applied."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from forebay.stream.rollouts.changes import Proposal, start_canary
from forebay.stream.rollouts.checks import Thresholds
from forebay.stream.rollouts.judge import Decision, Verdict, judge, next_revision
from forebay.stream.rollouts.performance import LatencyHistogram, Performance
from forebay.stream.rollouts.revision import Revision, StepPolicy, initial_revision
from forebay.stream.rollouts.version_stats import Period, VersionStats

STABLE, CANARY = 1, 2
START_MS = 1_000_000
QUEUE_DELAY_S = 0.005


@dataclass(frozen=True)
class Behaviour:
    """How a version behaves. call_s: median duration of a call; its logarithm is normal with the deviation `spread`."""

    failure_rate: float = 0.001
    nan_rate: float = 0.0
    call_s: float = 0.004
    spread: float = 0.15
    cpu_s_per_row: float = 1e-4


def outcome(behaviour: Behaviour, rows: int, rng: np.random.Generator, *, rows_per_call: int = 10) -> VersionStats:
    """Return what a version does with `rows` rows."""
    if not rows:
        return VersionStats()
    not_finite = int(rng.binomial(rows, behaviour.nan_rate))
    failures = int(rng.binomial(rows - not_finite, behaviour.failure_rate)) + not_finite
    sizes = np.full(-(-rows // rows_per_call), rows_per_call, dtype=np.int64)
    sizes[-1] = rows - sizes[:-1].sum()
    call_s = behaviour.call_s * np.exp(rng.normal(0, behaviour.spread, len(sizes)))
    performance = Performance(
        rows=rows,
        calls=len(sizes),
        not_finite=not_finite,
        cpu_s=rows * behaviour.cpu_s_per_row,
        queue_delay_s=QUEUE_DELAY_S,
        latency=LatencyHistogram.of(call_s + rng.uniform(0, QUEUE_DELAY_S, len(sizes)), sizes),
        model_time=LatencyHistogram.of(call_s, sizes),
    )
    return VersionStats(events=rows, failures=failures, performance=performance)


def canary_revision(
    weights: tuple[float, ...] | None = (5, 25, 50, 100), *, every_s: float = 0.0, min_events: int = 1000
) -> Revision:
    """Return the revision that starts the canary. weights: None for a canary of 5 % without steps."""
    return start_canary(
        initial_revision("m", STABLE),
        CANARY,
        weights[0] if weights else 5,
        steps=None if weights is None else StepPolicy(weights, every_s, min_events),
        seed=1,
        route_by=None,
        proposal=Proposal("start", "person", automatic=False, reason="", created_ms=START_MS),
    )


@dataclass
class SimulatedRollout:
    """A rollout under a judge. events_per_s: of both versions together."""

    behaviour: Behaviour
    rng: np.random.Generator
    stable: Behaviour = Behaviour()
    events_per_s: float = 500.0
    thresholds: Thresholds = field(default_factory=Thresholds)
    parts: int = 2
    history: list[Revision] = field(default_factory=lambda: [canary_revision()])
    now_ms: int = START_MS
    verdicts: list[Verdict] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.periods = [self._period()]

    def _period(self) -> Period:
        return Period(
            self.history[-1].number,
            self.now_ms,
            window_s=self.thresholds.window_s,
            keep_windows=self.thresholds.windows + 2,
        )

    @property
    def current(self) -> Revision:
        return self.history[-1]

    def advance(self, windows: float) -> Verdict | None:
        """Simulate judge windows until a verdict rolls back or promotes, and return that verdict."""
        for _ in range(round(windows * self.parts)):
            self._part()
            (verdict,) = judge(self.history, self.periods, self.thresholds, now_ms=self.now_ms)
            self.verdicts.append(verdict)
            if verdict.decision.changes:
                self.history.append(next_revision(self.current, verdict, id=f"{len(self.history)}", now_ms=self.now_ms))
                self.periods.append(self._period())
                if verdict.decision is not Decision.STEP:
                    return verdict
        return None

    def _part(self) -> None:
        part_s = self.thresholds.window_s / self.parts
        weight = self.current.canaries[0].weight / 100
        events = int(self.rng.poisson(self.events_per_s * part_s))
        rows = int(self.rng.binomial(events, weight))
        at_ms = self.now_ms + round(part_s * 500)
        self.periods[-1].add(CANARY, at_ms, outcome(self.behaviour, rows, self.rng))
        self.periods[-1].add(STABLE, at_ms, outcome(self.stable, events - rows, self.rng))
        self.now_ms += round(part_s * 1000)

    def pause(self) -> None:
        """Pause the steps without a new revision."""
        self.history[-1] = replace(self.current, paused=True)
