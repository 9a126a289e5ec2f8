"""Proposals and revisions for tests."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count

from forebay.stream.rollouts.changes import Proposal
from forebay.stream.rollouts.revision import Revision, StepPolicy, initial_revision

MODEL = "fraud"
STEPS = StepPolicy((5.0, 25.0, 50.0, 100.0), every_s=600.0, min_events=1000)

_ids = count(1)


def proposal(
    *,
    id: str | None = None,
    author: str = "ada",
    automatic: bool = False,
    reason: str = "",
    evidence: Mapping[str, object] | None = None,
    digests: Mapping[int, str] | None = None,
) -> Proposal:
    return Proposal(
        id=id or f"proposal-{next(_ids)}",
        author=author,
        automatic=automatic,
        reason=reason,
        created_ms=1_700_000_000_000,
        evidence=evidence or {},
        digests=digests or {},
    )


def configured(version: int = 1) -> Revision:
    return initial_revision(MODEL, version)
