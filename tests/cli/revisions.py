"""Revisions of one model for tests, made by the changes themselves."""

from __future__ import annotations

from typing import Any

from forebay.stream.rollouts import changes
from forebay.stream.rollouts.changes import Proposal
from forebay.stream.rollouts.revision import Revision, StepPolicy, initial_revision
from forebay.stream.rollouts.revision_log import RevisionLog

MODEL = "fraud"
NOON_MS = 1_796_126_400_000
STEPS = StepPolicy(weights=(5, 25, 100), every_s=600, min_events=1000)


def proposal(number: int = 1, **more: Any) -> Proposal:
    """Return the proposal of a person, a minute after that of the number before."""
    fields: dict[str, Any] = {
        "id": f"id-{number}",
        "author": "ana@desk",
        "automatic": False,
        "reason": "",
        "created_ms": NOON_MS + 60_000 * number,
        "digests": {version: f"{version:064x}" for version in range(1, 10)},
    }
    return Proposal(**(fields | more))


def configured(version: int = 3) -> Revision:
    return initial_revision(MODEL, version)


def with_canary(version: int = 4, weight: float = 5, *, steps: StepPolicy | None = None, **more: Any) -> Revision:
    """Return revision 1: a canary beside version 3."""
    return changes.start_canary(
        configured(), version, weight, steps=steps, seed=7, route_by=None, proposal=proposal(**more)
    )


def promoted(version: int = 4, **more: Any) -> Revision:
    """Return revision 1: the version instead of version 3."""
    return changes.promote(configured(), version, proposal(**more))


def log_of(*revisions: Revision) -> RevisionLog:
    """Return the log with these records, in this order."""
    log = RevisionLog()
    for offset, revision in enumerate(revisions):
        key, value = revision.encode()
        log.add(key, value, offset=offset, timestamp_ms=revision.created_ms)
    return log
