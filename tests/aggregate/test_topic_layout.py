"""The aggregator's topics: the required layout, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from forebay.schemas.errors import BrokerError
from forebay.schemas.topics import AGGREGATOR_TOPICS
from forebay.stream.aggregate.service import aggregator_group
from forebay.stream.aggregate.topic_layout import find_problems, plan_aggregator_topics, require_countable
from forebay.stream.aggregate.topics import check_aggregator_topics, prepare_topics
from forebay.stream.config.sections import AggregateSection, KafkaSection, RolloutsSection, Settings, TopicsSection
from forebay.stream.kafka.cluster.topic_plan import Finding, TopicState
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


def test_the_compaction_lag_is_longer_than_buckets_are_open() -> None:
    def lag_ms(closed_after_ms: int) -> int:
        settings = Settings(aggregate=AggregateSection(closed_after_ms=closed_after_ms))
        return int(plan_aggregator_topics(settings)[2].configs["min.compaction.lag.ms"])

    assert lag_ms(60_000) == lag_ms(3_600_000) == 7_200_000
    assert lag_ms(86_400_000) == 90_000_000


SETTINGS = Settings()
PLAN = plan_aggregator_topics(SETTINGS)
DELTAS = TopicState(
    "outcome-deltas", "present", num_partitions=4, replication_factor=1, configs={"cleanup.policy": "delete"}
)
GOOD = {
    topic.name: TopicState(
        topic.name, "present", num_partitions=topic.num_partitions, replication_factor=1, configs=topic.configs
    )
    for topic in PLAN
}


def changed(name: str, deltas: TopicState = DELTAS, **changes: Any) -> tuple[Finding, ...]:
    """Return the findings for a changed topic. configs: override the correct ones."""
    if configs := changes.pop("configs", None):
        changes["configs"] = {**(GOOD[name].configs or {}), **configs}
    return find_problems(deltas, PLAN, GOOD | {name: replace(GOOD[name], **changes)})


def test_correct_topics_pass_also_without_their_configuration() -> None:
    assert find_problems(DELTAS, PLAN, GOOD) == ()
    silent = {name: replace(state, configs=None) for name, state in GOOD.items()}
    assert find_problems(replace(DELTAS, configs=None), PLAN, silent) == ()
    require_countable(DELTAS, ())


@pytest.mark.parametrize(
    ("name", "changes", "severity", "kind", "remedy"),
    [
        ("aggregator-changelog", {"num_partitions": 3}, "error", "partition_counts", "delete aggregator-changelog"),
        (
            "aggregator-changelog",
            {"configs": {"cleanup.policy": "delete"}},
            "error",
            "not_compacted",
            "kafka-configs --alter --topic aggregator-changelog --add-config cleanup.policy=compact",
        ),
        (
            "aggregator-changelog",
            {"configs": {"cleanup.policy": "compact,delete"}},
            "error",
            "not_compacted",
            "=compact",
        ),
        (
            "aggregator-changelog",
            {"configs": {"min.compaction.lag.ms": "0"}},
            "warning",
            "compaction_lag",
            "min.compaction.lag.ms=7200000",
        ),
        (
            "aggregator-changelog",
            {"status": "missing"},
            "warning",
            "missing",
            "run `forebay topics create`",
        ),
        (
            "error-aggregates",
            {"status": "missing"},
            "warning",
            "missing",
            "run `forebay topics create`",
        ),
        ("alerts", {"status": "forbidden"}, "warning", "forbidden", "allow the aggregator's user"),
        ("error-aggregates", {"configs": {"cleanup.policy": "compact"}}, "warning", "compacted", "policy=delete"),
        ("alerts", {"configs": {"cleanup.policy": "compact,delete"}}, "warning", "compacted", "policy=delete"),
    ],
)
def test_each_problem_is_reported_with_its_remedy(
    name: str, changes: dict[str, Any], severity: str, kind: str, remedy: str
) -> None:
    (finding,) = changed(name, **changes)
    assert (finding.severity, finding.topic, finding.kind) == (severity, name, kind)
    assert remedy in (finding.remedy or "")
    if severity != "error":
        require_countable(DELTAS, (finding,))
        return
    with pytest.raises(BrokerError) as caught:
        require_countable(DELTAS, (finding,))
    assert caught.value.kind == kind and caught.value.remedy == finding.remedy


def test_partition_counts_are_not_compared_without_deltas() -> None:
    missing = TopicState("outcome-deltas", "missing")
    assert changed("aggregator-changelog", missing, num_partitions=3) == ()


def test_compacted_deltas_are_not_counted() -> None:
    with pytest.raises(BrokerError, match="deltas would be removed") as caught:
        require_countable(replace(DELTAS, configs={"cleanup.policy": "compact"}), ())
    assert caught.value.kind == "compacted" and "outcome-deltas" in (caught.value.remedy or "")


async def test_missing_topics_are_created_once(broker: Broker, names: Names) -> None:
    settings = Settings(kafka=KafkaSection(bootstrap_servers=broker.bootstrap), topics=TopicsSection(prefix=names("")))
    with pytest.raises(BrokerError, match="outcome-deltas does not exist"):
        await prepare_topics(settings)
    await create_topic(broker.bootstrap, names("outcome-deltas"), 3)
    layout, created = await prepare_topics(settings)
    assert len(created) == 3 and layout.num_aggregates == 4
    assert await prepare_topics(settings) == (layout, ())
    assert (await check_aggregator_topics(settings)).findings == ()


async def test_an_unsuitable_changelog_is_reported_and_refused(broker: Broker, names: Names) -> None:
    settings = Settings(kafka=KafkaSection(bootstrap_servers=broker.bootstrap), topics=TopicsSection(prefix=names("")))
    await create_topic(broker.bootstrap, names("outcome-deltas"), 3)
    await create_topic(broker.bootstrap, names("aggregator-changelog"), 2, configs={"cleanup.policy": "compact"})
    checked = await check_aggregator_topics(settings)
    assert {
        (finding.topic.removeprefix(names("")), finding.severity, finding.kind) for finding in checked.findings
    } >= {
        ("aggregator-changelog", "error", "partition_counts"),
        ("error-aggregates", "warning", "missing"),
        ("alerts", "warning", "missing"),
    }
    with pytest.raises(BrokerError, match="both must have the same number"):
        await prepare_topics(settings)


async def test_a_topic_of_rollouts_that_loses_records_is_refused_if_rollouts_are_enabled(
    broker: Broker, names: Names
) -> None:
    settings = Settings(kafka=KafkaSection(bootstrap_servers=broker.bootstrap), topics=TopicsSection(prefix=names("")))
    await create_topic(broker.bootstrap, names("outcome-deltas"), 3)
    judging = settings.model_copy(update={"rollouts": RolloutsSection(enabled=True)})
    layout, _ = await prepare_topics(judging)  # the topic may follow later
    await create_topic(
        broker.bootstrap, names("rollouts"), 1, configs={"cleanup.policy": "compact", "retention.ms": "-1"}
    )
    assert await prepare_topics(settings) == (layout, ())
    with pytest.raises(BrokerError, match="the valid one would be removed") as refused:
        await prepare_topics(judging)
    assert refused.value.kind == "compacted"


def test_aggregators_have_their_own_group() -> None:
    assert aggregator_group(Settings(kafka=KafkaSection(group_id="g"))) == "g-aggregate"
    assert aggregator_group(Settings(aggregate=AggregateSection(group_id="own"))) == "own"
