"""A member of a group with its transactional producer: the Kafka edge of a worker, without the worker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer

from forebay.stream.core.outputs import Outgoing
from forebay.stream.core.records import Epoch, TopicPartition
from forebay.stream.eventtime.restore import WithoutWindows
from forebay.stream.kafka.consumer.source import Source
from forebay.stream.kafka.consumer.start_offsets import StartPolicy
from forebay.stream.kafka.producer.producer import OutputProducer, TransactionSettings
from forebay.stream.kafka.producer.transaction import Transaction
from tests.eventually import eventually

WAIT_S = 60.0


class Member:
    """`source`, `output_producer` and `transaction` as in a worker, except that the client side refuses no epoch."""

    def __init__(self, bootstrap: str, group_id: str, topic: str, *, transactional_id: str) -> None:
        self.consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap,
            group_id=group_id,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            session_timeout_ms=6000,
            heartbeat_interval_ms=300,
        )
        self.failures: list[BaseException] = []
        self.source = Source(
            self.consumer,
            topics={topic: 1},
            group_id=group_id,
            policy=StartPolicy("earliest"),
            restorer=WithoutWindows(),
            on_revoked=self._revoked,
            on_fatal=self.failures.append,
        )
        self.output_producer = OutputProducer(
            {"bootstrap_servers": bootstrap},
            compression_type=None,
            max_batch_bytes=1 << 20,
            transactional=TransactionSettings(transactional_id, 60_000),
        )
        self.transaction = Transaction(self.output_producer, group_id=group_id, is_current=lambda _epoch: True)

    async def _revoked(self) -> None:
        """Do nothing, because nothing is in flight."""

    @property
    def generation(self) -> int:
        """The client's generation, which may be ahead of the source's epoch."""
        return int(self.consumer._coordinator.generation)

    async def epoch(self, *, after: Epoch | None = None) -> Epoch:
        """Wait for an epoch other than `after`, and return it."""

        async def current() -> Epoch | None:
            if (epoch := self.source.epoch) is None or epoch == after:
                # The client rejoins only while it is polled.
                await self.source.poll(timeout_s=0, max_records=1)
            return epoch

        epoch = await eventually(
            current, f"another epoch than {after}", until=lambda seen: seen not in (None, after), timeout_s=WAIT_S
        )
        assert epoch is not None
        return epoch

    async def send(self, to: TopicPartition, value: bytes) -> None:
        """Begin a transaction of the group, and deliver one record in it."""
        await self.transaction.begin([to])
        await self.transaction.add_group()
        await self.output_producer.send({to: Outgoing([b"k"], [value], [[]])}, timestamp_ms=1_790_000_000_000)


@asynccontextmanager
async def member(bootstrap: str, group_id: str, topic: str, *, transactional_id: str) -> AsyncIterator[Member]:
    """Yield a started member, which may not have its first epoch yet."""
    one = Member(bootstrap, group_id, topic, transactional_id=transactional_id)
    try:
        await one.output_producer.start()
        await one.source.start()
        yield one
    finally:
        await one.source.stop(timeout_s=5)
        await one.output_producer.stop(timeout_s=5)
    assert not one.failures, one.failures
