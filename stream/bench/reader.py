"""A reader of predictions like any subscriber: read_committed, from the topic's beginning, without a group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from forebay.stream.kafka.patches.fetch_pacing import pace_fetches

_IDLE_WAIT_S: Final = 0.001
"""Pause between fetches from a broker without long polling. Short, so that it does not add to the measured latency."""


class PredictionReader:
    """Reads one topic. options: options of the Kafka client."""

    def __init__(self, options: Mapping[str, object], topic: str, num_partitions: int) -> None:
        self._consumer = AIOKafkaConsumer(
            **options, group_id=None, enable_auto_commit=False, isolation_level="read_committed"
        )
        self._partitions = [TopicPartition(topic, number) for number in range(num_partitions)]

    async def start(self) -> None:
        """Connect and seek to the beginning. Raises KafkaError."""
        await self._consumer.start()
        pace_fetches(self._consumer, _IDLE_WAIT_S)
        self._consumer.assign(self._partitions)
        await self._consumer.seek_to_beginning(*self._partitions)

    async def poll(self, *, timeout_s: float, max_records: int) -> list[Sequence[Any]]:
        """Return the next records, by partition; wait at most `timeout_s` for the first. Must not be cancelled."""
        polled: dict[Any, list[Any]] = await self._consumer.getmany(
            timeout_ms=timeout_s * 1000, max_records=max_records
        )
        return list(polled.values())

    async def stop(self) -> None:
        """Close the client."""
        await self._consumer.stop()
