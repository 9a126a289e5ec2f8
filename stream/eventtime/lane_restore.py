"""Assign the window states at a committed offset to the models that a worker serves. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from forebay.schemas.errors import BrokerError
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import Committed, TopicPartition
from forebay.stream.eventtime.plan import WindowPlan
from forebay.stream.eventtime.restore import UNNAMED, partition_name, read_committed, separate_committed


def states_of_models(
    plans: Mapping[ModelRef, WindowPlan], partition: TopicPartition, committed: Committed
) -> dict[ModelRef, Committed]:
    """Return the committed offset with the state of each model; models without a state are missing.

    States are assigned by the model's name. A state without a name belongs to the only model or else to the first one with
    the same configuration of windows.

    Raises BrokerError for metadata of a later version, and for open windows that belong to none of the models.
    """
    if not committed.metadata:
        return {}
    texts = separate_committed(partition, committed)
    if UNNAMED in texts:
        owner = _owner(plans, partition, committed)
        return {} if owner is None else {owner: committed}
    by_name = {model.name: model for model in plans}
    for name, own in texts.items():
        state = read_committed(partition, own)
        if name not in by_name and state is not None and state.has_windows:
            checkpoint = state.checkpoint
            raise BrokerError(
                f"{partition_name(partition)}: the group has open windows of the model {name}, from offset "
                f"{checkpoint.replay_from} to {checkpoint.head}, and this worker does not serve it with windows",
                kind="window_config_changed",
                remedy=f"serve the model {name} with its windows until they are closed, or use another group_id",
            )
    return {by_name[name]: own for name, own in texts.items() if name in by_name}


def _owner(plans: Mapping[ModelRef, WindowPlan], partition: TopicPartition, committed: Committed) -> ModelRef | None:
    """Return the model to which a state without a name belongs; None if it belongs to none and has no windows."""
    if len(plans) == 1:
        return next(iter(plans))
    state = read_committed(partition, committed)
    if state is None:
        return None
    same = [model for model, plan in plans.items() if plan.digest == state.digest]
    if same or not state.has_windows:
        return same[0] if same else None
    flushing = [model for model, plan in plans.items() if plan.flush]
    if flushing:
        return flushing[0]
    checkpoint, names = state.checkpoint, ", ".join(model.name for model in plans)
    raise BrokerError(
        f"{partition_name(partition)}: the group has open windows, from offset {checkpoint.replay_from} to "
        f"{checkpoint.head}, which are of another configuration of windows or another model than {names}",
        kind="window_config_changed",
        remedy="start with the old configuration until its windows are closed, set window.on_changed of one of the models to "
        "flush (the events from there on make windows of its configuration, which are closed at once), or use another "
        "group_id",
    )
