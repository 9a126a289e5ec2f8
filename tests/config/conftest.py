"""The broker for tests that log in."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from forebay.stream.aggregate.topics import create_aggregator_topics
from forebay.stream.config.sections import Settings, TopicsSection
from forebay.stream.kafka.cluster.topics import create_topics
from tests.brokers.secure import SCRAM, SecureKafka


@pytest.fixture(scope="package")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    """A broker with access control lists, the topics without a prefix, and the topics with bob's prefix."""
    kafka = SecureKafka(tmp_path_factory.mktemp("secure") / "nodes")
    try:
        kafka.start()
        for mechanism in SCRAM:
            kafka.add_user("alice", mechanism)
        for prefix in ("", "bob."):
            settings = Settings(kafka=kafka.section("PLAINTEXT"), topics=TopicsSection(prefix=prefix))
            made = asyncio.run(create_topics(settings))
            assert {each.status for each in made} == {"created"}
        # Created here, so that it does not depend on the order of the tests.
        asyncio.run(create_aggregator_topics(Settings(kafka=kafka.section("PLAINTEXT")), dry_run=False))
        yield kafka
    finally:
        kafka.remove()
