"""Which workers of a group have applied a revision of a model's rollout, and why the others have not. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from forebay.stream.admin.group_status import GroupStatus, WorkerRow
from forebay.stream.admin.worker_status import RolloutState

NOT_REPORTED: Final = "it reports no rollouts: rollouts.enabled is false in its configuration, or its release is older"


@dataclass(frozen=True, slots=True)
class RolloutWorker:
    """A live worker that serves the model.

    state: the rollout as the worker reports it; None if it does not, and `problem` says why.
    version: the version that it announced when it joined the group; None if it announced nothing.
    """

    name: str
    state: RolloutState | None
    version: int | None = None
    problem: str | None = None

    def serves(self, version: int) -> bool:
        """Return whether the worker serves only this version, without canaries."""
        return self.state is not None and self.state.stable == version and not self.state.canaries

    def has_applied(self, number: int) -> bool:
        """Return whether the worker serves this revision or a later one."""
        return self.state is not None and self.state.applied >= number

    def reason(self, number: int) -> str:
        """Return why the worker has not applied a revision."""
        state = self.state
        if state is None:
            return self.problem or NOT_REPORTED
        if state.error is not None:
            return state.error
        if state.loading is not None:
            return f"it is loading version {state.loading}"
        if state.accepted < number:
            return f"it has read the revisions up to {state.accepted} only"
        return f"it serves revision {state.applied} until its next poll"

    def to_load(self, versions: frozenset[int]) -> tuple[int, ...] | None:
        """Return those of the versions that the worker would have to load; None if that is not known."""
        return None if self.state is None else tuple(sorted(versions - frozenset(self.state.resident)))

    def to_dict(self) -> dict[str, object]:
        state = self.state
        return {
            "worker": self.name,
            "accepted": None if state is None else state.accepted,
            "applied": None if state is None else state.applied,
            "stable": None if state is None else state.stable,
            "canaries": []
            if state is None
            else [{"version": canary.version, "weight": canary.weight} for canary in state.canaries],
            "shadows": []
            if state is None
            else [{"version": shadow.version, "sample": shadow.sample} for shadow in state.shadows],
            "loading": None if state is None else state.loading,
            "resident": [] if state is None else list(state.resident),
            "error": self.problem if state is None else state.error,
        }


@dataclass(frozen=True, slots=True)
class Waiting:
    """A worker that has not applied a revision, and why."""

    worker: str
    reason: str


def rollout_workers(status: GroupStatus, model: str) -> tuple[RolloutWorker, ...]:
    """Return the members of the group that serve the model, and those that announce nothing."""
    return tuple(
        _rollout_worker(row, model)
        for row in status.workers
        if row.metadata is None or any(ref.name == model for ref in row.metadata.models)
    )


def waiting_workers(workers: Sequence[RolloutWorker], number: int) -> tuple[Waiting, ...]:
    """Return the workers that have not applied a revision."""
    return tuple(Waiting(worker.name, worker.reason(number)) for worker in workers if not worker.has_applied(number))


def announced_version(workers: Sequence[RolloutWorker]) -> int | None:
    """Return the version of the model that all live workers announce; None if they differ or none announces one."""
    versions = {worker.version for worker in workers if worker.version is not None}
    return versions.pop() if len(versions) == 1 else None


def _rollout_worker(row: WorkerRow, model: str) -> RolloutWorker:
    version = None
    if row.metadata is not None:
        version = next((ref.version for ref in row.metadata.models if ref.name == model), None)
    if row.response.status is None:
        return RolloutWorker(row.name, None, version, row.reason or row.health)
    state = next((state for state in row.response.status.rollouts if state.model == model), None)
    return RolloutWorker(row.name, state, version, None if state is not None else NOT_REPORTED)
