"""The Kafka release of a broker, from its feature level."""

from __future__ import annotations

import pytest
from aiokafka.protocol.types import CompactString, Int16, TaggedFields, UnsignedVarInt32

from forebay.stream.config.sections import KafkaSection
from forebay.stream.kafka.cluster.bootstrap import bootstrap_connection
from forebay.stream.kafka.protocol.broker_release import describe_release, release_of, supported_level
from tests.brokers.jars import KAFKA_VERSION
from tests.brokers.resolve import Broker


def features(*levels: tuple[str, int]) -> bytes:
    """Encode supported features as a broker does."""
    entries = [
        CompactString("utf-8").encode(name) + Int16.encode(0) + Int16.encode(level) + TaggedFields.encode({})
        for name, level in levels
    ]
    return UnsignedVarInt32.encode(len(levels) + 1) + b"".join(entries)


def test_the_level_is_read_among_other_features() -> None:
    assert supported_level(features(("kraft.version", 1), ("metadata.version", 27), ("group.version", 1))) == 27
    assert supported_level(features(("kraft.version", 1))) is None
    assert supported_level(b"") is None


@pytest.mark.parametrize(
    ("level", "release"),
    [
        (1, "Kafka 3.0"),
        (7, "Kafka 3.3"),
        (21, "Kafka 3.9"),
        (25, "Kafka 4.0"),
        (27, "Kafka 4.1"),
        (99, "later than Kafka 4.2 (metadata.version 99)"),
        (None, "Kafka 2.5 or later (it reports no feature level)"),
    ],
)
def test_a_feature_level_maps_to_its_release(level: int | None, release: str) -> None:
    assert release_of(level) == release


async def test_a_real_broker_is_recognised(kafka: Broker) -> None:
    async with bootstrap_connection(KafkaSection(bootstrap_servers=kafka.bootstrap), timeout_s=10) as broker:
        assert await describe_release(broker.connection) == f"Kafka {KAFKA_VERSION.rpartition('.')[0]}"
