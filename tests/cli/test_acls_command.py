"""`forebay acls`: the command, and the errors of missing permissions."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from aiokafka import errors as kafka_errors

from forebay.stream.cli import main
from forebay.stream.cli.acls import ROLES
from forebay.stream.config.alert_rule import AlertRule
from forebay.stream.config.drift_section import DriftSection
from forebay.stream.config.sections import (
    AggregateSection,
    DeliverySection,
    KafkaSection,
    ModelEntry,
    RolloutsSection,
    Settings,
    TopicsSection,
    WindowSection,
)
from forebay.stream.kafka.cluster.acls import Acl, Role, required_acls
from forebay.stream.kafka.cluster.authorization_errors import explain_authorization_error


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in a folder without a forebay.toml."""
    monkeypatch.chdir(tmp_path)


def test_roles_are_those_of_the_code() -> None:
    assert list(ROLES) == [role.value for role in Role]


def test_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["acls", "worker", "--set", "topics.prefix=shop."]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["User:forebay", "READ", "topic", "shop.features"] in lines
    assert ["User:forebay", "WRITE", "transactional-id", "forebay-forebay-*"] in lines


def test_commands_for_kafka_acls(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--commands", "--principal", "User:CN=a b", "--set", "kafka.bootstrap_servers=kafka:9092"]
    assert main(["acls", "worker", *arguments]) == 0
    words = [shlex.split(line) for line in capsys.readouterr().out.splitlines()]
    start = ["kafka-acls.sh", "--bootstrap-server", "kafka:9092", "--add", "--allow-principal", "User:CN=a b"]
    assert all(line[:6] == start for line in words)
    assert [*start, "--operation", "READ", "--topic", "features"] in words
    prefixed = ["--transactional-id", "forebay-forebay-", "--resource-pattern-type", "prefixed"]
    assert [*start, "--operation", "WRITE", *prefixed] in words


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["acls", "dlq-replay", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0] == {
        "principal": "User:forebay", "resource": "topic", "name": "dead-letters", "operation": "READ", "prefixed": False,
    }  # fmt: skip


def test_names_follow_the_configuration() -> None:
    settings = Settings(
        kafka=KafkaSection(group_id="g"),
        topics=TopicsSection(prefix="p."),
        delivery=DeliverySection(processing_guarantee="at_least_once"),
    )
    worker = required_acls(Role.WORKER, settings)
    late = Acl("topic", "p.late-events", "WRITE")
    assert late not in worker
    with_late = settings.model_copy(update={"window": settings.window.model_copy(update={"late_events_topic": True})})
    assert late in required_acls(Role.WORKER, with_late)
    models = (ModelEntry(name="a"), ModelEntry(name="b", topics=("x",), window=WindowSection(late_events_topic=True)))
    several = Settings(topics=TopicsSection(prefix="p."), models=models)
    assert {late, Acl("topic", "p.x", "READ"), Acl("topic", "p.features", "READ")} <= set(
        required_acls(Role.WORKER, several)
    )
    assert Acl("group", "g", "READ") in worker and not [acl for acl in worker if acl.resource == "transactional-id"]
    aggregator = required_acls(Role.AGGREGATOR, settings)
    assert Acl("group", "g-aggregate", "READ") in aggregator
    # Without a rule there are no alerts to write.
    assert not [acl for acl in aggregator if acl.name == "p.alerts"]
    assert Acl("topic", "p.error-aggregates", "READ") not in aggregator


def test_rollouts_add_permissions_only_where_they_are_enabled() -> None:
    off, on = Settings(), Settings(rollouts=RolloutsSection(enabled=True))

    def added(role: Role) -> set[str]:
        acls = set(required_acls(role, on)) - set(required_acls(role, off))
        return {str(acl) for acl in acls if acl.operation != "DESCRIBE_CONFIGS"}

    assert added(Role.WORKER) == {
        "READ on the topic rollouts",
        "WRITE on the topic rollouts",
        "WRITE on the topic rollout-switches",
        "WRITE on the topic shadow-predictions",
    }
    assert added(Role.AGGREGATOR) == {
        "READ on the topic rollouts",
        "WRITE on the topic rollouts",
        "READ on the topic alerts",
        "WRITE on the topic alerts",
    }
    assert added(Role.REPLAY) == set()
    assert {str(acl) for acl in required_acls(Role.ROLLOUTS, on)} == {
        "READ on the topic rollouts",
        "READ on the topic rollout-switches",
        "READ on the topic outcome-deltas",
        "WRITE on the topic rollouts",
        "DESCRIBE on the group forebay",
    }


def test_rules_about_quality_and_drift_add_their_topics_once() -> None:
    rules = (
        AlertRule(name="a", category="quality", metric="accuracy", below=0.8),
        AlertRule(name="b", category="drift", metric="drift"),
    )
    aggregate = AggregateSection(alerts=rules)
    for settings in (Settings(aggregate=aggregate), Settings(aggregate=aggregate, drift=DriftSection(enabled=True))):
        acls = [str(acl) for acl in required_acls(Role.AGGREGATOR, settings)]
        assert len(set(acls)) == len(acls)
        assert {"READ on the topic quality", "READ on the topic drift"} <= set(acls)
    failures = Settings(aggregate=AggregateSection(alerts=(AlertRule(name="a", category="quality", count=3),)))
    assert Acl("topic", "quality", "READ") not in required_acls(Role.AGGREGATOR, failures)


@pytest.mark.parametrize(
    ("error", "report"),
    [
        (kafka_errors.TopicAuthorizationFailedError("a"), "WRITE on the topic a"),
        (kafka_errors.TopicAuthorizationFailedError({"b", "a"}), "WRITE on the topic a, b"),
        (kafka_errors.GroupAuthorizationFailedError("g"), "READ on the group g"),
        (kafka_errors.ClusterAuthorizationFailedError(), "WRITE on the topic mine"),
    ],
)
def test_refusals_name_what_is_missing(error: Exception, report: str) -> None:
    found = explain_authorization_error(error, "WRITE", "mine")
    assert found is not None and found.message == f"not allowed: {report}"


def test_other_errors_are_not_refusals() -> None:
    assert explain_authorization_error(kafka_errors.NotLeaderForPartitionError(), "READ") is None
