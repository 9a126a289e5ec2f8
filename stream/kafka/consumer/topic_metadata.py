"""Topic ids from the brokers' metadata, which the client's own requests do not contain."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    IncompatibleBrokerVersion,
    KafkaConnectionError,
    KafkaError,
    UnknownTopicOrPartitionError,
)

from forebay.stream.kafka.protocol.offset_requests import NO_TOPIC_ID, TopicMetadata


async def request_metadata(client: AIOKafkaClient, topics: Collection[str]) -> Mapping[str, Any]:
    """Return the metadata of topics from the first broker that answers. Raises KafkaError if none does."""
    error: KafkaError = KafkaConnectionError("no broker is known")
    for broker in client.cluster.brokers():
        try:
            response = await client.send(broker.nodeId, TopicMetadata(topics))
        except IncompatibleBrokerVersion:
            raise
        except KafkaError as failure:
            error = failure
        else:
            metadata: Mapping[str, Any] = response.to_object()
            return metadata
    raise error


def topic_ids(metadata: Mapping[str, Any]) -> tuple[dict[str, UUID], set[str]]:
    """Return the ids of existing topics, as far as the brokers report them, and the topics that do not exist."""
    ids: dict[str, UUID] = {}
    missing: set[str] = set()
    for topic in metadata["topics"]:
        if topic["error_code"] == UnknownTopicOrPartitionError.errno:
            missing.add(topic["topic"])
        elif topic.get("topic_id", NO_TOPIC_ID) != NO_TOPIC_ID:
            ids[topic["topic"]] = topic["topic_id"]
    return ids, missing
