"""Positions of a consumer's assigned partitions, read from the client's subscription without a request."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as ClientTopicPartition

from forebay.stream.core.records import TopicPartition

AT_END_WITHIN_MS: Final = 3_000


def known_positions(consumer: AIOKafkaConsumer) -> dict[TopicPartition, int]:
    """Return the position of each assigned partition for which it is known."""
    assignment = consumer._subscription.subscription.assignment
    states = {partition: assignment.state_value(partition) for partition in consumer.assignment()}
    return {
        TopicPartition(*partition): state.position for partition, state in states.items() if state.has_valid_position
    }


def all_positions(consumer: AIOKafkaConsumer) -> dict[TopicPartition, int] | None:
    """Return the position of each assigned partition; None if one of them is unknown."""
    positions = known_positions(consumer)
    return positions if len(positions) == len(consumer.assignment()) else None


def partitions_of(topics: frozenset[str] | None, counts: Mapping[str, int]) -> list[ClientTopicPartition]:
    """Return all partitions of these topics; for None an empty list, which the client takes for all it is assigned.

    counts: the number of partitions of each topic.
    """
    if topics is None:
        return []
    return [ClientTopicPartition(topic, number) for topic in topics for number in range(counts[topic])]


def is_at_end(consumer: AIOKafkaConsumer, partition: TopicPartition) -> bool:
    """Return whether a response within the last `AT_END_WITHIN_MS` shows that everything in the partition's log has been read.

    The end is the high watermark. Records that are committed behind another producer's open transaction lie beyond the last
    stable offset and cannot be read yet, but they exist. Positions pass aborted records and transaction markers.
    """
    client_partition = ClientTopicPartition(*partition)
    if not consumer._subscription.is_assigned(client_partition):
        return False
    state = consumer._subscription.subscription.assignment.state_value(client_partition)
    answered_ms = consumer.last_poll_timestamp(client_partition)
    if answered_ms is None or not state.has_valid_position:
        return False
    end = state.highwater
    return end is not None and state.position >= end and _now_ms() - answered_ms <= AT_END_WITHIN_MS


def _now_ms() -> float:
    # The machine's clock rather than one that is passed in: the client stamps its responses with it.
    return time.time() * 1000
