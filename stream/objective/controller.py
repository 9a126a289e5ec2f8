"""The controller of the objective: takes what is measured, and sets the limits of micro-batches and the cadence of commits.

Everything is passed in, also the time. Call `advance` often: it decides `DECIDE_EVERY_S` after the last time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from forebay.stream.core.model_ref import ModelRef
from forebay.stream.objective.batch_limits import GATHER_SHARE, BatchLimits, Call, batch_limits
from forebay.stream.objective.cadence import Cadence
from forebay.stream.objective.lag_trend import LagTrend
from forebay.stream.objective.latency_window import LatencyWindow
from forebay.stream.objective.line_fit import LineFit
from forebay.stream.objective.rate import Rate
from forebay.stream.objective.read_delay import ReadDelay
from forebay.stream.objective.verdict import Judge, Measured, Verdict

DECIDE_EVERY_S: Final = 0.2
FIT_S: Final = 2.0
RATE_S: Final = 1.0
SLOW_RATE_S: Final = 4.0
AIM_WINDOW_S: Final = 3
HOLD_SHARE: Final = 0.25
"""Share of a commit's usual duration for which micro-batches stay open after its start."""
MAX_HELD_CALL: Final = 0.25
"""The same for the duration of a model call, up to which they stay open: the model needs the rest of the time."""


@dataclass(slots=True)
class _Lane:
    """What is known of one model. busy: seconds of calls. queue_s: usual wait of a micro-batch's first event for its call."""

    max_batch_size: int
    limits: BatchLimits
    calls: LineFit = field(default_factory=lambda: LineFit(decay_s=FIT_S))
    events: Rate = field(default_factory=lambda: Rate(decay_s=RATE_S))
    busy: Rate = field(default_factory=lambda: Rate(decay_s=RATE_S))
    queue: LineFit = field(default_factory=lambda: LineFit(decay_s=FIT_S))


@dataclass(frozen=True, slots=True)
class LaneReport:
    """What is measured of one model, and the limits in force.

    capacity: events per second that full micro-batches permit; None before the first call.
    """

    limits: BatchLimits
    call: Call
    rate: float
    load: float
    capacity: float | None


@dataclass(frozen=True, slots=True)
class ObjectiveReport:
    """The state of the objective, for users. p99_s: over the last seconds; None if there were no events."""

    objective_s: float
    verdict: Verdict
    p99_s: float | None
    commit_interval_s: float
    commit_s: float
    measured: Measured
    lanes: Mapping[ModelRef, LaneReport]


