"""Restore the state of windows from committed offsets, for workers with and without windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from forebay.schemas.errors import BrokerError
from forebay.stream.core.records import Chunk, Committed, TopicPartition
from forebay.stream.eventtime.checkpoint import FORMAT, CommittedState, MetadataError, decode
from forebay.stream.eventtime.combined_state import COMBINED_FORMAT, separate

UNNAMED: Final = ""
"""The key of a state whose metadata does not name a model."""


class WithoutWindows:
    """Restores a worker that predicts each event by itself: reading continues at the committed offsets."""

    def restore(self, committed: Mapping[TopicPartition, Committed | None]) -> dict[TopicPartition, int | None]:
        """Return the committed offsets. Raises BrokerError if the group has open windows."""
        for partition, offset in committed.items():
            states = {} if offset is None else read_states(partition, offset)
            names = [name for name, state in states.items() if state.has_windows]
            if names:
                models = "" if names == [UNNAMED] else f" of the model {', '.join(names)}"
                raise BrokerError(
                    f"{partition_name(partition)}: the group has open windows{models}, and this worker is configured "
                    "without windows",
                    kind="window_config_changed",
                    remedy="set window.kind as it was, or use another group_id",
                )
        return {partition: None if offset is None else offset.offset for partition, offset in committed.items()}


def separate_committed(partition: TopicPartition, committed: Committed) -> dict[str, Committed]:
    """Return the offset with the metadata of each model by its name, or by UNNAMED if the metadata names no model.

    Raises BrokerError for metadata of a later version.
    """
    try:
        texts = separate(committed.metadata)
    except MetadataError:
        raise _unknown_state_error(partition, committed) from None
    if texts is None:
        return {UNNAMED: committed}
    return {name: Committed(committed.offset, text) for name, text in texts.items()}


def read_states(partition: TopicPartition, committed: Committed) -> dict[str, CommittedState]:
    """Return the states of windows at a committed offset by the model's name, or by UNNAMED if the metadata names none.

    Raises BrokerError for metadata of a later version.
    """
    found = separate_committed(partition, committed).items()
    states = {name: read_committed(partition, own) for name, own in found}
    return {name: state for name, state in states.items() if state is not None}


def read_committed(partition: TopicPartition, committed: Committed) -> CommittedState | None:
    """Return the state of windows at a committed offset; None if it has none or another program wrote its metadata.

    Raises BrokerError for metadata of a later version.
    """
    try:
        return decode(committed.offset, committed.metadata)
    except MetadataError:
        if committed.metadata.startswith("forebay"):
            raise _unknown_state_error(partition, committed) from None
        return None


def _unknown_state_error(partition: TopicPartition, committed: Committed) -> BrokerError:
    return BrokerError(
        f"{partition_name(partition)}: the metadata of the committed offset is {committed.metadata[:60]!r}; "
        f"this version reads {FORMAT} to {COMBINED_FORMAT}",
        kind="window_state_unknown",
        remedy="a later version of Forebay wrote it: upgrade this one, or use another group_id",
    )


def partition_name(partition: TopicPartition) -> str:
    """Return `<topic>-<partition>`, for messages."""
    return f"{partition.topic}-{partition.partition}"


def split_at(chunk: Chunk, offset: int) -> tuple[Chunk | None, Chunk | None]:
    """Return the part of the chunk before this offset and the rest; None in place of a part that covers nothing.

    A chunk covers all offsets up to its next offset, so that the rest may have no records.
    """
    if chunk.next_offset <= offset:
        return chunk, None
    num_before = _num_records_before(chunk, offset)
    if num_before == 0:
        return None, chunk
    if num_before < chunk.num_records:
        return chunk.split(num_before)
    return replace(chunk, next_offset=offset), without_records(chunk)


def without_records(chunk: Chunk) -> Chunk:
    """Return a chunk that covers the same offsets and has no records."""
    return replace(
        chunk,
        records=[],
        ids=[],
        timestamps=[],
        x_BF=chunk.x_BF[:0],
        rejections=[],
        num_records=0,
        num_bytes=0,
        keys={},
        deadlines={},
    )


def state_lost_error(partition: TopicPartition, state: CommittedState, difference: str) -> BrokerError:
    """Return the error for a replay that does not lead to what was committed.

    difference: what the replayed events did instead; continues the sentence "the events ...".
    """
    checkpoint = state.checkpoint
    return BrokerError(
        f"{partition_name(partition)}: the events from offset {checkpoint.replay_from} to {checkpoint.head} {difference}: "
        "some of them were deleted, or the topic was created again",
        kind="window_state_lost",
        remedy="check the topic's cleanup.policy and retention; to continue without the windows that were open, reset the "
        f"group's offset (kafka-consumer-groups --reset-offsets --to-offset {checkpoint.head})",
    )


def _num_records_before(chunk: Chunk, offset: int) -> int:
    """Return how many records of the chunk, events or not, have a smaller offset."""
    good = sum(1 for record in chunk.records if record.offset < offset)
    return good + sum(1 for rejection in chunk.rejections if rejection.record.offset < offset)
