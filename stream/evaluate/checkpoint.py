"""The state of a join at committed offsets, as the metadata that Kafka stores with each of them.

    forebay-evaluate1 <digest> <kept from> <maximum> [<layout>:<distance> ...]

Reading continues at `kept from`, with `maximum` as the largest event time up to and including it (`-` before the first one).
Rows before the committed offset are counted already: they only rebuild what waits. The last fields are for predictions that
were evicted: those of a layout that are less than `distance` after `kept from` no longer wait.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from typing import Final, NamedTuple

from forebay.schemas.errors import BrokerError
from forebay.stream.core.records import Committed, TopicPartition

FORMAT: Final = "forebay-evaluate1"
NO_TIME: Final = -(1 << 62)
"""The maximum of the times before the first row."""

ANOTHER_GROUP: Final = (
    "begin again with another evaluate.group_id, in the configuration of all processes: it counts everything that is still "
    "on the topics, and readers leave out the records of the old group"
)
"""What to do if the state cannot be continued."""

_FAMILY: Final = "forebay-evaluate"
_NONE: Final = "-"


class Mark(NamedTuple):
    """A position in a partition.

    maximum_ms: the largest event time of the rows up to and including the one at the offset.
    """

    offset: int
    maximum_ms: int = NO_TIME


@dataclass(frozen=True, slots=True)
class JoinRules:
    """What decides which label belongs to which prediction, and how pairs are counted.

    horizon_ms: a label counts until the labels' event time is this much after the prediction.
    early_ms: a label waits until the predictions' event time is this much after that of the labels.
    window_ms: length of the windows of quality.
    join_by: what the join hashes are of, slices: their names, and max_future_ms: how far ahead of its record a time may be;
        only to recognise other settings after a restart.
    """

    horizon_ms: int
    early_ms: int
    window_ms: int
    join_by: str = "id"
    slices: tuple[str, ...] = ()
    max_future_ms: int = 0

    @property
    def digest(self) -> str:
        """Eight hexadecimal digits that differ if the rules differ."""
        return f"{zlib.crc32(repr(astuple(self)).encode()):08x}"


@dataclass(frozen=True, slots=True)
class InputState:
    """The state of one input at its committed offset.

    committed: rows before it are counted.
    kept_from: where reading continues.
    floors: by layout, the offset before which predictions were evicted.
    """

    committed: int
    kept_from: Mark
    floors: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether nothing of the input waited."""
        return self.kept_from.offset >= self.committed


def encode(state: InputState, rules: JoinRules) -> Committed:
    """Return the committed offset of a state, with its metadata."""
    offset, maximum_ms = state.kept_from
    parts = [FORMAT, rules.digest, str(offset), _NONE if maximum_ms == NO_TIME else str(maximum_ms)]
    parts += [f"{layout}:{floor - offset}" for layout, floor in sorted(state.floors.items()) if floor > offset]
    return Committed(state.committed, " ".join(parts))


def decode(partition: TopicPartition, committed: Committed, rules: JoinRules) -> InputState:
    """Return the state of an input; one in which nothing waits if another program wrote the metadata.

    Raises BrokerError for metadata of a later version, and for a state of other rules.
    """
    text = committed.metadata
    name, *parts = text.split(" ")
    if name != FORMAT:
        if name.startswith(_FAMILY):
            raise _unknown_state(partition, text)
        return InputState(committed.offset, Mark(committed.offset))
    try:
        digest, offset, maximum, *floors = parts
        kept_from = Mark(int(offset), NO_TIME if maximum == _NONE else int(maximum))
        distances = {layout: kept_from.offset + int(distance) for layout, distance in (f.split(":") for f in floors)}
    except ValueError:
        raise _unknown_state(partition, text) from None
    state = InputState(committed.offset, kept_from, distances)
    if digest != rules.digest and not state.is_empty:
        raise BrokerError(
            f"{_name(partition)}: predictions and labels wait that were read with other settings of the section "
            "[evaluate]: join_by, horizon_s, early_s, window_s, max_future_s or slices",
            kind="evaluate_config_changed",
            remedy=f"set them as they were, or {ANOTHER_GROUP}",
        )
    return state


def _unknown_state(partition: TopicPartition, text: str) -> BrokerError:
    return BrokerError(
        f"{_name(partition)}: the metadata of the committed offset is {text[:60]!r}; this version reads {FORMAT}",
        kind="evaluate_state_unknown",
        remedy=f"a later version of Forebay wrote it: upgrade this one, or {ANOTHER_GROUP}",
    )


def _name(partition: TopicPartition) -> str:
    return f"{partition.topic}-{partition.partition}"
