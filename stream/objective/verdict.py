"""Whether the objective is met, and what binds if it is not. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

BACK_SHARE: Final = 0.95
"""Share of the objective that the latency must reach again before the objective counts as met."""
HOLD_S: Final = 1.0
"""For how long the latency must be on the other side before the verdict changes."""
STALLED_S: Final = 2.0
"""Time without a commit, while events wait, from which the latency that was measured before says nothing."""
BUSY: Final = 0.9
MAX_AHEAD_SHARE: Final = 0.01
MIN_GROWTH: Final = 0.03
"""Share of the arriving events by which the lag must grow for the worker to count as too slow for them."""


class Binding(StrEnum):
    """What keeps the latency above the objective."""

    ARRIVAL_RATE = "arrival_rate"
    BACKLOG = "backlog"
    COMMIT = "commit"
    MODEL_CALL = "model_call"
    EVENT_LOOP = "event_loop"
    STALLED = "stalled"
    TIMESTAMPS = "timestamps"


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured over the last seconds. Times in seconds, rates in events per second.

    p99_s: latency; None if no event was committed.
    silent_s: time since the last commit, or since work began to wait.
    is_waiting: whether there is work: events in flight, or not read.
    arrival_rate: None if unknown.
    commit_rate: events committed.
    waited_s: how long events that were read last had waited to be read, more than they always do.
    offset_s: how old events are when they are read, even if none wait.
    ahead_share: share of the events whose timestamps are in the future.
    lag, lag_growth: events that are not read, None if unknown; how many more there are each second.
    commit_s, call_s, queue_s: usual durations of commits and model calls, and of the wait for the model.
    model, model_load: the busiest model, and the share of the time for which it is busy.
    loop_load: share of the time for which the event loop is busy.
    """

    p99_s: float | None
    silent_s: float
    is_waiting: bool
    arrival_rate: float | None
    commit_rate: float
    waited_s: float
    offset_s: float
    ahead_share: float
    lag: int | None
    lag_growth: float
    commit_s: float
    call_s: float
    queue_s: float
    model: str
    model_load: float
    loop_load: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the objective is met.

    binding, detail: what binds, and in words; None and "" if it is met.
    since_s: monotonic time from which this holds.
    """

    is_met: bool
    binding: Binding | None = None
    detail: str = ""
    since_s: float = 0.0


class Judge:
    """Keeps the verdict, which changes only if the latency stays on the other side for a while."""

    def __init__(self, objective_s: float) -> None:
        self._objective_s = objective_s
        self._other_since_s: float | None = None
        self.verdict = Verdict(is_met=True)

    def judge(self, measured: Measured, *, now_s: float) -> Verdict:
        """Return the verdict as of now."""
        current = self.verdict
        is_met = self._is_met(measured)
        if is_met == current.is_met:
            self._other_since_s = None
            if not is_met:
                binding, detail = find_binding(measured, self._objective_s)
                self.verdict = Verdict(False, binding, detail, current.since_s)
            return self.verdict
        if self._other_since_s is None:
            self._other_since_s = now_s
        if now_s - self._other_since_s >= HOLD_S:
            self._other_since_s = None
            reason = () if is_met else find_binding(measured, self._objective_s)
            self.verdict = replace(Verdict(is_met, *reason), since_s=now_s)
        return self.verdict

    def _is_met(self, measured: Measured) -> bool:
        if _is_stalled(measured, self._objective_s):
            return False
        if measured.p99_s is None:
            return True  # no events
        limit_s = self._objective_s * (1.0 if self.verdict.is_met else BACK_SHARE)
        return measured.p99_s <= limit_s


def _is_stalled(measured: Measured, objective_s: float) -> bool:
    return measured.is_waiting and measured.silent_s > max(STALLED_S, objective_s)


def find_binding(measured: Measured, objective_s: float) -> tuple[Binding, str]:
    """Return what binds, and in words."""
    if _is_stalled(measured, objective_s):
        return (
            Binding.STALLED,
            f"nothing was committed for {measured.silent_s:.1f} s; see the circuit breakers and the log",
        )
    if measured.ahead_share > MAX_AHEAD_SHARE:
        share = f"{100 * measured.ahead_share:.0f} %"
        return Binding.TIMESTAMPS, f"{share} of the events have timestamps in the future: compare the clocks"
    if (behind := _behind(measured, objective_s)) is not None:
        return behind
    if measured.offset_s > 0.5 * objective_s:
        return (
            Binding.TIMESTAMPS,
            f"events are {_ms(measured.offset_s)} old when they are read although none wait: their timestamps are "
            "not the times of their publish, or the clocks differ",
        )
    return _longest(measured)


def _behind(measured: Measured, objective_s: float) -> tuple[Binding, str] | None:
    """Return what binds while more events wait to be read than the objective permits; None while it does not bind."""
    capacity, arrival_rate, lag = measured.commit_rate, measured.arrival_rate, measured.lag
    if lag is None or arrival_rate is None or lag <= capacity * objective_s:
        return None
    if measured.lag_growth > MIN_GROWTH * arrival_rate or arrival_rate >= capacity:
        return (
            Binding.ARRIVAL_RATE,
            f"arrival rate {arrival_rate:,.0f} events/s exceeds capacity {capacity:,.0f} events/s, which "
            f"{_busiest(measured)} limits",
        )
    return (
        Binding.BACKLOG,
        f"a backlog of {lag:,} events is being read: {arrival_rate:,.0f} events/s arrive, {capacity:,.0f} events/s are "
        f"committed, about {lag / (capacity - arrival_rate):,.0f} s are left",
    )


def _busiest(measured: Measured) -> str:
    if measured.model_load >= BUSY:
        return f"the model {measured.model}"
    return "the event loop" if measured.loop_load >= BUSY else "the commit"


def _longest(measured: Measured) -> tuple[Binding, str]:
    """Return the step that takes longest."""
    commits_s = 2 * measured.commit_s  # an event that just misses one waits for it, and then for the next
    model_s = measured.queue_s + measured.call_s
    if model_s > commits_s:
        return (
            Binding.MODEL_CALL,
            f"a call of the model {measured.model} usually takes {_ms(measured.call_s)}, and events wait "
            f"{_ms(measured.queue_s)} for it",
        )
    if measured.p99_s is not None and measured.p99_s > 2 * (commits_s + model_s) and measured.loop_load >= BUSY:
        return Binding.EVENT_LOOP, f"the event loop is busy {100 * measured.loop_load:.0f} % of the time"
    return (
        Binding.COMMIT,
        f"a commit usually takes {_ms(measured.commit_s)}, and an event waits for up to two of them",
    )


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:,.0f} ms"
