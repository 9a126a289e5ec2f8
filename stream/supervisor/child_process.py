"""What a supervisor knows of one child: its state, its last report, and how it ended. Pure: times are passed in."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from forebay.stream.supervisor.restart_policy import LOOPS_AFTER, RestartPolicy

UNRESPONSIVE_S: Final = 60.0
"""A child that has answered before and does not for this long is stuck."""


class ChildState(StrEnum):
    """The state of a child.

    STARTING: it loads its models or joins the group. READY: as its own `/readyz` says. RUNNING: started, but not ready now.
    STOPPING: it drains, to be started again or because everything ends. WAITING: it has failed and is started again later.
    """

    STARTING = "starting"
    RUNNING = "running"
    READY = "ready"
    STOPPING = "stopping"
    WAITING = "waiting"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class ChildVerdict:
    """The verdict of one of a child's probes."""

    ok: bool
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ChildReport:
    """What a child answered to a poll. metrics: a snapshot in its wire form (see `telemetry.snapshot_wire`)."""

    live: ChildVerdict
    ready: ChildVerdict
    started: ChildVerdict
    paused: bool
    metrics: bytes


class ChildProcess:
    """One child: a process at a time, under the same number."""

    def __init__(self, number: int, *, policy: RestartPolicy) -> None:
        self.number = number
        self.policy = policy
        self.state = ChildState.ENDED
        self.pid: int | None = None
        self.report: ChildReport | None = None
        self.starts = 0
        self.restarts = 0
        self.was_ready = False
        self.first_start = True
        """Whether its first process has neither been ready nor ended yet."""
        self.last_end: str | None = None
        """How its last process ended, in words."""
        self._started_s = 0.0
        self._answered_s: float | None = None
        self._starts_again_s: float | None = None

    @property
    def is_running(self) -> bool:
        """Whether there is a process."""
        return self.pid is not None

    def on_started(self, pid: int, *, now_s: float) -> None:
        """Record a new process."""
        self.pid, self.state, self.report = pid, ChildState.STARTING, None
        self.restarts += self.starts > 0
        self.starts += 1
        self._started_s, self._answered_s, self._starts_again_s = now_s, None, None

    def on_not_started(self, reason: str) -> None:
        """Record that the system did not start a process."""
        self.last_end, self.state, self.first_start = reason, ChildState.ENDED, False

    def on_report(self, report: ChildReport, *, now_s: float) -> None:
        """Record an answer to a poll."""
        self.report, self._answered_s = report, now_s
        if report.ready.ok:
            self.was_ready, self.first_start = True, False
        if self.state is not ChildState.STOPPING:
            self.state = (
                ChildState.READY
                if report.ready.ok
                else ChildState.RUNNING
                if self.state is not ChildState.STARTING
                else ChildState.STARTING
            )

    def on_stopping(self) -> None:
        """Record that it was asked to stop."""
        self.state = ChildState.STOPPING

    def on_ended(self, status: int, *, now_s: float, reason: str | None = None) -> float:
        """Record the end of the process, and return how long it ran. reason: its error, or why it was killed."""
        self.last_end = describe_end(status) if reason is None else f"{describe_end(status)}: {reason}"
        self.pid, self.state, self.first_start = None, ChildState.ENDED, False
        return now_s - self._started_s

    def on_waiting(self, wait_s: float, *, now_s: float) -> None:
        """Record that it is started again after this long."""
        self.state, self._starts_again_s = ChildState.WAITING, now_s + wait_s

    def failures(self, *, now_s: float) -> int:
        """Return the failures in a row."""
        return self.policy.failures_of(running_s=now_s - self._started_s if self.is_running else None)

    def loops(self, *, now_s: float) -> bool:
        """Return whether it fails again and again."""
        return self.failures(now_s=now_s) >= LOOPS_AFTER

    def silence_s(self, *, now_s: float) -> float:
        """Return for how long it has not answered; 0 before its first answer, because loading a model takes its time."""
        return 0.0 if self._answered_s is None or not self.is_running else now_s - self._answered_s

    def stuck_because(self, *, now_s: float) -> str | None:
        """Return why it can only be helped by a restart; None if it works."""
        if self.report is None or self.state is ChildState.STOPPING or not self.is_running:
            return None
        if not self.report.live.ok:
            return "; ".join(self.report.live.reasons) or "it is stuck"
        silence_s = self.silence_s(now_s=now_s)
        return f"it has not answered for {silence_s:.0f} s" if silence_s > UNRESPONSIVE_S else None

    def to_dict(self, *, now_s: float, url: str | None) -> dict[str, Any]:
        """Return its entry in the status."""
        wait_s = None if self._starts_again_s is None else max(0.0, round(self._starts_again_s - now_s, 1))
        return {
            "process": self.number,
            "pid": self.pid,
            "state": self.state.value,
            "ready": self.state is ChildState.READY,
            "running_s": round(now_s - self._started_s, 1) if self.is_running else None,
            "restarts": self.restarts,
            "failures_in_a_row": self.failures(now_s=now_s),
            "starts_again_in_s": wait_s if self.state is ChildState.WAITING else None,
            "last_end": self.last_end,
            "url": url,
        }


def describe_end(status: int) -> str:
    """Return how a process ended, in words. status: negative for a signal."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
