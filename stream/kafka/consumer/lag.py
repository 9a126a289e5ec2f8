"""The lag of each assigned partition, from the current end offsets."""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer

from forebay.stream.core.records import PartitionLag, TopicPartition


async def read_partition_lags(consumer: AIOKafkaConsumer) -> dict[TopicPartition, PartitionLag]:
    """Return the lag of all assigned partitions, whose positions must be known. Raises KafkaError, TimeoutError.

    The end offsets are requested rather than taken from the last fetch, since a paused partition fetches nothing. For
    `read_committed` consumers they are the last stable offsets, for others the high watermarks.
    """
    assigned = consumer.assignment()
    if not assigned:
        return {}
    ends = await consumer.end_offsets(list(assigned))
    assigned = consumer.assignment()  # it may have changed meanwhile
    return {
        TopicPartition(*partition): PartitionLag(await consumer.position(partition), end)
        for partition, end in ends.items()
        if partition in assigned
    }
