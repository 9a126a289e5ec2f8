"""Which topics are wanted, and what is reported about those that exist."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from forebay.schemas.errors import ConfigError
from forebay.schemas.topics import CATALOGUE, FEATURES, ROLLOUT_TOPICS
from forebay.stream.config.sections import (
    InputSection,
    ModelEntry,
    OutputSection,
    RolloutsSection,
    Settings,
    TopicsSection,
    WindowSection,
)
from forebay.stream.kafka.cluster.topic_plan import (
    CLEANUP_POLICY,
    MAX_MESSAGE_BYTES,
    MIN_INSYNC_REPLICAS,
    RETENTION_BYTES,
    RETENTION_MS,
    TopicState,
    WantedTopic,
    differences,
    find_problems,
    plan_topics,
)
from forebay.stream.kafka.cluster.topic_timestamps import (
    TIMESTAMP_AFTER_MS,
    TIMESTAMP_BEFORE_MS,
    TIMESTAMP_TYPE,
    timestamp_bounds,
)

SETTINGS = Settings()


def as_wanted(settings: Settings = SETTINGS) -> dict[str, TopicState]:
    """Return every topic as planned, with the broker's defaults for settings that the plan leaves open."""
    defaults = {MAX_MESSAGE_BYTES: "1048588", RETENTION_BYTES: "-1"}
    return {
        topic.name: TopicState(
            topic.name,
            "present",
            num_partitions=topic.num_partitions,
            replication_factor=topic.replication_factor,
            configs={**defaults, **topic.configs},
        )
        for topic in plan_topics(settings)
    }


def changed(
    name: str,
    configs: Mapping[str, str] | None = None,
    *,
    partitions: int = 4,
    replicas: int = 1,
    settings: Settings = SETTINGS,
) -> dict[str, TopicState]:
    states = as_wanted(settings)
    old = states[name].configs
    assert old is not None
    states[name] = TopicState(
        name, "present", num_partitions=partitions, replication_factor=replicas, configs={**old, **(configs or {})}
    )
    return states


def told(states: Mapping[str, TopicState], settings: Settings = SETTINGS) -> list[tuple[str, str, str]]:
    return [(f.severity, f.topic, f.kind) for f in find_problems(settings, plan_topics(settings), states)]


def wanted(name: str, settings: Settings = SETTINGS) -> WantedTopic:
    return next(topic for topic in plan_topics(settings) if topic.name == name)


def test_planned_topics_follow_the_catalogue_with_configured_partitions() -> None:
    plan = plan_topics(Settings(topics=TopicsSection(partitions=12, replication_factor=3)))
    assert [topic.spec for topic in plan] == list(CATALOGUE)
    assert [topic.num_partitions for topic in plan] == [12, 12, 12, 4]
    assert {topic.replication_factor for topic in plan} == {3}
    for topic in plan:
        assert topic.configs[RETENTION_MS] == str(topic.spec.retention_ms)
        assert topic.configs[CLEANUP_POLICY] == "delete"


def test_every_input_topic_is_planned_like_features_and_all_have_the_prefix() -> None:
    settings = Settings(input=InputSection(topics=("flights", "delays")), topics=TopicsSection(prefix="a."))
    names = [topic.name for topic in plan_topics(settings)]
    assert names == ["a.flights", "a.delays", "a.predictions", "a.dead-letters", "a.outcome-deltas"]
    assert wanted("a.delays", settings).spec.name == "features"


def test_a_name_that_is_too_long_with_the_prefix_is_an_error() -> None:
    settings = Settings(input=InputSection(topics=("x" * 200,)), topics=TopicsSection(prefix="y" * 100))
    with pytest.raises(ConfigError, match="is not a valid topic name"):
        plan_topics(settings)


@pytest.mark.parametrize(("replication_factor", "least"), [(1, "1"), (2, "1"), (3, "2"), (5, "2")])
def test_three_replicas_require_two_in_sync(replication_factor: int, least: str) -> None:
    plan = plan_topics(Settings(topics=TopicsSection(replication_factor=replication_factor)))
    assert {topic.configs[MIN_INSYNC_REPLICAS] for topic in plan} == {least}


