"""Partitions of a consumer that are held: reading stops before a record until it is released, while others are read.

Holds belong to the epoch in which they began. A rewind or an assignment ends them: the records are read and held again.
"""

from __future__ import annotations

from collections.abc import Callable

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as ClientTopicPartition

from forebay.stream.core.records import TopicPartition


class HeldPartitions:
    """Holds partitions of an open assignment.

    is_paused: whether reading is paused for all partitions.
    """

    def __init__(self, consumer: AIOKafkaConsumer, *, is_paused: Callable[[], bool]) -> None:
        self._consumer = consumer
        self._is_paused = is_paused
        self._held: set[ClientTopicPartition] = set()

    def hold(self, partition: TopicPartition, offset: int) -> None:
        """Return to an offset that was read already, and read no further."""
        client_partition = ClientTopicPartition(*partition)
        self._held.add(client_partition)
        # The client drops what it has fetched beyond the new position.
        self._consumer.pause(client_partition)
        self._consumer.seek(client_partition, offset)

    def is_held(self, partition: TopicPartition) -> bool:
        """Return whether a partition is held."""
        return ClientTopicPartition(*partition) in self._held

    def release(self, partition: TopicPartition) -> None:
        """Read a partition again. Does nothing if it is not held."""
        client_partition = ClientTopicPartition(*partition)
        if client_partition in self._held:
            self._held.remove(client_partition)
            if not self._is_paused():
                self._consumer.resume(client_partition)

    def forget(self) -> None:
        """End all holds, because positions are sought again."""
        self._held.clear()

    def others(self) -> set[ClientTopicPartition]:
        """Return the assigned partitions that are not held."""
        return set(self._consumer.assignment()) - self._held
