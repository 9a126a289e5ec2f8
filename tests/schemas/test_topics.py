"""The catalogue of topics."""

from __future__ import annotations

import pytest

from forebay.schemas.definitions import definitions
from forebay.schemas.errors import ConfigError
from forebay.schemas.topics import (
    AGGREGATOR_CHANGELOG,
    ALL_TOPICS,
    FEATURES,
    OUTCOME_DELTAS,
    ROLLOUT_SWITCHES,
    ROLLOUTS,
    TopicSpec,
    partitions_of,
    topic_name,
)


def test_names_are_unique_and_in_the_order_of_processing() -> None:
    assert [spec.name for spec in ALL_TOPICS] == [
        "features",
        "predictions",
        "dead-letters",
        "outcome-deltas",
        "late-events",
        "review",
        "rollouts",
        "rollout-switches",
        "shadow-predictions",
        "labels",
        "quality",
        "drift",
        "audit",
        "error-aggregates",
        "alerts",
        "aggregator-changelog",
    ]


@pytest.mark.parametrize("spec", ALL_TOPICS, ids=lambda spec: spec.name)
def test_each_is_described_and_has_a_schema(spec: TopicSpec) -> None:
    assert spec.schema in definitions()
    assert spec.key and spec.owner and spec.description.endswith(".")
    assert "ompact" in spec.description
    if spec is AGGREGATOR_CHANGELOG:
        assert (spec.cleanup_policy, spec.retention_ms) == ("compact", -1)
        return
    assert spec.cleanup_policy == "delete"
    if spec in (ROLLOUTS, ROLLOUT_SWITCHES):
        assert spec.retention_ms == -1 and "Kept for ever" in spec.description and spec.partitions == 1
        return
    days = spec.retention_ms / 86_400_000
    assert f"{days:g} days" in spec.description, "the description gives the reason for the settings"


def test_outputs_are_kept_at_least_as_long_as_the_events() -> None:
    kept = [spec for spec in ALL_TOPICS if spec.cleanup_policy == "delete" and spec.retention_ms >= 0]
    assert all(spec.retention_ms >= FEATURES.retention_ms for spec in kept)


def test_partitions_follow_the_configuration_unless_fixed() -> None:
    assert partitions_of(FEATURES, 12) == 12
    assert partitions_of(OUTCOME_DELTAS, 12) == partitions_of(OUTCOME_DELTAS, 1) == 4


def test_the_changelog_has_as_many_partitions_as_the_outcome_deltas() -> None:
    assert partitions_of(AGGREGATOR_CHANGELOG, 12) == partitions_of(OUTCOME_DELTAS, 12)


def test_a_prefix_directly_precedes_the_name() -> None:
    assert topic_name("", "features") == "features"
    assert topic_name("team-a.", "features") == "team-a.features"


@pytest.mark.parametrize("prefix", ["a b", "ä", "team/", "x" * 250])
def test_a_name_that_kafka_refuses_is_refused_here(prefix: str) -> None:
    with pytest.raises(ConfigError, match="is not a valid topic name") as caught:
        topic_name(prefix, "features")
    assert caught.value.remedy and "topics.prefix" in caught.value.remedy


@pytest.mark.parametrize("name", [".", "..", ""])
def test_names_with_a_meaning_to_the_file_system_are_refused(name: str) -> None:
    with pytest.raises(ConfigError):
        topic_name("", name)
