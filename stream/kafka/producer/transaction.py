"""Kafka transactions that contain outputs and the positions after the events that they are for (KIP-447).

The producer's own `send_offsets_to_transaction` sends neither generation nor member id, so the broker could not fence a member
that the group has removed. The requests are therefore sent here, over the producer's connections (decision 2).
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Set
from typing import Any, Final

from aiokafka import TopicPartition as ClientTopicPartition
from aiokafka import errors as kafka_errors
from aiokafka.client import ConnectionGroup, CoordinationType
from aiokafka.protocol.api import Request
from aiokafka.protocol.transaction import AddOffsetsToTxnRequest, AddPartitionsToTxnRequest

from forebay.stream.config.sections import Settings
from forebay.stream.core.cancellation import raise_if_cancelled
from forebay.stream.core.errors import CommitRefused
from forebay.stream.core.records import Epoch, TopicPartition
from forebay.stream.kafka.producer.producer import OutputProducer
from forebay.stream.kafka.protocol.membership import raise_if_refused, require_membership
from forebay.stream.kafka.protocol.offset_requests import TxnOffsetCommit

FIRST_RETRY_S: Final = 0.001
MAX_RETRY_S: Final = 0.02
PRODUCER_FENCED: Final = 90
_FENCED: Final = {PRODUCER_FENCED, kafka_errors.InvalidProducerEpoch.errno}
_COORDINATOR_MOVED: Final = {
    kafka_errors.CoordinatorNotAvailableError.errno,
    kafka_errors.NotCoordinatorError.errno,
    kafka_errors.RequestTimedOutError.errno,
}
_TRANSIENT: Final = {
    kafka_errors.OperationNotAttempted.errno,
    kafka_errors.CoordinatorLoadInProgressError.errno,
    kafka_errors.ConcurrentTransactions.errno,
    kafka_errors.UnknownTopicOrPartitionError.errno,
}


def transactional_id(settings: Settings, instance: str) -> str:
    """Return the transactional id of the worker `instance`: the same for all of its producers, and unique to it."""
    return f"{settings.delivery.transactional_id_prefix}-{settings.kafka.group_id}-{instance}"


class Transaction:
    """Transactions of a producer, with positions of one group.

    output_producer: holds the current producer of the client.
    is_current: returns whether an epoch is the one in which records are read now.

    Calls retry for as long as the cluster is unreachable. The caller sets the deadline, after which the outcome is unknown.
    """

    def __init__(self, output_producer: OutputProducer, *, group_id: str, is_current: Callable[[Epoch], bool]) -> None:
        self._output_producer = output_producer
        self._group_id = group_id
        self._is_current = is_current

    async def begin(self, partitions: Collection[TopicPartition]) -> None:
        """Begin a transaction and add all output partitions, if any, in one request. Raises KafkaError.

        The client itself would wait 20 ms each time: the coordinator answers CONCURRENT_TRANSACTIONS until the markers of the
        previous transaction are written, which takes a millisecond or two.
        """
        producer = self._output_producer.producer
        await producer.begin_transaction()
        if not partitions:
            return
        by_topic: dict[str, list[int]] = defaultdict(list)
        for topic, number in partitions:
            by_topic[topic].append(number)
        manager = producer._txn_manager
        await self._until_accepted(
            CoordinationType.TRANSACTION,
            manager.transactional_id,
            AddPartitionsToTxnRequest(
                manager.transactional_id, manager.producer_id, manager.producer_epoch, list(by_topic.items())
            ),
            lambda response: [(topic, code) for topic, answers in response.errors for _, code in answers],
        )
        manager.txn_partitions.update(ClientTopicPartition(*partition) for partition in partitions)

    async def add_group(self) -> None:
        """Add the group, whose positions will be committed in the transaction. Raises KafkaError."""
        manager = self._output_producer.producer._txn_manager
        await self._until_accepted(
            CoordinationType.TRANSACTION,
            manager.transactional_id,
            AddOffsetsToTxnRequest(
                manager.transactional_id, manager.producer_id, manager.producer_epoch, self._group_id
            ),
            lambda response: [(self._group_id, response.error_code)],
        )
        manager.consumer_group_added(self._group_id)

    async def commit_positions(
        self, positions: Mapping[TopicPartition, int], metadata: Mapping[TopicPartition, str], epoch: Epoch
    ) -> None:
        """Add positions as the member that `epoch` describes. Call `add_group` first.

        Raises CommitRefused if that membership has ended, or KafkaError.
        """
        require_membership(epoch)
        if not self._is_current(epoch):
            raise CommitRefused("the epoch of the records has ended")
        manager = self._output_producer.producer._txn_manager
        await self._until_accepted(
            CoordinationType.GROUP,
            self._group_id,
            TxnOffsetCommit(
                transactional_id=manager.transactional_id,
                producer=(manager.producer_id, manager.producer_epoch),
                group_id=self._group_id,
                epoch=epoch,
                positions=positions,
                metadata=metadata,
            ),
            lambda response: [(topic, code) for topic, answers, _ in response.topics for _, code, _ in answers],
            # If an input topic was deleted, waiting could commit its positions for a new topic of the same name.
            transient=_TRANSIENT - {kafka_errors.UnknownTopicOrPartitionError.errno},
        )

    async def commit(self) -> None:
        """Commit the transaction: outputs and positions become visible together. Raises KafkaError."""
        await self._output_producer.producer.commit_transaction()

    async def abort(self) -> None:
        """Abort the transaction: readers of committed records never see any of it. Raises KafkaError."""
        await self._output_producer.producer.abort_transaction()

    async def _until_accepted(
        self,
        kind: CoordinationType,
        key: str,
        request: Request[Any],
        codes_of: Callable[[Any], list[tuple[str, int]]],
        *,
        transient: Set[int] = _TRANSIENT,
    ) -> None:
        """Send a request to the coordinator until it is accepted or fails with an error that is not transient.

        codes_of: returns the error codes of a response, each with the name of its topic or group.
        transient: error codes after which the request is sent again.
        """
        producer = self._output_producer.producer
        sender, client = producer._sender, producer.client
        wait_s = FIRST_RETRY_S
        while True:
            raise_if_cancelled()
            node = await sender._find_coordinator(kind, key)
            try:
                response = await client.send(node, request, group=ConnectionGroup.COORDINATION)
            except kafka_errors.KafkaError as error:
                if not error.retriable:
                    raise
                answers = [(key, kafka_errors.CoordinatorNotAvailableError.errno)]
            else:
                answers = codes_of(response)
            codes = {code for _, code in answers if code}
            if not codes:
                return
            for code in codes:
                raise_if_refused(code)
            if codes & _FENCED:
                raise kafka_errors.ProducerFenced
            if codes & _COORDINATOR_MOVED:
                sender._coordinator_dead(kind)
            elif permanent := codes - transient:
                first = min(permanent)
                raise kafka_errors.for_code(first)(", ".join(sorted({name for name, code in answers if code == first})))
            await asyncio.sleep(wait_s)
            wait_s = min(MAX_RETRY_S, 2 * wait_s)
