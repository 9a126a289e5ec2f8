"""A producer for one topic that sends whole record batches, confirms every delivery and bounds the batches in flight."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError
from aiokafka.partitioner import murmur2

from forebay.schemas.errors import BrokerError
from forebay.stream.core.cancellation import within
from forebay.stream.core.quantities import quantity
from forebay.stream.kafka.cluster.advertised_listeners import find_unreachable, require_reachable
from forebay.stream.kafka.cluster.authorization_errors import explain_authorization_error
from forebay.stream.output.encoder import record_size

MAX_REQUEST_BYTES: Final = 1_048_576
MAX_BATCHES_IN_FLIGHT: Final = 32
DELIVERY_TIMEOUT_S: Final = 60.0
START_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 5.0
_REMEMBERED_KEYS: Final = 65_536

Headers = Sequence[tuple[str, bytes]]
AnyRecord = tuple[bytes | None, bytes | None, Sequence[tuple[str, bytes | None]]]
"""Key, value and headers."""


class Publisher:
    """An idempotent producer for one topic.

    options: for the client (see `kafka.client`). A record with a key goes to the partition that Kafka's default
    partitioner chooses, as with other producers; records without a key go to the partitions in turn. The order per partition
    is the order of `send`. Not for concurrent use by several tasks.
    """

    def __init__(
        self,
        options: Mapping[str, object],
        topic: str,
        *,
        compression_type: str | None = None,
        delivery_timeout_s: float = DELIVERY_TIMEOUT_S,
    ) -> None:
        self._options = dict(options)
        self._topic = topic
        self._compression_type = compression_type
        self._delivery_timeout_s = delivery_timeout_s
        self._producer: Any = None
        self._partitions: list[int] = []
        self._next = 0
        self._in_flight: deque[tuple[asyncio.Future[Any], int]] = deque()
        self._hash = lru_cache(_REMEMBERED_KEYS)(murmur2)
        self.partition_counts: Mapping[str, int] = {}
        """Number of partitions of each topic that this user may see; empty before `start`."""
        self.num_delivered = 0
        """Records that the brokers have confirmed."""
        self.last_delivery: tuple[int, int] | None = None
        """Partition and first offset of the last confirmed batch."""

    @property
    def partitions(self) -> Sequence[int]:
        """The numbers of the topic's partitions, ascending; empty before `start`."""
        return self._partitions

    async def start(self) -> None:
        """Connect and find the topic's partitions. Raises BrokerError."""
        await require_reachable(self._options)
        self._producer = AIOKafkaProducer(
            **self._options,
            acks="all",
            enable_idempotence=True,
            compression_type=self._compression_type,
            max_batch_size=MAX_REQUEST_BYTES,
            max_request_size=MAX_REQUEST_BYTES,
        )
        try:
            await within(START_TIMEOUT_S, self._connect())
        except KafkaError as error:
            await self.stop()
            raise explain_authorization_error(error, "WRITE", self._topic) or BrokerError(
                f"cannot reach Kafka at {self._options.get('bootstrap_servers')}: {error}",
                kind="unreachable",
                remedy="check that the broker runs there (`forebay check` reports more), or set --bootstrap-server",
            ) from error
        except TimeoutError:
            await self.stop()
            raise await find_unreachable(self._options) or BrokerError(
                f"Kafka at {self._options.get('bootstrap_servers')} did not answer within {START_TIMEOUT_S:g} s",
                kind="unreachable",
                remedy="`forebay check` reports more",
            ) from None
        except BaseException:
            await self.stop()
            raise

    async def _connect(self) -> None:
        await self._producer.start()
        await self._find_partitions()

    async def _find_partitions(self) -> None:
        # A request that names the topic would create it on clusters with automatic topic creation.
        cluster = await self._producer.client.fetch_all_metadata()
        partitions = cluster.partitions_for_topic(self._topic)
        if not partitions:
            near = get_close_matches(self._topic, cluster.topics(), n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise BrokerError(
                f"there is no topic {self._topic!r}",
                kind="unknown_topic",
                remedy=hint + "`forebay topics create` creates all topics that Forebay needs; a topic "
                "that this user may not WRITE to looks the same (`forebay acls`)",
            )
        self._partitions = sorted(partitions)
        self.partition_counts = {name: len(cluster.partitions_for_topic(name) or ()) for name in cluster.topics()}

    async def send(
        self,
        keys: Sequence[bytes | None],
        values: Sequence[bytes],
        *,
        timestamp_ms: int,
        headers: Headers = (),
        partitions: Sequence[int | None] | None = None,
    ) -> None:
        """Send records in order; wait while too many batches are in flight.

        timestamp_ms, headers: those of every record; the timestamp is in ms since the Unix epoch.
        partitions: of each record, None where its key decides; None if the keys of all decide.
        Each record must fit into a request (see `oversize`). Raises BrokerError when a delivery fails or takes too long; it is
        then unknown which of the records in flight arrived.
        """
        try:
            async with asyncio.timeout(self._delivery_timeout_s):
                header_list = list(headers)
                for partition, indices in self._by_partition(keys, partitions).items():
                    records = ((keys[index], values[index], header_list) for index in indices)
                    await self._send_partition(partition, records, timestamp_ms)
                await self._confirm_done()
        except (KafkaError, TimeoutError) as error:
            raise await self._delivery_error(error) from error

    async def send_to(self, partition: int, records: Iterable[AnyRecord], *, timestamp_ms: int) -> None:
        """Send records to one partition, whatever their keys; their values may be None. Otherwise as `send`."""
        try:
            async with asyncio.timeout(self._delivery_timeout_s):
                # The client's batch builder accepts headers only as a list.
                with_lists = ((key, value, list(headers)) for key, value, headers in records)
                await self._send_partition(partition, with_lists, timestamp_ms)
                await self._confirm_done()
        except (KafkaError, TimeoutError) as error:
            raise await self._delivery_error(error) from error

    async def flush(self) -> None:
        """Wait until the brokers have confirmed everything that was sent. Raises BrokerError as `send` does."""
        try:
            async with asyncio.timeout(self._delivery_timeout_s):
                while self._in_flight:
                    await self._confirm_oldest()
        except (KafkaError, TimeoutError) as error:
            raise await self._delivery_error(error) from error

    def _by_partition(
        self, keys: Sequence[bytes | None], partitions: Sequence[int | None] | None
    ) -> dict[int, list[int]]:
        """Return the indices of the keys, grouped by partition."""
        indices: dict[int, list[int]] = {}
        for index, key in enumerate(keys):
            partition = None if partitions is None else partitions[index]
            indices.setdefault(self.choose_partition(key) if partition is None else partition, []).append(index)
        return indices

    def choose_partition(self, key: bytes | None) -> int:
        """Return the partition for the next record: by its key, or the next in turn if it has no key."""
        partitions, count = self._partitions, len(self._partitions)
        if key is not None:
            return partitions[(int(self._hash(key)) & 0x7FFFFFFF) % count]
        self._next += 1
        return partitions[(self._next - 1) % count]

    async def _send_partition(self, partition: int, records: Iterable[AnyRecord], timestamp_ms: int) -> None:
        producer = self._producer
        builder = producer.create_batch()
        for key, value, headers in records:
            record = {"timestamp": timestamp_ms, "key": key, "value": value, "headers": headers}
            if builder.append(**record) is None:
                await self._submit(builder, partition)
                builder = producer.create_batch()
                builder.append(**record)
        await self._submit(builder, partition)

    async def _submit(self, builder: Any, partition: int) -> None:
        count = builder.record_count()
        delivery = await self._producer.send_batch(builder, self._topic, partition=partition)
        self._in_flight.append((delivery, count))

    async def _confirm_done(self) -> None:
        """Confirm the deliveries that are done, and wait for more while too many are in flight."""
        while len(self._in_flight) > MAX_BATCHES_IN_FLIGHT:
            await self._confirm_oldest()
        while self._in_flight and self._in_flight[0][0].done():
            await self._confirm_oldest()

    async def _confirm_oldest(self) -> None:
        delivery, count = self._in_flight[0]
        metadata = await delivery
        self._in_flight.popleft()
        self.num_delivered += count
        self.last_delivery = (metadata.partition, metadata.offset)

    async def _delivery_error(self, error: BaseException) -> BrokerError:
        if (refusal := explain_authorization_error(error, "WRITE", self._topic)) is not None:
            return refusal
        reason, remedy = str(error) or f"no answer within {self._delivery_timeout_s:g} s", "check the broker's log"
        if isinstance(error, TimeoutError | KafkaTimeoutError):
            cause = await find_unreachable(self._options)
            if cause is not None:
                reason, remedy = f"{reason}: {cause.message}", cause.remedy or remedy
        unknown = sum(count for _, count in self._in_flight)
        return BrokerError(
            f"publishing to {self._topic} failed: {reason}; {quantity(self.num_delivered, 'event')} delivered before, "
            f"{unknown:,} more possibly delivered",
            kind="delivery",
            remedy=f"{remedy}; publishing again can duplicate events that were delivered",
        )

    async def stop(self) -> None:
        """Close the connections. Batches in flight are abandoned, without waiting for an unreachable cluster."""
        producer, self._producer = self._producer, None
        if producer is None:
            return
        for delivery, _ in self._in_flight:
            delivery.add_done_callback(_ignore_exception)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await producer.stop()
                return
        # An idempotent producer retries forever: its task must end before its connections can be closed.
        task = producer._sender.sender_task
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=1.0)
        with contextlib.suppress(TimeoutError, KafkaError, OSError):
            async with asyncio.timeout(1.0):
                await producer.client.close()


def _ignore_exception(delivery: asyncio.Future[Any]) -> None:
    """Retrieve the exception of an abandoned delivery, so that asyncio does not report it as never retrieved."""
    if not delivery.cancelled():
        delivery.exception()


def oversize(key: bytes | None, value: bytes, headers: Headers) -> int | None:
    """Return the size in bytes of a record that does not fit into a request; None if it fits."""
    size = record_size(key, value, headers)
    return size if size > MAX_REQUEST_BYTES else None
