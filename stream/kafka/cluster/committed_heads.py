"""The heads of audit chains that a group has committed with its offsets."""

from __future__ import annotations

from collections.abc import Mapping

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from forebay.schemas.errors import BrokerError
from forebay.stream.audit.chain import ChainHead, ChainName, split_metadata
from forebay.stream.core.records import Committed, TopicPartition
from forebay.stream.kafka.cluster.authorization_errors import explain_authorization_error


async def committed_heads(options: Mapping[str, object], group_id: str) -> dict[str, ChainHead]:
    """Return the heads by the name of their chain. Raises BrokerError.

    A transaction that has just ended may be in the offsets before its records can be read: wait a second before reading them.
    """
    admin = AIOKafkaAdminClient(**options)
    try:
        await admin.start()
        offsets = await admin.list_consumer_group_offsets(group_id)
    except KafkaError as error:
        raise explain_authorization_error(error, "READ") or BrokerError(
            f"cannot read the committed offsets of group {group_id}: {error}",
            kind="unreachable",
            remedy="check that the broker runs (`forebay check` reports more), or set --bootstrap-server",
        ) from error
    finally:
        await admin.close()
    heads: dict[str, ChainHead] = {}
    for place, offset in offsets.items():
        partition = TopicPartition(*place)
        head, _ = split_metadata(partition, Committed(offset.offset, offset.metadata or ""))
        if head is not None:
            heads[str(ChainName(group_id, *partition))] = head
    return heads
