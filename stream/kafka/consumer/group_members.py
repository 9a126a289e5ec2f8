"""The members of a consumer's own group, requested over the consumer's connections."""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import GroupCoordinatorNotAvailableError, for_code
from aiokafka.protocol.admin import DescribeGroupsRequest

from forebay.stream.core.group import Member
from forebay.stream.kafka.cluster.group_inspector import decode_member


def forget_instance(consumer: AIOKafkaConsumer) -> None:
    """Let a static member leave its group when the consumer stops, instead of keeping its partitions for a restart."""
    if (coordinator := consumer._coordinator) is not None:  # None before the consumer is started
        coordinator._group_instance_id = None


async def read_members(consumer: AIOKafkaConsumer, group_id: str) -> tuple[Member, ...]:
    """Return the members of the group as its coordinator describes them.

    Needs no permission beyond READ on the group, which implies DESCRIBE. Raises KafkaError.
    """
    node_id = consumer._coordinator.coordinator_id
    if node_id is None:
        raise GroupCoordinatorNotAvailableError()
    # Not on the coordinator's own connection, where a JoinGroup request blocks other requests until the whole group has joined.
    response = await consumer._client.send(node_id, DescribeGroupsRequest([group_id]))
    error_code, _group, _state, _type, _protocol, members, *_ = response.groups[0]
    if error_code:
        raise for_code(error_code)(group_id)
    return tuple(decode_member(*member[:5]) for member in members)
