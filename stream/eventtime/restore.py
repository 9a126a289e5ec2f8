"""What a committed offset says of windows, for a worker with windows and for one without."""

from __future__ import annotations

from collections.abc import Mapping

from forebay.schemas.errors import BrokerError
from forebay.stream.core.records import Chunk, Committed, TopicPartition
from forebay.stream.eventtime.checkpoint import FORMAT, NotUnderstood, State, decode


class WithoutWindows:
    """Goes on from the committed positions themselves, where each event is predicted by itself."""

    def restore(self, committed: Mapping[TopicPartition, Committed | None]) -> dict[TopicPartition, int | None]:
        """The committed positions. Raises BrokerError where windows are open."""
        for partition, found in committed.items():
            state = None if found is None else read_state(partition, found)
            if state is not None and state.checkpoint.replay_from < state.checkpoint.head:
                raise BrokerError(
                    f"{partition_name(partition)}: the group has windows open, and this worker is configured without",
                    kind="window_config_changed",
                    remedy="set window.kind as it was, or use another group_id",
                )
        return {partition: None if found is None else found.offset for partition, found in committed.items()}


def read_state(partition: TopicPartition, found: Committed) -> State | None:
    """What was committed of windows. Raises BrokerError for a later version's; what other programs wrote is none."""
    try:
        return decode(found.offset, found.metadata)
    except NotUnderstood:
        if found.metadata.startswith("forebay"):
            raise BrokerError(
                f"{partition_name(partition)}: the group's offset carries {found.metadata[:60]!r}, which is not {FORMAT}",
                kind="window_state_unknown",
                remedy="a later version of Forebay wrote it: upgrade this one, or use another group_id",
            ) from None
        return None


def partition_name(partition: TopicPartition) -> str:
    """`topic-number`."""
    return f"{partition.topic}-{partition.partition}"


def parted(chunk: Chunk, offset: int) -> tuple[Chunk | None, Chunk | None]:
    """The records before this offset and the others, None where there are none."""
    before = _count_before(chunk, offset)
    if before == chunk.num_records:
        return chunk, None
    return chunk.split(before) if before else (None, chunk)


def state_lost(partition: TopicPartition, state: State, instead: str) -> BrokerError:
    at = state.checkpoint
    return BrokerError(
        f"{partition_name(partition)}: the events from offset {at.replay_from} to {at.head} {instead}: "
        "some of them are gone, or the topic was created again",
        kind="window_state_lost",
        remedy="see the topic's cleanup.policy and retention; to go on without the windows that were open, reset the "
        f"group's offset (kafka-consumer-groups --reset-offsets --to-offset {at.head})",
    )


def _count_before(chunk: Chunk, head: int) -> int:
    """How many of its records, events or not, lie before this offset."""
    if chunk.next_offset <= head:
        return chunk.num_records
    good = sum(1 for record in chunk.records if record.offset < head)
    return good + sum(1 for rejection in chunk.rejections if rejection.record.offset < head)
