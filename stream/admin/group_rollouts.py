"""The rollouts of a consumer group, as its workers report them: what is served, and who is behind. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from forebay.stream.admin.worker_status import RolloutState, WorkerStatus


class LaggingWorker(NamedTuple):
    """A worker that does not serve the newest revision, and why."""

    worker: str
    reason: str


class GroupRollout(NamedTuple):
    """The rollout of one model. newest: the state of a worker with the greatest applied revision."""

    newest: RolloutState
    lagging: tuple[LaggingWorker, ...]

    @property
    def summary(self) -> str:
        """The versions in force, such as `damp: revision 3, v1, canary v2 5 %`."""
        state = self.newest
        parts = [f"{state.model}: revision {state.applied}", f"v{state.stable}"]
        parts += [f"canary v{canary.version} {canary.weight:.4g} %" for canary in state.canaries]
        parts += [f"shadow v{shadow.version} {shadow.sample * 100:.4g} % of the events" for shadow in state.shadows]
        return ", ".join(parts)


def group_rollouts(statuses: Sequence[WorkerStatus]) -> tuple[GroupRollout, ...]:
    """Return the rollouts that have a revision, in the order in which workers report them."""
    by_model: dict[str, list[tuple[str, RolloutState]]] = {}
    for status in statuses:
        for state in status.rollouts:
            by_model.setdefault(state.model, []).append((status.worker, state))
    rollouts = []
    for states in by_model.values():
        newest = max((state for _, state in states), key=lambda state: state.applied)
        accepted = max(state.accepted for _, state in states)
        if accepted:
            lagging = [LaggingWorker(name, _reason(state)) for name, state in states if state.applied < accepted]
            rollouts.append(GroupRollout(newest, tuple(lagging)))
    return tuple(rollouts)


def _reason(state: RolloutState) -> str:
    if state.error is not None:
        return state.error
    action = "it has not read the newest one" if state.loading is None else f"it is loading v{state.loading}"
    return f"it serves revision {state.applied}: {action}"
