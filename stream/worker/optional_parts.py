"""The parts that only some workers start and stop."""

from __future__ import annotations

from typing import TypedDict

from forebay.stream.authorization.policy_keeper import PolicyKeeper
from forebay.stream.worker.audited_run import AuditedRun
from forebay.stream.worker.rollout_assembly import RolloutParts
from forebay.stream.worker.rollout_follower import RolloutFollower
from forebay.stream.worker.schema_assembly import SchemaParts
from forebay.stream.worker.shadow_assembly import Shadows


class OptionalParts(TypedDict):
    """The parts of `WorkerParts` that are None where their section is not used."""

    follower: RolloutFollower | None
    shadows: Shadows | None
    schemas: SchemaParts | None
    access: PolicyKeeper | None
    audited: AuditedRun


def optional_parts(
    rollouts: RolloutParts | None, schemas: SchemaParts | None, access: PolicyKeeper | None, audited: AuditedRun
) -> OptionalParts:
    """Return the parts of a worker that its sections need."""
    return OptionalParts(
        follower=None if rollouts is None else rollouts.follower,
        shadows=None if rollouts is None else rollouts.shadows,
        schemas=schemas,
        access=access,
        audited=audited,
    )
