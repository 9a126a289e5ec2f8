"""The producer of a simulated process, in the place of `AIOKafkaProducer`.

The client's own sender and transaction manager run here, over simulated connections. Only the accumulator of batches is
scripted: each batch is sent at once and repeated until it is delivered.
"""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, Final

from aiokafka import TopicPartition as ClientTopicPartition
from aiokafka.errors import IllegalOperation, KafkaError, ProducerClosed, for_code
from aiokafka.producer.sender import Sender
from aiokafka.producer.transaction_manager import TransactionManager
from aiokafka.record.default_records import DefaultRecordBatch

from forebay.stream.core.records import TopicPartition
from tests.simulation.faults import Kind
from tests.simulation.network import Connection, SimulatedClient

RETRY_S: Final = 0.05
MAX_TRIES: Final = 20


class _Deliveries:
    """The batches that are on their way, in the place of the client's accumulator."""

    def __init__(self) -> None:
        self.tasks: set[asyncio.Task[None]] = set()
        self.failure: BaseException | None = None

    def drain_by_nodes(self, **options: Any) -> tuple[dict[Any, Any], bool]:
        return {}, False

    def waiter(self) -> asyncio.Future[None]:
        return asyncio.get_running_loop().create_future()

    async def flush_for_commit(self) -> None:
        if self.tasks:
            await asyncio.wait(set(self.tasks))

    def fail_all(self, error: BaseException) -> None:
        self.failure = error
        for task in self.tasks:
            task.cancel()


class _Batch:
    """A record batch. records: (timestamp, key, value, headers) of each record."""

    def __init__(self, raw: bytes) -> None:
        self.records = [(r.timestamp, r.key, r.value, list(r.headers)) for r in DefaultRecordBatch(raw)]


class SimulatedProducer:
    """Stands for a transactional `AIOKafkaProducer`. simulated: the connection of its process."""

    def __init__(
        self, *, simulated: Connection, transactional_id: str, transaction_timeout_ms: int, **options: Any
    ) -> None:
        self._connection = simulated
        self._closed = False
        self.client = SimulatedClient(simulated)
        self._txn_manager = TransactionManager(transactional_id, transaction_timeout_ms)
        self._deliveries = _Deliveries()
        self._sender = Sender(
            self.client,
            acks=-1,
            txn_manager=self._txn_manager,
            message_accumulator=self._deliveries,
            retry_backoff_ms=int(RETRY_S * 1000),
            request_timeout_ms=3000,
        )

    async def start(self) -> None:
        await self._sender.start()

    async def stop(self) -> None:
        self._closed = True
        await self._deliveries.flush_for_commit()
        await self._sender.close()
        await self.client.close()

    async def send_batch(self, built: Any, topic: str, *, partition: int) -> asyncio.Future[None]:
        if self._closed:
            raise ProducerClosed
        if not self._txn_manager.is_in_transaction():
            raise IllegalOperation("not in a transaction")
        batch = _Batch(bytes(built._build()))
        place = ClientTopicPartition(topic, partition)
        sequence = self._txn_manager.sequence_number(place)
        self._txn_manager.increment_sequence_number(place, len(batch.records))
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(self._deliver(batch, TopicPartition(topic, partition), sequence, future))
        self._deliveries.tasks.add(task)
        task.add_done_callback(self._deliveries.tasks.discard)
        return future

    async def begin_transaction(self) -> None:
        self._txn_manager.begin_transaction()

    async def commit_transaction(self) -> None:
        self._txn_manager.committing_transaction()
        await asyncio.shield(self._txn_manager.wait_for_transaction_end())

    async def abort_transaction(self) -> None:
        self._txn_manager.aborting_transaction()
        await asyncio.shield(self._txn_manager.wait_for_transaction_end())

    async def _deliver(
        self, batch: _Batch, partition: TopicPartition, sequence: int, future: asyncio.Future[None]
    ) -> None:
        manager, cluster = self._txn_manager, self._connection.cluster
        producer = (manager.producer_id, manager.producer_epoch)

        def handle(reply: Any) -> None:
            reply(SimpleNamespace(error_code=cluster.produce(producer, partition, sequence, batch.records)))

        error: Exception = KafkaError("not delivered")
        for _ in range(MAX_TRIES):
            if self._closed:
                break
            try:
                answer = await self._connection.call(
                    Kind.PRODUCE, handle, lambda code: SimpleNamespace(error_code=code)
                )
            except asyncio.CancelledError:
                if not future.done():
                    future.set_exception(self._deliveries.failure or ProducerClosed())
                raise
            except KafkaError as failure:
                error = failure
                await asyncio.sleep(RETRY_S)
                continue
            if not answer.error_code:
                if not future.done():
                    future.set_result(None)
                return
            error = for_code(answer.error_code)()
            break
        if not future.done():
            future.set_exception(error)
