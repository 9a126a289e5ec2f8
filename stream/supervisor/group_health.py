"""Liveness, readiness and startup of a supervisor and its children. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from forebay.stream.admin.health import Verdict
from forebay.stream.supervisor.child_process import ChildProcess, ChildState


def liveness(children: Sequence[ChildProcess], *, now_s: float) -> Verdict:
    """Return whether a restart of everything would not help.

    It fails while a child is stuck, which the supervisor restarts itself, and when all of them fail again and again.
    """
    reasons = [
        f"process {child.number}: {reason}"
        for child in children
        if (reason := child.stuck_because(now_s=now_s)) is not None
    ]
    if all(child.loops(now_s=now_s) for child in children):
        reasons.append(f"all processes fail again and again; the first one: {children[0].last_end}")
    return Verdict(not reasons, tuple(reasons))


def readiness(children: Sequence[ChildProcess], *, stopping: bool) -> Verdict:
    """Return whether at least one child is ready, and none is in its first start.

    Later, the restart of one child does not make the whole unready: the others serve.
    """
    reasons = [f"process {child.number} is starting" for child in children if child.first_start]
    if not any(child.state is ChildState.READY for child in children):
        reasons.append("no process is ready")
        reasons += [
            f"process {child.number}: {'; '.join(child.report.ready.reasons)}"
            for child in children
            if child.report is not None and not child.report.ready.ok and child.is_running
        ]
    if stopping:
        reasons.append("draining")
    return Verdict(not reasons, tuple(reasons), {"ready_processes": num_ready(children), "processes": len(children)})


def startup(children: Sequence[ChildProcess]) -> Verdict:
    """Return whether a child has loaded and warmed up its models, now or before."""
    has_started = any(child.was_ready or (child.report is not None and child.report.started.ok) for child in children)
    return Verdict(has_started, () if has_started else ("no process has warmed up its models yet",))


def warnings_of(children: Sequence[ChildProcess], *, now_s: float) -> tuple[str, ...]:
    """Return which children fail again and again, in words."""
    return tuple(
        f"process {child.number} has failed {child.failures(now_s=now_s)} times in a row: {child.last_end}"
        for child in children
        if child.loops(now_s=now_s)
    )


def num_ready(children: Sequence[ChildProcess]) -> int:
    """Return how many children are ready."""
    return sum(child.state is ChildState.READY for child in children)
