"""The state of one model's rollout in one worker, for its status, its metrics and its live page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from forebay.stream.rollouts.revision import Revision, Shadow


@dataclass(frozen=True, slots=True)
class RolloutStatus:
    """What a worker serves of one model, and what it is about to serve.

    revision: the revision that the worker serves.
    accepted: number of the newest revision that the worker has read.
    since_ms: when the worker began to serve the revision.
    loading: the version that is being loaded; None if nothing is.
    error: why the accepted revision cannot be applied; None if it can.
    resident: the versions in memory, in ascending order.
    comparisons: by version of a shadow, what its comparison reports: at least `rows` and `agreement`.
    """

    revision: Revision
    accepted: int
    since_ms: int
    loading: int | None = None
    error: str | None = None
    resident: tuple[int, ...] = ()
    comparisons: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def model(self) -> str:
        return self.revision.model

    @property
    def applied(self) -> int:
        """The number of the revision that the worker serves."""
        return self.revision.number

    def to_dict(self) -> dict[str, Any]:
        """Return the entry of `rollouts` in `/status`."""
        revision, steps = self.revision, self.revision.steps
        return {
            "model": revision.model,
            "accepted": self.accepted,
            "applied": revision.number,
            "since": self.since_ms,
            "stable": revision.stable,
            "previous": revision.previous,
            "canaries": [{"version": canary.version, "weight": canary.weight} for canary in revision.canaries],
            "shadows": [self._shadow(shadow) for shadow in revision.shadows],
            "steps": None
            if steps is None
            else {"weights": list(steps.weights), "every_s": steps.every_s, "min_events": steps.min_events},
            "step": revision.step,
            "paused": revision.paused,
            "rejected": list(revision.rejected),
            "action": revision.action.value,
            "author": revision.author,
            "automatic": revision.automatic,
            "reason": revision.reason,
            "created": revision.created_ms,
            "loading": self.loading,
            "error": self.error,
            "resident": list(self.resident),
        }

    def _shadow(self, shadow: Shadow) -> dict[str, Any]:
        return {
            "version": shadow.version,
            "sample": shadow.sample,
            "rows": 0,
            "agreement": None,
            **self.comparisons.get(shadow.version, {}),
        }


def revision_of(rollouts: Sequence[RolloutStatus], model: str) -> int | None:
    """Return the number of the revision that serves a model; None if it has no rollout."""
    return next((rollout.applied for rollout in rollouts if rollout.model == model), None)
