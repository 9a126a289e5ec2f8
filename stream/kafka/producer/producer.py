"""The producer of outputs: it sends whole record batches and awaits every delivery."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    InvalidTimestampError,
    InvalidTransactionTimeout,
    KafkaError,
    ProducerClosed,
    TransactionalIdAuthorizationFailed,
)
from aiokafka.partitioner import murmur2

from forebay.schemas.errors import BrokerError
from forebay.stream.core.backoff import Backoff
from forebay.stream.core.cancellation import within
from forebay.stream.core.outputs import Outgoing
from forebay.stream.core.records import TopicPartition
from forebay.stream.core.retry import retry, warn_sparsely
from forebay.stream.core.time_format import rfc3339
from forebay.stream.kafka.cluster.advertised_listeners import find_unreachable
from forebay.stream.kafka.cluster.authorization_errors import explain_authorization_error
from forebay.stream.kafka.producer.column_batch import BatchOptions, next_batch

log = logging.getLogger("forebay.kafka.producer")

MAX_CONNECT_S = 30.0
METADATA_TIMEOUT_S = 1.0


def hash_key(key: bytes) -> int:
    """Return the hash of Kafka's default partitioner: murmur2, with the sign bit cleared."""
    return int(murmur2(key)) & 0x7FFFFFFF


@dataclass(frozen=True, slots=True)
class TransactionSettings:
    """The transactional id of a producer. timeout_ms: the coordinator aborts a transaction that is open for longer."""

    id: str
    timeout_ms: int


