"""The revisions that a worker proposes by itself: back to what serves, because a version cannot. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from forebay.schemas.errors import ConfigError
from forebay.stream.rollouts.changes import Proposal, abort, rollback
from forebay.stream.rollouts.revision import Revision


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a version cannot serve.

    evidence: what the revision that ends it records, beside the version and the worker.
    """

    version: int
    reason: str
    evidence: Mapping[str, object] = field(default_factory=dict)


def going_back(current: Revision, fault: Fault, *, serving: int, worker: str, new_id: str, now_ms: int) -> Revision:
    """Return the revision that takes a version out of service: without it, or with the stable version before it.

    current: the revision that names the version.
    serving: the stable version that the worker serves.
    worker: instance id of the worker.

    Raises ConfigError if there is no version to go back to.
    """
    proposal = Proposal(
        id=new_id,
        author=f"worker {worker}",
        automatic=True,
        reason=fault.reason,
        created_ms=now_ms,
        evidence={"version": fault.version, "worker": worker, **fault.evidence},
    )
    if fault.version != current.stable:
        return abort(current, proposal, fault.version)
    target = serving if current.previous is None else current.previous
    if target == current.stable:
        raise ConfigError(
            f"model {current.model!r}: version {fault.version} is stable, and no earlier version is known (revision "
            f"{current.number})",
            remedy="`forebay models rollback` with a version, or `forebay models promote`",
        )
    return rollback(current, target, proposal)
