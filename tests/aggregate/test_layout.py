"""The aggregator's topics: as they are meant to be, and what is refused."""

from __future__ import annotations

import pytest

from schemas.errors import BrokerError
from schemas.topics import AGGREGATOR_TOPICS
from stream.aggregate.layout import Found, judge
from stream.aggregate.service import group_of
from stream.aggregate.topics import plan_aggregator_topics, prepare_topics
from stream.config.sections import AggregateSection, KafkaSection, Settings, TopicsSection
from tests.brokers.clients import create_topic
from tests.brokers.resolve import Broker
from tests.conftest import Names


def test_the_plan_is_the_catalogue_with_the_deltas_number_of_partitions() -> None:
    settings = Settings(topics=TopicsSection(prefix="a.", replication_factor=3))
    plan = plan_aggregator_topics(settings, num_deltas=7)
    assert [topic.name for topic in plan] == ["a.error-aggregates", "a.alerts", "a.aggregator-changelog"]
    assert [topic.spec for topic in plan] == list(AGGREGATOR_TOPICS)
    assert [topic.num_partitions for topic in plan] == [4, 1, 7]
    assert {topic.configs["min.insync.replicas"] for topic in plan} == {"2"}


def test_the_changelog_stays_uncompacted_for_longer_than_windows_are_open() -> None:
    def lag_ms(closed_after_ms: int) -> int:
        settings = Settings(aggregate=AggregateSection(closed_after_ms=closed_after_ms))
        return int(plan_aggregator_topics(settings)[2].configs["min.compaction.lag.ms"])

    assert lag_ms(60_000) == lag_ms(3_600_000) == 7_200_000
    assert lag_ms(86_400_000) == 90_000_000


GOOD = {"deltas": Found(4, "delete"), "changelog": Found(4, "compact")}


def test_what_is_right_is_taken_also_where_the_cluster_does_not_tell() -> None:
    judge("deltas", "changelog", GOOD)
    judge("deltas", "changelog", {"deltas": Found(4, None), "changelog": Found(4, None)})


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"changelog": Found(3, "compact")}, "partition_counts"),
        ({"changelog": Found(4, "delete")}, "not_compacted"),
        ({"changelog": Found(4, "compact,delete")}, "not_compacted"),
        ({"deltas": Found(4, "compact")}, "compacted"),
    ],
)
def test_what_would_count_wrong_is_refused(change: dict[str, Found], kind: str) -> None:
    with pytest.raises(BrokerError) as caught:
        judge("deltas", "changelog", GOOD | change)
    assert caught.value.kind == kind and caught.value.remedy


async def test_what_is_missing_is_made_once(broker: Broker, names: Names) -> None:
    settings = Settings(kafka=KafkaSection(bootstrap_servers=broker.bootstrap), topics=TopicsSection(prefix=names("")))
    with pytest.raises(BrokerError, match="outcome-deltas: there is no such topic"):
        await prepare_topics(settings)
    await create_topic(broker.bootstrap, names("outcome-deltas"), 3)
    layout, made = await prepare_topics(settings)
    assert len(made) == 3 and layout.num_aggregates == 4
    assert await prepare_topics(settings) == (layout, ())


def test_the_group_is_not_that_of_the_workers() -> None:
    assert group_of(Settings(kafka=KafkaSection(group_id="g"))) == "g-aggregate"
    assert group_of(Settings(aggregate=AggregateSection(group_id="own"))) == "own"
