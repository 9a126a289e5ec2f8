"""Restore the state of windows from committed offsets, for workers with and without windows."""

from __future__ import annotations

from collections.abc import Mapping

from forebay.schemas.errors import BrokerError
from forebay.stream.core.records import Chunk, Committed, TopicPartition
from forebay.stream.eventtime.checkpoint import FORMAT, CommittedState, MetadataError, decode


class WithoutWindows:
    """Restores a worker that predicts each event by itself: reading continues at the committed offsets."""

    def restore(self, committed: Mapping[TopicPartition, Committed | None]) -> dict[TopicPartition, int | None]:
        """Return the committed offsets. Raises BrokerError if the group has open windows."""
        for partition, offset in committed.items():
            state = None if offset is None else read_committed(partition, offset)
            if state is not None and state.checkpoint.replay_from < state.checkpoint.head:
                raise BrokerError(
                    f"{partition_name(partition)}: the group has open windows, and this worker is configured without windows",
                    kind="window_config_changed",
                    remedy="set window.kind as it was, or use another group_id",
                )
        return {partition: None if offset is None else offset.offset for partition, offset in committed.items()}


def read_committed(partition: TopicPartition, committed: Committed) -> CommittedState | None:
    """Return the state of windows at a committed offset; None if it has none or another program wrote its metadata.

    Raises BrokerError for metadata of a later version.
    """
    try:
        return decode(committed.offset, committed.metadata)
    except MetadataError:
        if committed.metadata.startswith("forebay"):
            raise BrokerError(
                f"{partition_name(partition)}: the metadata of the committed offset is {committed.metadata[:60]!r}; "
                f"this version reads {FORMAT}",
                kind="window_state_unknown",
                remedy="a later version of Forebay wrote it: upgrade this one, or use another group_id",
            ) from None
        return None


def partition_name(partition: TopicPartition) -> str:
    """Return `<topic>-<partition>`, for messages."""
    return f"{partition.topic}-{partition.partition}"


def split_at(chunk: Chunk, offset: int) -> tuple[Chunk | None, Chunk | None]:
    """Return the records before this offset and the others; None in place of a part without records."""
    num_before = _num_records_before(chunk, offset)
    if num_before == chunk.num_records:
        return chunk, None
    return chunk.split(num_before) if num_before else (None, chunk)


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
    if chunk.next_offset <= offset:
        return chunk.num_records
    good = sum(1 for record in chunk.records if record.offset < offset)
    return good + sum(1 for rejection in chunk.rejections if rejection.record.offset < offset)