def test_dead_letters_accept_the_largest_event_and_its_headers() -> None:
    settings = Settings(input=InputSection(max_event_bytes=3_000_000), output=OutputSection(max_request_size=2_000_000))
    limits = {topic.name: topic.configs.get(MAX_MESSAGE_BYTES) for topic in plan_topics(settings)}
    assert limits["features"] == limits["dead-letters"] == str(3_000_000 + 65_536)
    assert limits["predictions"] == limits["outcome-deltas"] == "2000000"


def test_small_messages_keep_the_brokers_default_limit() -> None:
    settings = Settings(input=InputSection(max_event_bytes=1000))
    assert all(MAX_MESSAGE_BYTES not in topic.configs for topic in plan_topics(settings))


def test_topics_as_wanted_have_no_findings_or_differences() -> None:
    states = as_wanted()
    assert told(states) == []
    assert all(differences(topic, states[topic.name]) == () for topic in plan_topics(SETTINGS))


def test_differences_name_setting_wanted_and_actual() -> None:
    state = changed("features", {RETENTION_MS: "1000"}, partitions=2, replicas=3)["features"]
    assert [str(each) for each in differences(wanted("features"), state)] == [
        "partitions is 2, not 4",
        "replication factor is 3, not 1",
        "retention.ms is 1000, not 604800000",
    ]


def test_a_larger_message_limit_is_not_a_difference() -> None:
    larger = changed("dead-letters", {MAX_MESSAGE_BYTES: "9000000"})["dead-letters"]
    smaller = changed("dead-letters", {MAX_MESSAGE_BYTES: "1048588"})["dead-letters"]
    assert differences(wanted("dead-letters"), larger) == ()
    assert [each.setting for each in differences(wanted("dead-letters"), smaller)] == [MAX_MESSAGE_BYTES]


def test_missing_and_forbidden_topics_are_errors() -> None:
    states = as_wanted()
    states["features"] = TopicState("features", "missing")
    states["predictions"] = TopicState("predictions", "forbidden")
    assert told(states) == [("error", "features", "missing"), ("error", "predictions", "forbidden")]


@pytest.mark.parametrize("name", [spec.name for spec in CATALOGUE])
@pytest.mark.parametrize("policy", ["compact", "compact,delete"])
def test_a_compacted_topic_is_refused(name: str, policy: str) -> None:
    assert ("error", name, "compacted") in told(changed(name, {CLEANUP_POLICY: policy}))


@pytest.mark.parametrize(
    ("retention_ms", "severity"), [("3600000", "warning"), ("0", "warning"), ("-1", "note"), ("999999999999", "note")]
)
def test_shorter_retention_is_a_warning_and_longer_only_a_note(retention_ms: str, severity: str) -> None:
    assert told(changed("features", {RETENTION_MS: retention_ms})) == [(severity, "features", "retention")]


def test_a_limit_on_bytes_is_reported_because_it_shortens_retention() -> None:
    assert told(changed("features", {RETENTION_BYTES: "1000000"})) == [("note", "features", "retention")]


def test_different_partition_counts_of_features_and_predictions_are_a_warning_about_order() -> None:
    states = changed("predictions", partitions=6)
    assert ("warning", "predictions", "partition_counts") in told(states)
    finding = find_problems(SETTINGS, plan_topics(SETTINGS), states)[0]
    assert "per key" in finding.message
    assert finding.remedy and "--topic features --partitions 6" in finding.remedy


def test_partition_counts_that_differ_only_from_the_configuration_are_a_note() -> None:
    states = {
        name: TopicState(
            name, "present", num_partitions=8, replication_factor=state.replication_factor, configs=state.configs
        )
        for name, state in as_wanted().items()
    }
    findings = find_problems(SETTINGS, plan_topics(SETTINGS), states)
    assert {finding.severity for finding in findings} == {"note"}
    assert {finding.kind for finding in findings} == {"partitions"}


def test_fewer_replicas_than_configured_are_a_warning() -> None:
    settings = Settings(topics=TopicsSection(replication_factor=3))
    states = changed("predictions", {MIN_INSYNC_REPLICAS: "1"}, replicas=2, settings=settings)
    assert told(states, settings) == [("warning", "predictions", "replication_factor")]


