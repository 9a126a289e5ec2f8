"""Where reading starts, decided by us and not by the client's reset policy, which would hide lost ranges."""

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
    """For partitions without a committed offset. reset: earliest | latest | none; from_timestamp_ms goes before it."""

    reset: str
    from_timestamp_ms: int | None = None


class OffsetRestorer(Protocol):
    """What goes on from a committed position: windows over event time, or nothing (`stream.eventtime.stage`)."""

    def restore(self, committed: Mapping[TopicPartition, Committed | None]) -> dict[TopicPartition, int | None]:
        """Where reading goes on, by what is committed. Raises BrokerError where it must not."""


async def start_positions(
    consumer: AIOKafkaConsumer, committed: Mapping[TopicPartition, int | None], policy: StartPolicy
) -> dict[TopicPartition, int]:
    """The offset to read from, for each partition. Raises BrokerError where going on would skip records unseen."""
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
                remedy="raise the topic's retention; to go on without them, reset the group's offset "
                f"(kafka-consumer-groups --reset-offsets --to-offset {start})",
            )
        if offset > stop:
            raise BrokerError(
                f"{name}: the group is at offset {offset}, but the log ends at {stop}; was the topic created anew?",
                kind="offset_out_of_range",
                remedy="use another group_id for the new topic, or reset the group's offset",
            )
        positions[partition] = offset
    if unset:
        positions.update(await _unset_positions(consumer, unset, policy=policy, first=first, end=end))
    return positions


def refuse_new_partitions(assigned: Collection[TopicPartition], topics: Mapping[str, int]) -> None:
    """Raise BrokerError if a topic has more partitions than `topics` says: where outputs go was decided by that number."""
    for topic, number in sorted(assigned):
        if number >= topics[topic]:
            raise BrokerError(
                f"{topic} had {topics[topic]} partitions when the worker started, and now there is a number {number}",
                kind="partitions_added",
                remedy="start the worker again; for the order per key, give predictions and dead-letters as many",
            )


def out_of_range_error(positions: Mapping[ClientTopicPartition, int]) -> BrokerError:
    """Return the error for positions that the log does not hold any more, found while reading."""
    places = ", ".join(f"{place.topic}-{place.partition}@{offset}" for place, offset in sorted(positions.items()))
    return BrokerError(
        f"the position is outside the log: {places}",
        kind="offset_out_of_range",
        remedy="records were deleted before they were read: raise the topic's retention; to go on without them, reset the "
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
        found = await consumer.offsets_for_times(
            {ClientTopicPartition(*partition): policy.from_timestamp_ms for partition in partitions}
        )
        positions = {}
        for partition in partitions:
            at = found.get(ClientTopicPartition(*partition))
            positions[partition] = end[ClientTopicPartition(*partition)] if at is None else at.offset
        return positions
    if policy.reset == "none":
        one = partitions[0]
        raise BrokerError(
            f"{one.topic}-{one.partition}: the group has no committed offset and input.auto_offset_reset is 'none'",
            kind="no_offset",
            remedy="set input.auto_offset_reset to earliest or latest, or commit an offset for the group first",
        )
    chosen = first if policy.reset == "earliest" else end
    return {partition: chosen[ClientTopicPartition(*partition)] for partition in partitions}
