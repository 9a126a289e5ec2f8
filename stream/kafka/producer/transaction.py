"""One Kafka transaction after the other, each with outputs and the positions that they cover (KIP-447).

The producer's own `send_offsets_to_transaction` sends neither generation nor member, so that the broker could not refuse a
member that was put out of the group; its requests go over the producer's connections here instead (decision 2).
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
_LOST_COORDINATOR: Final = {
    kafka_errors.CoordinatorNotAvailableError.errno,
    kafka_errors.NotCoordinatorError.errno,
    kafka_errors.RequestTimedOutError.errno,
}
_PASSING: Final = {
    kafka_errors.OperationNotAttempted.errno,
    kafka_errors.CoordinatorLoadInProgressError.errno,
    kafka_errors.ConcurrentTransactions.errno,
    kafka_errors.UnknownTopicOrPartitionError.errno,
}


def transactional_id(settings: Settings, instance: str) -> str:
    """The id of the worker `instance`: the same for each of its producers, and no other worker's."""
    return f"{settings.delivery.transactional_id_prefix}-{settings.kafka.group_id}-{instance}"


class Transaction:
    """The transactions of the producer that `output_producer` holds, for the positions of one group.

    is_current tells whether an epoch is the one that records are read under now. Every call may wait for a cluster that is
    away for as long as it takes: the caller sets the deadline, and past it the outcome is unknown.
    """

    def __init__(self, output_producer: OutputProducer, *, group_id: str, is_current: Callable[[Epoch], bool]) -> None:
        self._output_producer = output_producer
        self._group_id = group_id
        self._is_current = is_current

    async def begin(self, partitions: Collection[TopicPartition]) -> None:
        """Begin, with all the output partitions at once: one request for them and not one each. Raises KafkaError.

        The client's own way would wait 20 ms each time: the coordinator says CONCURRENT_TRANSACTIONS until the markers of the
        transaction before are written, which takes a millisecond or two.
        """
        producer = self._output_producer.producer
        await producer.begin_transaction()
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
        """Tell the coordinator that positions of the group will be part of it. Raises KafkaError."""
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
        """Add the positions, as the member that `epoch` captured, after `add_group`.

        Raises CommitRefused when that membership is over, or KafkaError.
        """
        require_membership(epoch)
        if not self._is_current(epoch):
            raise CommitRefused("the records' epoch is over")
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
            # Where an input topic was deleted, waiting would commit the old positions for a new topic of the same name.
            passing=_PASSING - {kafka_errors.UnknownTopicOrPartitionError.errno},
        )

    async def commit(self) -> None:
        """End it: outputs and positions become visible together. Raises KafkaError."""
        await self._output_producer.producer.commit_transaction()

    async def abort(self) -> None:
        """End it so that nothing of it is ever visible to readers of what is committed. Raises KafkaError."""
        await self._output_producer.producer.abort_transaction()

    async def _until_accepted(
        self,
        kind: CoordinationType,
        key: str,
        request: Request[Any],
        codes_of: Callable[[Any], list[tuple[str, int]]],
        *,
        passing: Set[int] = _PASSING,
    ) -> None:
        """Send to the coordinator until it says yes, or what does not pass by itself.

        `codes_of` gives from its answer error codes, each with what it is about; passing: codes to wait out.
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
            if codes & _LOST_COORDINATOR:
                sender._coordinator_dead(kind)
            elif lasting := codes - passing:
                first = min(lasting)
                raise kafka_errors.for_code(first)(", ".join(sorted({name for name, code in answers if code == first})))
            await asyncio.sleep(wait_s)
            wait_s = min(MAX_RETRY_S, 2 * wait_s)
