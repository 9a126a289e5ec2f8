"""The evaluator's topics: the required layout, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from forebay.schemas.errors import BrokerError
from forebay.schemas.topics import EVALUATOR_TOPICS
from forebay.stream.config.decision_section import DecisionSection, Route
from forebay.stream.config.sections import EvaluateSection, KafkaSection, RolloutsSection, Settings, TopicsSection
from forebay.stream.evaluate.topic_layout import (
    find_problems,
    layout_of,
    plan_evaluator_topics,
    require_joinable,
    topic_names,
)
from forebay.stream.evaluate.topics import check_evaluator_topics, create_evaluator_topics, find_layout
from forebay.stream.kafka.cluster.acls import Role, required_acls
from forebay.stream.kafka.cluster.topic_plan import Finding, TopicState
from forebay.stream.kafka.cluster.topics import create_topics
from tests.brokers.clients import create_topic
from tests.brokers.resolve import Broker
from tests.conftest import Names

SETTINGS = Settings(evaluate=EvaluateSection(enabled=True))
PLAN = plan_evaluator_topics(SETTINGS)
PREDICTIONS = TopicState(
    "predictions", "present", num_partitions=4, replication_factor=1, configs={"retention.ms": "604800000"}
)
GOOD = {
    topic.name: TopicState(
        topic.name, "present", num_partitions=topic.num_partitions, replication_factor=1, configs=topic.configs
    )
    for topic in PLAN
} | {"predictions": PREDICTIONS}


def changed(name: str, settings: Settings = SETTINGS, **changes: Any) -> tuple[Finding, ...]:
    """Return the findings for a changed topic. configs: override the correct ones."""
    if configs := changes.pop("configs", None):
        changes["configs"] = {**(GOOD[name].configs or {}), **configs}
    return find_problems(settings, PLAN, GOOD | {name: replace(GOOD[name], **changes)})


@pytest.mark.parametrize(("after_ms", "warned"), [(None, True), ("3600000", True), ("300000", False)])
def test_a_topic_of_labels_with_the_time_of_producers_is_warned_of(after_ms: str | None, warned: bool) -> None:
    configs = {"message.timestamp.type": "CreateTime"}
    if after_ms is not None:
        configs["message.timestamp.after.max.ms"] = after_ms
    findings = changed("labels", configs=configs)
    assert [(finding.severity, finding.kind) for finding in findings] == [("warning", "timestamps")] * warned
    assert all("message.timestamp.type=LogAppendTime" in str(finding.remedy) for finding in findings)


ROUTED = Settings(
    evaluate=EvaluateSection(enabled=True),
    decision=DecisionSection(min_confidence=0.6, routes=(Route(topic="high", label=1),)),
)


def test_topics_of_routes_and_review_are_read_too() -> None:
    states = GOOD | {name: replace(PREDICTIONS, name=name) for name in ("high", "review")}
    assert find_problems(ROUTED, PLAN, states) == ()
    assert set(topic_names(ROUTED)) == {"predictions", "high", "review", "labels", "quality"}
    layout = layout_of(ROUTED, states)
    assert layout.routed == ("high", "review")
    read = {acl.name for acl in required_acls(Role.EVALUATOR, ROUTED) if acl.operation == "READ"}
    assert read > set(layout.inputs())
    assert layout.inputs() == dict.fromkeys(("predictions", "high", "review", "labels"), 4)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"num_partitions": 3}, "partition_counts"),
        ({"status": "missing"}, "missing"),
        ({"status": "forbidden"}, "forbidden"),
        ({"configs": {"retention.ms": "89999999"}}, "retention"),
    ],
)
@pytest.mark.parametrize("name", ["high", "review"])
def test_a_topic_of_a_route_that_cannot_be_joined_is_an_error(name: str, changes: dict[str, Any], kind: str) -> None:
    states = GOOD | {other: replace(PREDICTIONS, name=other) for other in ("high", "review")}
    states[name] = replace(states[name], **changes)
    (finding,) = find_problems(ROUTED, PLAN, states)
    assert (finding.severity, finding.topic, finding.kind) == ("error", name, kind) and finding.remedy
    with pytest.raises(BrokerError, match=f"topic {name}: "):
        require_joinable(PREDICTIONS, (finding,))


def kinds(findings: tuple[Finding, ...]) -> list[tuple[str, str, str]]:
    return [(finding.severity, finding.topic, finding.kind) for finding in findings]


def test_labels_are_planned_with_the_partitions_of_predictions() -> None:
    settings = Settings(
        topics=TopicsSection(prefix="a.", replication_factor=3), evaluate=EvaluateSection(labels_topic="truth")
    )
    plan = plan_evaluator_topics(settings, num_predictions=7)
    assert [(topic.name, topic.num_partitions) for topic in plan] == [("a.truth", 7), ("a.quality", 4)]
    assert [topic.spec for topic in plan] == list(EVALUATOR_TOPICS)
    assert {topic.configs["min.insync.replicas"] for topic in plan} == {"2"}


def test_good_topics_have_no_findings() -> None:
    assert find_problems(SETTINGS, PLAN, GOOD) == ()


@pytest.mark.parametrize(
    ("name", "changes", "kind"),
    [
        ("labels", {"status": "missing"}, "missing"),
        ("quality", {"status": "missing"}, "missing"),
        ("labels", {"status": "forbidden"}, "forbidden"),
        ("labels", {"num_partitions": 3}, "partition_counts"),
        ("labels", {"num_partitions": 5}, "partition_counts"),
        ("labels", {"configs": {"cleanup.policy": "compact"}}, "compacted"),
        ("quality", {"configs": {"cleanup.policy": "compact,delete"}}, "compacted"),
        ("quality", {"configs": {"min.insync.replicas": "2"}}, "min_insync_replicas"),
        ("predictions", {"configs": {"retention.ms": "89999999"}}, "retention"),
    ],
)
def test_what_would_give_wrong_sums_is_an_error_with_a_remedy(name: str, changes: dict[str, Any], kind: str) -> None:
    (finding,) = changed(name, **changes)
    assert (finding.severity, finding.topic, finding.kind) == ("error", name, kind)
    assert finding.remedy
    with pytest.raises(BrokerError, match=f"topic {name}: ") as caught:
        require_joinable(PREDICTIONS, (finding,))
    assert caught.value.remedy == finding.remedy


def test_shorter_retention_is_only_a_warning() -> None:
    assert kinds(changed("labels", configs={"retention.ms": "3600000"})) == [("warning", "labels", "retention")]
    require_joinable(PREDICTIONS, changed("labels", configs={"retention.ms": "3600000"}))


@pytest.mark.parametrize("status", ["missing", "forbidden"])
def test_without_predictions_there_is_nothing_to_join(status: Any) -> None:
    with pytest.raises(BrokerError, match="topic predictions: ") as caught:
        require_joinable(TopicState("predictions", status), ())
    assert caught.value.remedy


def test_shadows_are_read_only_if_they_are_co_partitioned() -> None:
    settings = SETTINGS.model_copy(update={"rollouts": RolloutsSection(enabled=True)})
    assert topic_names(settings)[-1] == "shadow-predictions" and "shadow-predictions" not in topic_names(SETTINGS)
    assert list(layout_of(SETTINGS, GOOD).inputs()) == ["predictions", "labels"]
    for count, paired in ((4, True), (3, False), (0, False)):
        shadows = replace(PREDICTIONS, name="shadow-predictions", num_partitions=count)
        layout = layout_of(settings, GOOD | {"shadow-predictions": shadows})
        assert ("shadow-predictions" in layout.inputs()) == paired
        assert set(layout.inputs().values()) == {4}


async def test_topics_on_a_cluster(broker: Broker, names: Names) -> None:
    prefix = names("")
    settings = Settings(
        kafka=KafkaSection(bootstrap_servers=broker.bootstrap),
        topics=TopicsSection(prefix=prefix, partitions=3),
        evaluate=EvaluateSection(enabled=True),
    )
    with pytest.raises(BrokerError, match=f"topic {prefix}predictions: there is no such topic"):
        await find_layout(settings)
    await create_topics(settings)
    with pytest.raises(BrokerError, match=f"topic {prefix}labels: there is no such topic") as caught:
        await find_layout(settings)
    assert caught.value.remedy and "forebay topics create" in caught.value.remedy
    off = settings.model_copy(update={"evaluate": EvaluateSection()})
    assert await create_evaluator_topics(off, dry_run=False) == ()
    assert (await check_evaluator_topics(off)).wanted == ()

    other = settings.model_copy(update={"evaluate": EvaluateSection(enabled=True, labels_topic="truth")})
    await create_topic(broker.bootstrap, f"{prefix}truth", partitions=2)
    # Created with as many partitions as predictions have, whatever the setting is by now.
    more = settings.model_copy(update={"topics": TopicsSection(prefix=prefix, partitions=9)})
    assert {result.status for result in await create_evaluator_topics(more, dry_run=False)} == {"created"}
    assert [finding.severity for finding in (await check_evaluator_topics(settings)).findings] == []
    layout = await find_layout(settings)
    assert layout.inputs() == {f"{prefix}predictions": 3, f"{prefix}labels": 3}
    assert layout.quality.name == f"{prefix}quality" and layout.quality.num_partitions == 4
    with pytest.raises(BrokerError, match=f"truth: has 2 partitions, {prefix}predictions has 3"):
        await find_layout(other)
