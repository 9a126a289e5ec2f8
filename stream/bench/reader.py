"""Predictions as a subscriber sees them: read_committed, from the topic's beginning, in no group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from forebay.stream.kafka.patches.fetch_pacing import pace_fetches

_IDLE_WAIT_S: Final = 0.001
"""How often a broker without long polls is asked: what is measured must not be this reader's own pause."""


class PredictionReader:
    """Reads one topic. options: for the client."""

    def __init__(self, options: Mapping[str, object], topic: str, num_partitions: int) -> None:
        self._consumer = AIOKafkaConsumer(
            **options, group_id=None, enable_auto_commit=False, isolation_level="read_committed"
        )
        self._partitions = [TopicPartition(topic, number) for number in range(num_partitions)]

    async def start(self) -> None:
        """Raises KafkaError."""
        await self._consumer.start()
        pace_fetches(self._consumer, _IDLE_WAIT_S)
        self._consumer.assign(self._partitions)
        await self._consumer.seek_to_beginning(*self._partitions)

    async def poll(self, *, timeout_s: float, max_records: int) -> list[Sequence[Any]]:
        """What can be read now, partition by partition; waits `timeout_s` for the first. Never cancel it."""
        polled: dict[Any, list[Any]] = await self._consumer.getmany(
            timeout_ms=timeout_s * 1000, max_records=max_records
        )
        return list(polled.values())

    async def stop(self) -> None:
        await self._consumer.stop()