def test_more_in_sync_replicas_than_replicas_are_an_error() -> None:
    assert told(changed("predictions", {MIN_INSYNC_REPLICAS: "2"})) == [("error", "predictions", "min_insync_replicas")]
    # Forebay does not write to its input.
    assert told(changed("features", {MIN_INSYNC_REPLICAS: "2"})) == []


def test_one_in_sync_replica_of_three_is_a_warning() -> None:
    settings = Settings(topics=TopicsSection(replication_factor=3))
    states = changed("predictions", {MIN_INSYNC_REPLICAS: "1"}, replicas=3, settings=settings)
    assert told(states, settings) == [("warning", "predictions", "min_insync_replicas")]


@pytest.mark.parametrize(("name", "severity"), [("dead-letters", "warning"), ("predictions", "note")])
def test_a_limit_that_is_too_small_is_reported(name: str, severity: str) -> None:
    assert told(changed(name, {MAX_MESSAGE_BYTES: "50000"})) == [(severity, name, MAX_MESSAGE_BYTES)]


def test_unreported_settings_are_a_note() -> None:
    states = as_wanted()
    states["features"] = TopicState("features", "present", num_partitions=4, replication_factor=1, configs=None)
    assert told(states) == [("note", "features", "configs_unknown")]
    assert differences(wanted("features"), states["features"]) == ()


def test_the_most_severe_finding_comes_first() -> None:
    states = changed("features", {RETENTION_MS: "-1", RETENTION_BYTES: "5"})
    states |= {"outcome-deltas": TopicState("outcome-deltas", "missing")}
    states |= {"dead-letters": changed("dead-letters", {RETENTION_MS: "5"})["dead-letters"]}
    severities = [severity for severity, _, _ in told(states)]
    assert severities == ["error", "warning", "note", "note"]


WINDOWED = Settings(
    window=WindowSection(
        kind="tumbling", size_ms=3_600_000, max_out_of_orderness_ms=0, outage_ms=7_200_000, late_events_topic=True
    )
)


def test_windows_are_rebuilt_from_events_that_must_still_exist() -> None:
    enough, short = {RETENTION_MS: "10800000"}, {RETENTION_MS: "10799999"}
    assert ("warning", "features", "retention") in told(changed("features", enough, settings=WINDOWED), WINDOWED)
    assert not any(
        severity == "error" for severity, _, _ in told(changed("features", enough, settings=WINDOWED), WINDOWED)
    )
    assert told(changed("features", short, settings=WINDOWED), WINDOWED)[0] == ("error", "features", "retention")
    assert not any(severity == "error" for severity, _, _ in told(changed("features", short)))


def test_late_events_have_a_topic_only_where_they_are_wished_for() -> None:
    assert "late-events" in as_wanted(WINDOWED) and "late-events" not in as_wanted()
    states = changed("late-events", {CLEANUP_POLICY: "compact"}, settings=WINDOWED)
    assert ("error", "late-events", "compacted") in told(states, WINDOWED)


def test_with_windows_producers_timestamps_are_worth_a_note() -> None:
    windows = Settings(window=WindowSection(kind="tumbling", size_ms=1000))
    configs = {TIMESTAMP_TYPE: "CreateTime", TIMESTAMP_AFTER_MS: "3600000"}
    assert told(changed("features", configs)) == []
    (note,) = find_problems(windows, plan_topics(windows), changed("features", configs, settings=windows))
    assert (note.severity, note.kind) == ("note", "timestamps")
    assert "their producers' time, up to 1 hour ahead: events more than 1 minute" in note.message
    assert told(changed("features", {TIMESTAMP_TYPE: "LogAppendTime"}, settings=windows), windows) == []


def test_a_topic_that_refuses_a_workers_clock_when_it_is_a_little_ahead_is_a_warning() -> None:
    tight = {TIMESTAMP_TYPE: "CreateTime", TIMESTAMP_AFTER_MS: "1000"}
    assert told(changed("predictions", tight)) == [("warning", "predictions", "timestamps")]
    assert told(changed("predictions", tight | {TIMESTAMP_TYPE: "LogAppendTime"})) == []


def test_bounds_on_timestamps_in_words() -> None:
    configs = {TIMESTAMP_AFTER_MS: "3600000", TIMESTAMP_BEFORE_MS: str(2**63 - 1)}
    assert timestamp_bounds(TopicState("predictions", "present", configs=configs)) == (
        "message.timestamp.after.max.ms is 1 hour and message.timestamp.before.max.ms is forever"
    )
    assert timestamp_bounds(TopicState("predictions", "present")).startswith("the cluster does not report")


