"""Whether all live workers have applied a revision. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from forebay.stream.cli.models_rollout_workers import RolloutWorker, Waiting, waiting_workers
from forebay.stream.rollouts.revision import Action, Revision

NO_WORKER: Final = "no live worker serves the model; it takes effect when one starts"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a revision is.

    waiting: the live workers that have not applied it.
    replaced_by: a later revision that takes back what this one did; None without one.
    """

    number: int
    num_workers: int
    waiting: tuple[Waiting, ...]
    replaced_by: Revision | None = None

    @property
    def applied(self) -> bool:
        """Whether every live worker has applied the revision, at least one is live, and no later revision took it back."""
        return self.num_workers > 0 and not self.waiting and self.replaced_by is None

    @property
    def decided(self) -> bool:
        """Whether further waiting changes nothing."""
        return self.applied or self.replaced_by is not None

    @property
    def num_applied(self) -> int:
        return self.num_workers - len(self.waiting)

    def to_dict(self) -> dict[str, object]:
        replaced = self.replaced_by
        return {
            "applied": self.applied,
            "workers": self.num_workers,
            "waiting": [{"worker": worker.worker, "reason": worker.reason} for worker in self.waiting],
            "replaced_by": None if replaced is None else replaced.number,
            "reason": None if replaced is None else replaced.reason,
        }


def wait_progress(revision: Revision, version: int | None, workers: Sequence[RolloutWorker], now: Revision) -> Progress:
    """Return how far a revision is.

    version: the version that it brought into service; None if it brought none.
    now: the revision that is in force now.
    """
    waiting = waiting_workers(workers, revision.number)
    if revision.action is Action.ROLLBACK:
        waiting += tuple(
            Waiting(worker.name, f"it serves {_served(worker)} instead of version {revision.stable} alone")
            for worker in workers
            if worker.has_applied(revision.number)
            and not worker.serves(revision.stable)
            and now.number == revision.number
        )
    return Progress(
        number=revision.number,
        num_workers=len(workers),
        waiting=waiting,
        replaced_by=now if _takes_back(revision, version, now) else None,
    )


def _served(worker: RolloutWorker) -> str:
    assert worker.state is not None
    canaries = "".join(f" with canary {canary.version}" for canary in worker.state.canaries)
    return f"version {worker.state.stable}{canaries}"


def _takes_back(revision: Revision, version: int | None, now: Revision) -> bool:
    if now.number <= revision.number:
        return False
    if revision.action in (Action.ROLLBACK, Action.PROMOTE):
        return now.stable != revision.stable
    return version is not None and version not in now.versions()
