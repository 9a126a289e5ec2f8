"""The group's offsets, read and committed under the membership that the records were read with.

The client's own calls send whatever generation it holds at that moment, and its fetch takes a group error for "no offset".
Both go over the client's connection here, a private part of it (decision 2).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping

from aiokafka import AIOKafkaConsumer
from aiokafka import errors as kafka_errors
from aiokafka.protocol.commit import OffsetCommitRequest, OffsetFetchRequest

from schemas.errors import BrokerError
from stream.records import Epoch, Partition


class CommitRefused(BrokerError):
    """The group no longer accepts this membership: what was read under it will be read again by whoever owns it now."""

    default_kind = "commit_refused"


class GroupOffsets:
    """Committed offsets of one consumer's group."""

    def __init__(self, consumer: AIOKafkaConsumer, group_id: str) -> None:
        self._coordinator = consumer._coordinator
        self._group_id = group_id

    async def fetch(self, partitions: Collection[Partition]) -> dict[Partition, int | None]:
        """The committed offset of each partition, None where there is none yet. Raises KafkaError; retriable ones say so."""
        if not partitions:
            return {}
        by_topic: dict[str, list[int]] = defaultdict(list)
        for partition in partitions:
            by_topic[partition.topic].append(partition.partition)
        await self._coordinator.ensure_coordinator_known()
        response = await self._coordinator._send_req(OffsetFetchRequest(self._group_id, list(by_topic.items())))
        if response.API_VERSION >= 2:
            self._raise_for(response.error_code)
        offsets: dict[Partition, int | None] = {}
        for topic, answers in response.topics:
            for number, offset, _metadata, error_code in answers:
                self._raise_for(error_code)
                offsets[Partition(topic, number)] = None if offset < 0 else offset
        missing = [partition for partition in partitions if partition not in offsets]
        if missing:
            raise BrokerError(f"the group coordinator did not answer for {missing[0].topic}-{missing[0].partition}")
        return offsets

    async def commit(self, offsets: Mapping[Partition, int], epoch: Epoch) -> None:
        """Commit as the member that `epoch` captured. Raises CommitRefused, or KafkaError (retriable ones say so)."""
        if not offsets:
            return
        if epoch.generation < 0 or not epoch.member_id:
            raise CommitRefused("the records were read outside any generation of the group")
        by_topic: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
        for partition, offset in offsets.items():
            by_topic[partition.topic].append((partition.partition, offset, ""))
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
        error = kafka_errors.for_code(error_code)
        if error is kafka_errors.NoError:
            return
        if error in (
            kafka_errors.IllegalGenerationError,
            kafka_errors.UnknownMemberIdError,
            kafka_errors.RebalanceInProgressError,
        ):
            raise CommitRefused(f"the group refused the offsets: {error.__name__}")
        if error in (
            kafka_errors.NotCoordinatorForGroupError,
            kafka_errors.GroupCoordinatorNotAvailableError,
        ):
            self._coordinator.coordinator_dead()
        raise error(self._group_id)