class OutputProducer:
    """An idempotent producer, which is replaced as a whole after any failure.

    options: from `client_options`.
    max_batch_bytes: the size limit of a record batch before compression.
    transactional: for transactions. Each replacement has the same transactional id, so that its start ends a transaction that
    its predecessor left open.
    timestamp_bounds: a description of each topic's bounds, for the message that a timestamp was refused.
    """

    def __init__(
        self,
        options: Mapping[str, object],
        *,
        compression_type: str | None,
        max_batch_bytes: int,
        transactional: TransactionSettings | None = None,
        backoff: Backoff | None = None,
        timestamp_bounds: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._timestamp_bounds = timestamp_bounds
        self._backoff = backoff or Backoff()
        self._client = dict(options)
        self._options = dict(options)
        self.transactional_id = None if transactional is None else transactional.id
        if transactional is not None:
            self._options |= {
                "transactional_id": transactional.id,
                "transaction_timeout_ms": transactional.timeout_ms,
            }
        self._batch_options = BatchOptions(
            compression_type, max_batch_bytes, is_transactional=transactional is not None
        )
        self._producer: AIOKafkaProducer | None = None

    async def start(self) -> None:
        """Connect. Raises KafkaError."""
        producer = AIOKafkaProducer(
            **self._options,
            acks="all",
            enable_idempotence=True,
            compression_type=self._batch_options.compression_type,
            max_batch_size=self._batch_options.max_bytes,
            max_request_size=self._batch_options.max_bytes,
        )
        self._producer = producer
        try:
            await producer.start()
        except BaseException:
            await self.abandon()
            raise

    @property
    def producer(self) -> AIOKafkaProducer:
        """The current producer. Raises KafkaError while it is being replaced."""
        if self._producer is None:
            raise ProducerClosed("the producer was abandoned and its successor has not started yet")
        return self._producer

    async def restart(self) -> None:
        """Replace the failed producer by a new one. Retries while the cluster is unreachable."""
        await self.abandon()

        async def start() -> None:
            async with asyncio.timeout(MAX_CONNECT_S):
                await self.start()

        await retry(
            start,
            should_retry=lambda error, _failures: isinstance(error, KafkaError | TimeoutError),
            wait_s=self._backoff.wait_s,
            on_retry=warn_sparsely(log, "cannot reach the cluster, trying again: %s"),
        )

    async def send(self, outgoing: Mapping[TopicPartition, Outgoing], *, timestamp_ms: int) -> None:
        """Send all records and wait until the brokers have them. Raises KafkaError; it is then unknown which arrived.

        timestamp_ms: the timestamp of the records, in ms since the Unix epoch.
        """
        try:
            async with asyncio.TaskGroup() as group:
                for partition, records in outgoing.items():
                    group.create_task(self._send_partition(partition, records, timestamp_ms))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _send_partition(self, partition: TopicPartition, records: Outgoing, timestamp_ms: int) -> None:
        producer = self.producer
        deliveries = []
        start = 0
        while start < len(records.values):
            batch, start = next_batch(records, start, self._batch_options, timestamp_ms=timestamp_ms)
            delivery = await producer.send_batch(batch, partition.topic, partition=partition.partition)
            delivery.add_done_callback(_retrieve)  # if another fails first, this one is never awaited
            deliveries.append(delivery)
            await asyncio.sleep(0)  # each batch is compressed in one step: let other tasks run in between
        for delivery in deliveries:
            try:
                await delivery
            except InvalidTimestampError as error:
                bounds = self._timestamp_bounds.get(partition.topic, "the topic has its own bounds")
                raise InvalidTimestampError(
                    f"{partition.topic} refused the timestamp {rfc3339(timestamp_ms)} from this worker's clock: it is too "
                    f"far from the broker's time ({bounds})"
                ) from error

    async def missing_topics(self, partitions: Collection[TopicPartition]) -> set[str]:
        """Return the topics that the cluster reports as missing; nothing if it does not answer."""
        with contextlib.suppress(KafkaError, TimeoutError):
            async with asyncio.timeout(METADATA_TIMEOUT_S):
                cluster = await self.producer.client.fetch_all_metadata()
            return {partition.topic for partition in partitions} - set(cluster.topics())
        return set()

    def explain(self, error: BaseException) -> BrokerError | None:
        """Return an error that names what the cluster refused and the remedy; None if `error` does not say."""
        return explain_refusal(error)

    async def find_unreachable(self) -> BrokerError | None:
        """Return the problem with the connection to the cluster; None if all brokers answer."""
        return await find_unreachable(self._client)

    async def stop(self, *, timeout_s: float) -> None:
        """Close the producer, which has nothing left to send; abandon it if that takes longer than `timeout_s`.

        Raises nothing: the client would raise what became of a commit that is abandoned here, such as ProducerFenced.
        """
        if self._producer is not None:
            with contextlib.suppress(TimeoutError, KafkaError):
                async with asyncio.timeout(timeout_s):
                    await self._producer.stop()
            await self.abandon()

    async def abandon(self) -> None:
        """Drop the producer without waiting for pending responses."""
        producer, self._producer = self._producer, None
        if producer is None:
            return
        # Before the first await, where this may be cancelled: the finalizer would report a producer that was never closed.
        producer._closed = True
        sender, transactions = producer._sender, producer._txn_manager
        if transactions is not None and transactions._transaction_waiter is not None:
            transactions._transaction_waiter.add_done_callback(_retrieve)
        task = None if sender is None else sender.sender_task
        if task is not None:
            task.add_done_callback(_retrieve)
        try:
            if task is not None and not task.done():
                task.cancel()
                await asyncio.wait([task], timeout=1.0)
        finally:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(1.0):
                    await producer.client.close()


async def connect(producer: OutputProducer, bootstrap_servers: str, *, timeout_s: float) -> None:
    """Start the producer. Raises BrokerError with the cause and its remedy."""
    try:
        await within(timeout_s, producer.start())
    except InvalidTransactionTimeout as error:
        raise BrokerError(
            "the cluster does not allow transactions that long",
            kind="transaction_timeout",
            remedy="lower delivery.transaction_timeout_ms to the brokers' transaction.max.timeout.ms",
        ) from error
    except TransactionalIdAuthorizationFailed as error:
        raise BrokerError(
            f"not allowed: WRITE on the transactional-id {producer.transactional_id}",
            kind="authorization",
            remedy="allow this user WRITE on the transactional ids that begin with delivery.transactional_id_prefix and "
            "the group (`forebay acls worker` prints all that is needed), or set delivery.processing_guarantee to "
            "at_least_once",
        ) from error
    except TimeoutError as error:
        raise await producer.find_unreachable() or BrokerError(
            f"Kafka at {bootstrap_servers} gave no producer id within {timeout_s:g} s",
            kind="unreachable",
            remedy="check that at least transaction.state.log.replication.factor brokers run",
        ) from error
    except KafkaError as error:
        raise BrokerError(
            f"cannot reach Kafka at {bootstrap_servers}: {error}",
            kind="unreachable",
            remedy="check that the broker runs and that kafka.bootstrap_servers and the security settings are right "
            "(`forebay check` reports more)",
        ) from error


def explain_refusal(error: BaseException) -> BrokerError | None:
    """Return an error that names why the cluster refused records; None if `error` does not say."""
    if isinstance(error, InvalidTimestampError):
        # The timestamps of outputs come from this machine's clock.
        return BrokerError(
            str(error),
            kind="wrong_clock",
            remedy="set the clocks of this machine and of the brokers (NTP), or raise the topics' "
            "message.timestamp.after.max.ms and message.timestamp.before.max.ms",
        )
    return explain_authorization_error(error, "WRITE")


def _retrieve(future: asyncio.Future[object]) -> None:
    """Retrieve the exception of a future, so that asyncio does not log it as never retrieved."""
    if not future.cancelled():
        future.exception()
