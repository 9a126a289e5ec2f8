"""The group's offsets, read and committed under the membership that the records were read with.

The client's own calls send whatever generation it holds at that moment, and its fetch takes a group error for "no offset" and
knows nothing of offsets that an open transaction is about to change. Both go over the client's connection here, a private
part of it (decision 2).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping

from aiokafka import AIOKafkaConsumer
from aiokafka import errors as kafka_errors
from aiokafka.protocol.commit import OffsetCommitRequest

from forebay.schemas.errors import BrokerError
from forebay.stream.core.records import Committed, Epoch, TopicPartition
from forebay.stream.kafka.protocol.membership import raise_if_refused, require_membership
from forebay.stream.kafka.protocol.offset_requests import OffsetFetch

UNSTABLE_OFFSET_COMMIT = 88


class OffsetsUnstable(kafka_errors.KafkaError):
    """An open transaction is about to change the offsets; its end is to be waited for."""

    retriable = True


class GroupOffsets:
    """Committed offsets of one consumer's group."""

    def __init__(self, consumer: AIOKafkaConsumer, group_id: str) -> None:
        self._coordinator = consumer._coordinator
        self._group_id = group_id

    async def fetch(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, Committed | None]:
        """What is committed for each partition, None where nothing is yet.

        Raises OffsetsUnstable while a transaction that would change one is open, KafkaError otherwise; retriable ones say so.
        """
        if not partitions:
            return {}
        await self._coordinator.ensure_coordinator_known()
        response = await self._coordinator._send_req(OffsetFetch(self._group_id, partitions, require_stable=True))
        self._raise_for(response.error_code)
        offsets: dict[TopicPartition, Committed | None] = {}
        for topic, answers, _tags in response.topics:
            for number, offset, _leader_epoch, metadata, error_code, _tags in answers:
                self._raise_for(error_code)
                offsets[TopicPartition(topic, number)] = None if offset < 0 else Committed(offset, metadata or "")
        missing = [partition for partition in partitions if partition not in offsets]
        if missing:
            raise BrokerError(f"the group coordinator did not answer for {missing[0].topic}-{missing[0].partition}")
        return offsets

    async def commit(
        self, offsets: Mapping[TopicPartition, int], metadata: Mapping[TopicPartition, str], epoch: Epoch
    ) -> None:
        """Commit as the member that `epoch` captured. metadata: what is kept with an offset, where there is something.

        Raises CommitRefused, or KafkaError (retriable ones say so).
        """
        if not offsets:
            return
        require_membership(epoch)
        by_topic: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
        for partition, offset in offsets.items():
            by_topic[partition.topic].append((partition.partition, offset, metadata.get(partition, "")))
        request = OffsetCommitRequest(
            self._group_id,
            epoch.generation,
            epoch.member_id,
            OffsetCommitRequest.DEFAULT_RETENTION_TIME,
            list(by_topic.items()),
        )
        await self._coordinator.ensure_coordinator_known()
        response = await self._coordinator._send_req(request)
        for _topic, answers in response.topics:
            for _number, error_code in answers:
                self._raise_for(error_code)

    def _raise_for(self, error_code: int) -> None:
        if error_code == 0:
            return
        raise_if_refused(error_code)
        if error_code == UNSTABLE_OFFSET_COMMIT:
            raise OffsetsUnstable("an open transaction is about to change the group's offsets")
        error = kafka_errors.for_code(error_code)
        if error in (
            kafka_errors.NotCoordinatorForGroupError,
            kafka_errors.GroupCoordinatorNotAvailableError,
        ):
            self._coordinator.coordinator_dead()
        raise error(self._group_id)
