"""Start offsets of partitions, chosen here rather than by the client's reset policy, which would hide lost records."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as ClientTopicPartition

from forebay.schemas.errors import BrokerError
from forebay.stream.core.records import Committed, TopicPartition


@dataclass(frozen=True, slots=True)
class StartPolicy:
    """The start of partitions without a committed offset.

    reset: earliest, latest or none.
    from_timestamp_ms: overrides `reset` if it is set.
    """

    reset: str
    from_timestamp_ms: int | None = None


class OffsetRestorer(Protocol):
    """Chooses where to read from, given committed offsets: for windows over event time an earlier offset than committed."""

    def restore(self, committed: Mapping[TopicPartition, Committed | None]) -> dict[TopicPartition, int | None]:
        """Return the offset from which to read each partition. Raises BrokerError if reading must not continue."""


async def start_positions(
    consumer: AIOKafkaConsumer, committed: Mapping[TopicPartition, int | None], policy: StartPolicy
) -> dict[TopicPartition, int]:
    """Return the offset from which to read each partition. Raises BrokerError if records would be skipped."""
    if not committed:
        return {}
    partitions = [ClientTopicPartition(*partition) for partition in committed]
    first = await consumer.beginning_offsets(partitions)
    end = await consumer.end_offsets(partitions)
    positions: dict[TopicPartition, int] = {}
    unset: list[TopicPartition] = []
    for partition, offset in committed.items():
        if offset is None:
            unset.append(partition)
            continue
        name = f"{partition.topic}-{partition.partition}"
        start, stop = first[ClientTopicPartition(*partition)], end[ClientTopicPartition(*partition)]
        if offset < start:
            raise BrokerError(
                f"{name}: records {offset} to {start - 1} were deleted before they were read",
                kind="offset_out_of_range",
                remedy="raise the topic's retention; to continue without them, reset the group's offset "
                f"(kafka-consumer-groups --reset-offsets --to-offset {start})",
            )
        if offset > stop:
            raise BrokerError(
                f"{name}: the group is at offset {offset}, but the log ends at {stop}; was the topic created again?",
                kind="offset_out_of_range",
                remedy="use another group_id for the new topic, or reset the group's offset",
            )
        positions[partition] = offset
    if unset:
        positions.update(await _unset_positions(consumer, unset, policy=policy, first=first, end=end))
    return positions


def refuse_new_partitions(assigned: Collection[TopicPartition], topics: Mapping[str, int]) -> None:
    """Raise BrokerError if a topic has more partitions than in `topics`: outputs were assigned to partitions by that number."""
    for topic, number in sorted(assigned):
        if number >= topics[topic]:
            raise BrokerError(
                f"{topic} had {topics[topic]} partitions when the worker started, and now has a partition {number}",
                kind="partitions_added",
                remedy="restart the worker; to keep the order per key, add as many partitions to predictions and dead-letters",
            )


def out_of_range_error(positions: Mapping[ClientTopicPartition, int]) -> BrokerError:
    """Return the error for positions that a fetch found outside the log."""
    places = ", ".join(
        f"{partition.topic}-{partition.partition}@{offset}" for partition, offset in sorted(positions.items())
    )
    return BrokerError(
        f"the position is outside the log: {places}",
        kind="offset_out_of_range",
        remedy="records were deleted before they were read: raise the topic's retention; to continue without them, reset the "
        "group's offset (kafka-consumer-groups --reset-offsets --to-earliest)",
    )


async def _unset_positions(
    consumer: AIOKafkaConsumer,
    partitions: list[TopicPartition],
    policy: StartPolicy,
    first: Mapping[ClientTopicPartition, int],
    end: Mapping[ClientTopicPartition, int],
) -> dict[TopicPartition, int]:
    if policy.from_timestamp_ms is not None:
        by_time = await consumer.offsets_for_times(
            {ClientTopicPartition(*partition): policy.from_timestamp_ms for partition in partitions}
        )
        positions = {}
        for partition in partitions:
            first_since = by_time.get(ClientTopicPartition(*partition))
            positions[partition] = end[ClientTopicPartition(*partition)] if first_since is None else first_since.offset
        return positions
    if policy.reset == "none":
        partition = partitions[0]
        raise BrokerError(
            f"{partition.topic}-{partition.partition}: the group has no committed offset and input.auto_offset_reset is 'none'",
            kind="no_offset",
            remedy="set input.auto_offset_reset to earliest or latest, or commit an offset for the group first",
        )
    offsets = first if policy.reset == "earliest" else end
    return {partition: offsets[ClientTopicPartition(*partition)] for partition in partitions}
