"""The group's committed offsets, fetched and committed under the membership with which the records were read.

The client's own calls send the generation that it holds at that moment. Its fetch takes a group error for "no offset" and
cannot ask for stable offsets. Both requests are therefore sent here, over the client's connections, which are a private part
of it (decision 2).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping

from aiokafka import AIOKafkaConsumer
from aiokafka import errors as kafka_errors
from aiokafka.protocol.commit import OffsetCommitRequest

from forebay.schemas.errors import BrokerError
from forebay.stream.core.errors import CommitUnknown
from forebay.stream.core.records import Committed, Epoch, TopicPartition
from forebay.stream.kafka.protocol.membership import raise_if_refused, require_membership
from forebay.stream.kafka.protocol.offset_requests import OffsetFetch

UNSTABLE_OFFSET_COMMIT = 88
_NO_GENERATION = -1


class OffsetsUnstable(kafka_errors.KafkaError):
    """An open transaction includes the offsets; fetch them again when it has ended."""

    retriable = True


class GroupOffsets:
    """The committed offsets of a consumer's group."""

    def __init__(self, consumer: AIOKafkaConsumer, group_id: str) -> None:
        self._coordinator = consumer._coordinator
        self._group_id = group_id

    async def fetch(
        self, partitions: Collection[TopicPartition], *, require_stable: bool = True
    ) -> dict[TopicPartition, Committed | None]:
        """Return the committed offset of each partition, None where there is none.

        require_stable: whether to return nothing while an open transaction includes one. Otherwise its offset is not seen.

        Raises OffsetsUnstable while an open transaction includes one, KafkaError for other errors (see `retriable`).
        """
        if not partitions:
            return {}
        await self._coordinator.ensure_coordinator_known()
        response = await self._coordinator._send_req(
            OffsetFetch(self._group_id, partitions, require_stable=require_stable)
        )
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
        """Commit offsets as the member that `epoch` describes.

        metadata: stored with the offset, for partitions that have some.

        Raises CommitRefused, CommitUnknown if the coordinator did not answer, or KafkaError (see `retriable`).
        """
        if not offsets:
            return
        require_membership(epoch)
        await self._commit(offsets, metadata, generation=epoch.generation, member_id=epoch.member_id)

    async def initialise(self, offsets: Mapping[TopicPartition, int], metadata: Mapping[TopicPartition, str]) -> None:
        """Commit the first offsets of a group that has no members, all in one request.

        Raises CommitRefused if it has members, CommitUnknown or KafkaError.
        """
        await self._commit(offsets, metadata, generation=_NO_GENERATION, member_id="")

    async def _commit(
        self,
        offsets: Mapping[TopicPartition, int],
        metadata: Mapping[TopicPartition, str],
        *,
        generation: int,
        member_id: str,
    ) -> None:
        by_topic: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
        for partition, offset in offsets.items():
            by_topic[partition.topic].append((partition.partition, offset, metadata.get(partition, "")))
        request = OffsetCommitRequest(
            self._group_id,
            generation,
            member_id,
            OffsetCommitRequest.DEFAULT_RETENTION_TIME,
            list(by_topic.items()),
        )
        await self._coordinator.ensure_coordinator_known()
        try:
            response = await self._coordinator._send_req(request)
        except (kafka_errors.RequestTimedOutError, kafka_errors.KafkaConnectionError) as error:
            raise CommitUnknown(f"the group coordinator did not answer: {error}") from error
        for _topic, answers in response.topics:
            for _number, error_code in answers:
                self._raise_for(error_code)

    def _raise_for(self, error_code: int) -> None:
        if error_code == 0:
            return
        raise_if_refused(error_code)
        if error_code == UNSTABLE_OFFSET_COMMIT:
            raise OffsetsUnstable("an open transaction includes the group's offsets")
        error = kafka_errors.for_code(error_code)
        if error in (
            kafka_errors.NotCoordinatorForGroupError,
            kafka_errors.GroupCoordinatorNotAvailableError,
        ):
            self._coordinator.coordinator_dead()
        raise error(self._group_id)
