"""Where reading stands in each partition, against what may be read of it."""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer

from forebay.stream.core.records import PartitionLag, TopicPartition


async def read_partition_lags(consumer: AIOKafkaConsumer) -> dict[TopicPartition, PartitionLag]:
    """Of all assigned partitions, whose positions must be known. Raises KafkaError, TimeoutError.

    The ends are asked for, not taken from what was last fetched: a paused partition fetches nothing. For a consumer of
    committed records the brokers answer with the last stable offset, and for others with the high watermark.
    """
    assigned = consumer.assignment()
    if not assigned:
        return {}
    ends = await consumer.end_offsets(list(assigned))
    still = consumer.assignment()
    return {
        TopicPartition(*one): PartitionLag(await consumer.position(one), end)
        for one, end in ends.items()
        if one in still
    }