class ObjectiveController:
    """Sets limits so that the 99th percentile of the latency, from the publish to the commit, meets an objective.

    efficient: commit as rarely as the objective permits, instead of as soon as results are ready.
    """

    def __init__(self, objective_s: float, *, efficient: bool = False) -> None:
        self._objective_s = objective_s
        self._lanes: dict[ModelRef, _Lane] = {}
        self._commits = LineFit(decay_s=FIT_S)
        self._latencies = LatencyWindow()
        self._read_delay = ReadDelay()
        self._cadence = Cadence(objective_s, efficient=efficient)
        self._judge = Judge(objective_s)
        self._committed = Rate(decay_s=SLOW_RATE_S)
        self._ahead = Rate(decay_s=SLOW_RATE_S)
        self._committed_s: float | None = None
        self._loop_load = 0.0
        self._decided_s: float | None = None
        self._cpu_s = 0.0
        self._lag = LagTrend()
        self._measured: Measured | None = None

    # ---- the lanes

    def add_lane(self, model: ModelRef, *, max_batch_size: int) -> None:
        """Control a lane. max_batch_size: what the user has set, the upper limit."""
        self._lanes[model] = _Lane(max_batch_size, BatchLimits(max_batch_size, 0.0, max_batch_size))

    def remove_lane(self, model: ModelRef) -> None:
        """Forget a lane."""
        self._lanes.pop(model, None)

    def limits_of(self, model: ModelRef) -> BatchLimits:
        """Return the limits of a lane's micro-batches."""
        return self._lanes[model].limits

    def hold_s(self, model: ModelRef) -> float:
        """Return for how long after the start of a commit the open micro-batch of a lane should stay open.

        What closes then could not be committed before that commit has ended anyway, and the event loop builds its records.
        """
        calls, commit_s = self._lanes[model].calls, self._commits.mean_y
        return HOLD_SHARE * commit_s if calls.mean_y < MAX_HELD_CALL * commit_s else 0.0

    @property
    def commit_interval_s(self) -> float:
        """The shortest time between the starts of two commits; 0 for none."""
        return self._cadence.interval_s

    # ---- what happens

    def on_polled(self, model: ModelRef, events: int, *, now_s: float) -> None:
        """Take the number of events of one model in a poll."""
        if (lane := self._lanes.get(model)) is not None:
            lane.events.add(events, now_s=now_s)
        if self._committed_s is None:
            self._committed_s = now_s

    def on_read(self, age_s: float, *, now_s: float) -> None:
        """Take the age of the oldest event in a poll, from its record timestamp. Negative if that is in the future."""
        self._read_delay.add(age_s, now_s=now_s)

    def on_call(self, model: ModelRef, rows: int, *, model_s: float, queued_s: float, now_s: float) -> None:
        """Take the duration of a model call, and how long its first event had waited for it."""
        lane = self._lanes.get(model)
        if lane is not None and rows:
            lane.calls.add(rows, model_s, now_s=now_s)
            lane.busy.add(model_s, now_s=now_s)
            lane.queue.add(rows, max(0.0, queued_s), now_s=now_s)

    def on_committed(self, events: int, ages_ms: npt.NDArray[np.float64], *, duration_s: float, now_s: float) -> None:
        """Take a commit. ages_ms: of its events at the end of the commit; negative for timestamps in the future."""
        self._commits.add(events, duration_s, now_s=now_s)
        self._committed.add(events, now_s=now_s)
        self._committed_s = now_s
        if len(ages_ms):
            self._ahead.add(int((ages_ms < 0).sum()), now_s=now_s)
            self._latencies.add(ages_ms, now_s=now_s)

    def on_lag(self, ends: Mapping[object, int], lag: int, *, now_s: float) -> None:
        """Take the end offsets of the assigned partitions, and the number of records that are not read."""
        self._lag.add(ends, lag, now_s=now_s)

    # ---- decisions

    def advance(self, *, now_s: float, cpu_s: float, in_flight: int) -> bool:
        """Decide again, if it is time, and return whether that was so.

        cpu_s: CPU time of the event loop's thread so far.
        """
        if self._decided_s is None:
            self._decided_s, self._cpu_s = now_s, cpu_s
            return False
        passed_s = now_s - self._decided_s
        if passed_s < DECIDE_EVERY_S:
            return False
        load = min(1.0, max(0.0, cpu_s - self._cpu_s) / passed_s)
        self._loop_load += (1 - math.exp(-passed_s / RATE_S)) * (load - self._loop_load)
        self._decided_s, self._cpu_s = now_s, cpu_s
        self._decide(now_s, in_flight)
        return True

    def _decide(self, now_s: float, in_flight: int) -> None:
        commit_s = self._commits.mean_y
        self._cadence.advance(
            now_s=now_s,
            commit_s=commit_s,
            waited_s=self._read_delay.waited_s,
            loop_load=self._loop_load,
            p99_s=self._p99_s(now_s, AIM_WINDOW_S),
        )
        gather_s = GATHER_SHARE * max(commit_s, self._cadence.interval_s)
        for lane in self._lanes.values():
            calls = lane.calls
            lane.limits = batch_limits(
                call=Call(calls.intercept, calls.slope) if calls.is_known else None,
                usual_s=calls.mean_y,
                rate=lane.events.per_s(now_s=now_s),
                gather_s=gather_s,
                objective_s=self._objective_s,
                max_batch_size=lane.max_batch_size,
            )
        self._measured = self._measure(now_s, in_flight)
        self._judge.judge(self._measured, now_s=now_s)

    def _p99_s(self, now_s: float, seconds: int) -> float | None:
        p99_ms = self._latencies.percentile_ms(99, now_s=now_s, seconds=seconds)
        return None if p99_ms is None else p99_ms / 1000

    def _measure(self, now_s: float, in_flight: int) -> Measured:
        busiest, load = max(
            ((model, lane.busy.per_s(now_s=now_s)) for model, lane in self._lanes.items()),
            key=lambda pair: pair[1],
            default=(None, 0.0),
        )
        lane = None if busiest is None else self._lanes[busiest]
        is_waiting = in_flight > 0 or bool(self._lag.records)
        if not is_waiting:
            self._committed_s = now_s
        commit_rate = self._committed.per_s(now_s=now_s)
        return Measured(
            p99_s=self._p99_s(now_s, 10),
            silent_s=0.0 if self._committed_s is None else now_s - self._committed_s,
            is_waiting=is_waiting,
            arrival_rate=self._lag.arrival_rate,
            commit_rate=commit_rate,
            waited_s=self._read_delay.waited_s,
            offset_s=self._read_delay.offset_s,
            ahead_share=self._ahead.per_s(now_s=now_s) / commit_rate if commit_rate else 0.0,
            lag=self._lag.records,
            lag_growth=self._lag.growth,
            commit_s=self._commits.mean_y,
            call_s=0.0 if lane is None else lane.calls.mean_y,
            queue_s=0.0 if lane is None else lane.queue.mean_y,
            model="" if busiest is None else str(busiest),
            model_load=min(1.0, load),
            loop_load=self._loop_load,
        )

    # ---- the report

    @property
    def verdict(self) -> Verdict:
        """Whether the objective is met."""
        return self._judge.verdict

    def report(self, *, now_s: float) -> ObjectiveReport:
        """Return the state, for users."""
        measured = self._measured or self._measure(now_s, 0)
        return ObjectiveReport(
            objective_s=self._objective_s,
            verdict=self.verdict,
            p99_s=self._p99_s(now_s, 10),
            commit_interval_s=self._cadence.interval_s,
            commit_s=measured.commit_s,
            measured=measured,
            lanes={model: self._lane_report(lane, now_s) for model, lane in self._lanes.items()},
        )

    def _lane_report(self, lane: _Lane, now_s: float) -> LaneReport:
        full_s = lane.calls.at(lane.max_batch_size)
        return LaneReport(
            limits=lane.limits,
            call=Call(lane.calls.intercept, lane.calls.slope),
            rate=lane.events.per_s(now_s=now_s),
            load=min(1.0, lane.busy.per_s(now_s=now_s)),
            capacity=lane.max_batch_size / full_s if full_s > 0 else None,
        )
