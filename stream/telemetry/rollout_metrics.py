"""Metrics of rollouts: what each model serves, and the revisions, loads and switches of this worker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from forebay.schemas.rollouts import Action
from forebay.stream.rollouts.revision import Revision
from forebay.stream.rollouts.rollout_status import RolloutStatus
from forebay.stream.telemetry import catalogue as c
from forebay.stream.telemetry.metric_store import Labels, MetricStore

_AUTHORS: Final = {False: "person", True: "automatic"}
_LOADED: Final = "loaded"
_FAILED: Final = "failed"


class RolloutRecorder:
    """A `RolloutObserver` that counts, and records the status of all rollouts."""

    def __init__(self, store: MetricStore) -> None:
        self._store = store
        self._known: set[str] = set()

    def on_accepted(self, revision: Revision) -> None:
        self._start_at_zero(revision.model)
        author = _AUTHORS[revision.automatic]
        self._store.add(c.ROLLOUT_REVISIONS, 1, (revision.model, revision.action.value, author))

    def on_loaded(self, model: str, duration_s: float) -> None:
        self._start_at_zero(model)
        self._store.add(c.ROLLOUT_LOADS, 1, (model, _LOADED))
        self._store.observe(c.ROLLOUT_LOAD_DURATION, duration_s, (model,))

    def on_load_failed(self, model: str) -> None:
        self._start_at_zero(model)
        self._store.add(c.ROLLOUT_LOADS, 1, (model, _FAILED))

    def on_switched(self, model: str) -> None:
        self._start_at_zero(model)
        self._store.add(c.ROLLOUT_SWITCHES, 1, (model,))

    def record(self, rollouts: Sequence[RolloutStatus]) -> None:
        """Record the current status of the rollouts of all models."""
        store = self._store
        for rollout in rollouts:
            self._start_at_zero(rollout.model)
        numbers: dict[Labels, float] = {}
        shares: dict[Labels, float] = {}
        for rollout in rollouts:
            numbers[rollout.model, "accepted"] = rollout.accepted
            numbers[rollout.model, "applied"] = rollout.applied
            shares |= _shares(rollout.revision)
        self._record_shadows(rollouts)
        store.replace(c.ROLLOUT_REVISION, numbers)
        store.replace(c.ROLLOUT_SHARE, shares)
        store.replace(c.ROLLOUT_RESIDENT, {(rollout.model,): len(rollout.resident) for rollout in rollouts})
        store.replace(c.ROLLOUT_LOADING, {(rollout.model,): int(rollout.loading is not None) for rollout in rollouts})
        store.replace(c.ROLLOUT_BLOCKED, {(rollout.model,): int(rollout.error is not None) for rollout in rollouts})

    def _record_shadows(self, rollouts: Sequence[RolloutStatus]) -> None:
        totals: dict[Labels, float] = {}
        agreements: dict[Labels, float] = {}
        for rollout in rollouts:
            for version, found in rollout.comparisons.items():
                labels = (rollout.model, str(version))
                totals[*labels, "compared"] = found["rows"]
                totals |= {(*labels, reason): count for reason, count in found.get("dropped", {}).items()}
                if found["agreement"] is not None:
                    agreements[labels] = found["agreement"]
        self._store.replace_totals(c.SHADOW_EVENTS, totals)
        self._store.replace(c.SHADOW_AGREEMENT, agreements)

    def _start_at_zero(self, model: str) -> None:
        """Set the counters of a model to 0 once: a rate needs a first value."""
        if model in self._known:
            return
        self._known.add(model)
        self._store.add(c.ROLLOUT_SWITCHES, 0, (model,))
        for result in (_LOADED, _FAILED):
            self._store.add(c.ROLLOUT_LOADS, 0, (model, result))
        for action in Action:
            for author in _AUTHORS.values():
                self._store.add(c.ROLLOUT_REVISIONS, 0, (model, action.value, author))


def _shares(revision: Revision) -> dict[Labels, float]:
    """Return the share of each version in force, from 0 to 1."""
    model = revision.model
    shares: dict[Labels, float] = {
        (model, str(canary.version), "canary"): canary.weight / 100 for canary in revision.canaries
    }
    shares[model, str(revision.stable), "stable"] = round(1 - sum(shares.values()), 6)
    shares |= {(model, str(shadow.version), "shadow"): shadow.sample for shadow in revision.shadows}
    return shares
