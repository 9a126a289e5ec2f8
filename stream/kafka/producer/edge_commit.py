"""Commits reports of devices, each exactly once, whichever worker a device posts to and however often.

The number of the last report of a device is the committed offset of a group of its own, at the first partition of the outcome
deltas. It is committed in the transaction that holds the records of the report. The producer of a device has a transactional
id of its own: its start ends a transaction that another worker has left open, and fences that worker, so that the offset that
is read afterwards is final.

The cluster forgets the offset of a device that was silent for `offsets.retention.minutes` (7 days by default): a report that is
repeated after that time counts twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka import errors as kafka_errors
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import OffsetAndMetadata

RETRY_S: Final = 0.1
_COORDINATOR_MOVES: Final = (
    kafka_errors.CoordinatorLoadInProgressError,
    kafka_errors.CoordinatorNotAvailableError,
    kafka_errors.GroupCoordinatorNotAvailableError,
    kafka_errors.GroupLoadInProgressError,
    kafka_errors.NotCoordinatorError,
    kafka_errors.NotCoordinatorForGroupError,
)
"""The first group of a cluster, and a broker that stops, lead to these for a moment."""

Records = Sequence[tuple[str, bytes, bytes]]
"""Topic, key and value of each record."""


@dataclass(frozen=True, slots=True)
class EdgeCommitter:
    """Commits reports.

    options: from `client_options`.
    name: the start of the groups and transactional ids.
    topic: the topic at whose first partition the groups commit.
    """

    options: Mapping[str, object]
    name: str
    topic: str
    transaction_timeout_ms: int

    async def commit(self, device: str, number: int, records: Records) -> bool:
        """Write the records, and return whether they are new. Raises KafkaError; the caller limits the time.

        After an error or a timeout, the report may have been committed: the device posts it again, and learns it then.
        """
        name, place = f"{self.name}-{device}", TopicPartition(self.topic, 0)
        producer = AIOKafkaProducer(
            **self.options,
            acks="all",
            enable_idempotence=True,
            transactional_id=name,
            transaction_timeout_ms=self.transaction_timeout_ms,
        )
        await producer.start()
        try:
            if number <= await self._last_number(name, place):
                return False
            async with producer.transaction():
                sent = [await producer.send(topic, value, key) for topic, key, value in records]
                await asyncio.gather(*sent)
                await producer.send_offsets_to_transaction({place: OffsetAndMetadata(number, "")}, name)
            return True
        finally:
            await producer.stop()

    async def _last_number(self, group: str, place: TopicPartition) -> int:
        admin = AIOKafkaAdminClient(**self.options)
        await admin.start()
        try:
            while True:
                try:
                    found = await admin.list_consumer_group_offsets(group, partitions=[place])
                except _COORDINATOR_MOVES:
                    await asyncio.sleep(RETRY_S)
                else:
                    return found[place].offset if place in found else 0
        finally:
            await admin.close()