SEVERAL = Settings(
    models=(
        ModelEntry(name="events", topics=("features",)),
        ModelEntry(name="windows", topics=("clicks",), window=WINDOWED.window),
    )
)


def test_only_the_topics_of_a_model_with_windows_must_keep_its_events() -> None:
    assert [topic.name for topic in plan_topics(SEVERAL) if topic.spec is FEATURES] == ["features", "clicks"]
    assert "late-events" in as_wanted(SEVERAL)
    short = {RETENTION_MS: "10799999"}
    assert told(changed("clicks", short, settings=SEVERAL), SEVERAL)[0] == ("error", "clicks", "retention")
    assert [severity for severity, _, _ in told(changed("features", short, settings=SEVERAL), SEVERAL)] == ["warning"]
    producers = {TIMESTAMP_TYPE: "CreateTime"}
    assert told(changed("clicks", producers, settings=SEVERAL), SEVERAL) == [("note", "clicks", "timestamps")]
    assert told(changed("features", producers, settings=SEVERAL), SEVERAL) == []


def test_the_strictest_of_several_models_with_windows_counts() -> None:
    longer = WINDOWED.window.model_copy(update={"outage_ms": 7_200_001})
    entries = tuple(ModelEntry(name=name, window=window) for name, window in (("a", WINDOWED.window), ("b", longer)))
    both = Settings(models=entries)
    short, enough = {RETENTION_MS: "10800000"}, {RETENTION_MS: "10800001"}
    assert told(changed("features", short, settings=both), both)[0] == ("error", "features", "retention")
    assert told(changed("features", enough, settings=both), both)[0][0] == "warning"


ROLLOUTS_ON = Settings(rollouts=RolloutsSection(enabled=True))


def test_topics_of_rollouts_are_only_planned_if_rollouts_are_enabled() -> None:
    plain = [topic.spec for topic in plan_topics(SETTINGS)]
    assert not any(spec in plain for spec in ROLLOUT_TOPICS)
    added = [topic for topic in plan_topics(ROLLOUTS_ON) if topic.spec not in plain]
    assert [(topic.name, topic.num_partitions, topic.configs[RETENTION_MS]) for topic in added] == [
        ("rollouts", 1, "-1"),
        ("rollout-switches", 1, "-1"),
        ("shadow-predictions", 4, "604800000"),
    ]
    assert told(as_wanted(ROLLOUTS_ON), ROLLOUTS_ON) == []


@pytest.mark.parametrize("name", ["rollouts", "rollout-switches"])
@pytest.mark.parametrize(
    ("configs", "partitions", "kind", "remedy"),
    [
        ({CLEANUP_POLICY: "compact"}, 1, "compacted", "--add-config cleanup.policy=delete"),
        ({CLEANUP_POLICY: "compact,delete"}, 1, "compacted", "--add-config cleanup.policy=delete"),
        ({RETENTION_MS: "604800000"}, 1, "retention", "--add-config retention.ms=-1"),
        ({RETENTION_BYTES: "1000"}, 1, "retention", "--add-config retention.bytes=-1"),
        ({}, 4, "partitions", "delete the topic"),
    ],
)
def test_a_topic_of_rollouts_that_could_lose_records_or_their_order_is_an_error(
    name: str, configs: dict[str, str], partitions: int, kind: str, remedy: str
) -> None:
    states = changed(name, configs, partitions=partitions, settings=ROLLOUTS_ON)
    assert told(states, ROLLOUTS_ON) == [("error", name, kind)]
    (finding,) = find_problems(ROLLOUTS_ON, plan_topics(ROLLOUTS_ON), states)
    assert finding.remedy and remedy in finding.remedy


def test_one_partition_is_required_even_if_the_cluster_returns_no_settings() -> None:
    states = as_wanted(ROLLOUTS_ON)
    states["rollouts"] = TopicState("rollouts", "present", num_partitions=2, replication_factor=1, configs=None)
    assert ("error", "rollouts", "partitions") in told(states, ROLLOUTS_ON)
