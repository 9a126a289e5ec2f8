"""An inspector of a consumer group: its members, their partitions and the committed offsets. It does not join the group."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final, Self

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as ClientTopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata
from aiokafka.errors import KafkaError, for_code

from forebay.schemas.errors import BrokerError
from forebay.stream.core.cancellation import within
from forebay.stream.core.group import GroupSnapshot, Member
from forebay.stream.core.records import TopicPartition
from forebay.stream.kafka.cluster.advertised_listeners import TIMEOUT_S, find_unreachable, require_reachable

_MALFORMED: Final = (ValueError, TypeError, AttributeError, LookupError, MemoryError, struct.error)
"""Exceptions of the client for bytes that do not follow its protocol."""

STOP_TIMEOUT_S: Final = 5.0


class GroupInspector:
    """Describes a group and its offsets in some topics.

    async with GroupInspector(client_options, group_id, topics, timeout_s=10) as inspector:
        snapshot = await inspector.inspect()
    """

    def __init__(
        self, options: Mapping[str, object], group_id: str, topics: Sequence[str], *, timeout_s: float
    ) -> None:
        self._group_id = group_id
        self._topics = topics
        self._timeout_s = timeout_s
        self._options = dict(options)
        self._admin: Any = None
        self._consumer: Any = None

    async def __aenter__(self) -> Self:
        await require_reachable(self._options, timeout_s=min(self._timeout_s, TIMEOUT_S))
        self._admin = AIOKafkaAdminClient(**self._options)
        self._consumer = AIOKafkaConsumer(
            **self._options, group_id=None, enable_auto_commit=False, isolation_level="read_committed"
        )
        try:
            await within(self._timeout_s, self._start())
        except (KafkaError, OSError) as error:
            await self._stop()
            raise await self._unreachable(error) from error
        except BaseException:
            await self._stop()
            raise
        return self

    async def _start(self) -> None:
        await self._admin.start()
        await self._consumer.start()

    async def __aexit__(self, *_: object) -> None:
        await self._stop()

    async def inspect(self) -> GroupSnapshot:
        """Return the current state of the group. Raises BrokerError."""
        try:
            return await within(self._timeout_s, self._inspect())
        except (KafkaError, OSError) as error:
            raise await self._unreachable(error) from error

    async def _inspect(self) -> GroupSnapshot:
        partitions = await self._partitions()
        coordinator = await self._admin.find_coordinator(self._group_id)
        (described,) = await self._admin.describe_consumer_groups([self._group_id], coordinator)
        error_code, _group, state, _type, _protocol, members, *_ = described.groups[0]
        if error_code:
            raise for_code(error_code)(self._group_id)
        offsets = await self._admin.list_consumer_group_offsets(self._group_id, coordinator, partitions)
        ends = await self._consumer.end_offsets(partitions) if partitions else {}
        committed = {TopicPartition(*partition): position.offset for partition, position in offsets.items()}
        return GroupSnapshot(
            group_id=self._group_id,
            state=state,
            members=tuple(decode_member(*member[:5]) for member in members),
            committed={
                partition: offset if (offset := committed.get(partition, -1)) >= 0 else None
                for partition in (TopicPartition(*client_partition) for client_partition in partitions)
            },
            ends={TopicPartition(*partition): end for partition, end in ends.items()},
        )

    async def _partitions(self) -> list[ClientTopicPartition]:
        # All topics are requested: a request for one that does not exist may create it.
        described = await self._admin.describe_topics()
        return [
            ClientTopicPartition(topic["topic"], partition["partition"])
            for topic in described
            if topic["topic"] in self._topics
            for partition in topic["partitions"]
        ]

    async def _stop(self) -> None:
        with contextlib.suppress(KafkaError, OSError):  # the connections are given up in any case
            await within(STOP_TIMEOUT_S, self._close())

    async def _close(self) -> None:
        await self._consumer.stop()
        await self._admin.close()

    async def _unreachable(self, error: BaseException) -> BrokerError:
        if (cause := await find_unreachable(self._options)) is not None:
            return cause
        reason = str(error) or type(error).__name__
        if isinstance(error, TimeoutError):
            reason = f"no answer within {self._timeout_s:g} s"
        return BrokerError(
            f"cannot describe the group {self._group_id!r} on {self._options['bootstrap_servers']}: {reason}",
            kind="unreachable",
            remedy="`forebay check` reports whether the cluster is reachable and what this user may do",
        )


def decode_member(member_id: str, client_id: str, host: str, metadata: Any, assignment: Any) -> Member:
    """Return a member as the coordinator's response describes it."""
    user_data: bytes | None = None
    partitions: list[TopicPartition] = []
    # A member can send any bytes as metadata, and the group's leader as assignment.
    with contextlib.suppress(*_MALFORMED):
        user_data = ConsumerProtocolMemberMetadata.decode(metadata).user_data if metadata else None
    with contextlib.suppress(*_MALFORMED):
        assigned = ConsumerProtocolMemberAssignment.decode(assignment).partitions() if assignment else []
        partitions = sorted(TopicPartition(*partition) for partition in assigned if partition.topic is not None)
    return Member(
        member_id=member_id,
        client_id=client_id,
        host=host,
        user_data=user_data or b"",
        partitions=tuple(partitions),
    )
