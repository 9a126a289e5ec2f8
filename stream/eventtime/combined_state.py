"""Combine the window states of several models into the metadata of one committed offset, and separate them again. Pure.

    forebay3 <model> <state>;<model> <state>…

A state is the text of `checkpoint` without the word `forebay`: it begins with 1, or with 2 while closed windows are still to
be emitted. Names of models contain neither spaces nor semicolons. All states are of the same head, the committed offset. With
one model that takes windows, the metadata is the text of `checkpoint` itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from forebay.schemas.errors import ConfigError
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.eventtime.checkpoint import MetadataError
from forebay.stream.eventtime.timestamp_guard import MAX_LISTED

COMBINED_FORMAT: Final = "forebay3"
_STATE: Final = "forebay"
MAX_BYTES: Final = 3600
"""The limit for the states of all models. Kafka's is 4096; the rest is for models that are added while windows are open."""
_FIXED_BYTES: Final = 110
"""The longest state without the model's name and the listed offsets."""
_LISTED_BYTES: Final = 19
"""The length of a listed event: a distance of up to twelve digits, a row of up to five, a point and a comma."""


def combine(states: Mapping[ModelRef, str]) -> str:
    """Return the metadata of a worker with several models that take windows."""
    entries = (f"{model.name} {state.removeprefix(_STATE)}" for model, state in states.items())
    return f"{COMBINED_FORMAT} {';'.join(entries)}" if states else ""


def separate(metadata: str) -> dict[str, str] | None:
    """Return the states in combined metadata by the names of the models; None if the metadata is of another format.

    The states are not validated. Raises MetadataError.
    """
    head, _, rest = metadata.partition(" ")
    if head != COMBINED_FORMAT:
        return None
    entries = [entry.partition(" ") for entry in rest.split(";")]
    states = {name: _STATE + state for name, _, state in entries}
    if len(states) < len(entries) or not all(name and state for name, _, state in entries):
        raise MetadataError(metadata[:100])
    return states


def max_listed(names: Sequence[str]) -> int:
    """Return how many rejected events the state of each of these models may list, so that all states fit together.

    names: the models in one worker that take windows.

    Raises ConfigError if the states would not fit even without listed events.
    """
    if len(names) <= 1:
        return MAX_LISTED
    spare = MAX_BYTES - len(COMBINED_FORMAT) - 1 - sum(len(name) + _FIXED_BYTES for name in names)
    if spare < 0:
        raise ConfigError(
            f"the windows of {len(names)} models do not fit into the metadata of one committed offset",
            kind="too_many_window_models",
            remedy="serve fewer models with windows in one worker, or give the models shorter names",
        )
    return min(MAX_LISTED, spare // (_LISTED_BYTES * len(names)))
