"""The wanted topics, and how the actual topics differ from them. Pure: sends no request."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from forebay.schemas.topics import (
    AUDIT,
    CATALOGUE,
    DEAD_LETTERS,
    DRIFT,
    DRIFT_TOPICS,
    FEATURES,
    LATE_EVENTS,
    OUTCOME_DELTAS,
    PREDICTIONS,
    REVIEW,
    ROLLOUT_SWITCHES,
    ROLLOUT_TOPICS,
    ROLLOUTS,
    SHADOW_PREDICTIONS,
    TopicSpec,
    partitions_of,
    topic_name,
)
from forebay.stream.config.sections import Settings, TopicsSection, WindowSection
from forebay.stream.core.time_format import duration
from forebay.stream.kafka.cluster.rollout_topics import RETENTION_BYTES as RETENTION_BYTES
from forebay.stream.kafka.cluster.rollout_topics import RETENTION_MS as RETENTION_MS
from forebay.stream.kafka.cluster.rollout_topics import check_kept_forever
from forebay.stream.kafka.cluster.topic_state import Finding as Finding
from forebay.stream.kafka.cluster.topic_state import Severity
from forebay.stream.kafka.cluster.topic_state import TopicState as TopicState
from forebay.stream.kafka.cluster.topic_state import alter_config as alter_config
from forebay.stream.kafka.cluster.topic_timestamps import (
    TIMESTAMP_AFTER_MS,
    TIMESTAMP_BEFORE_MS,
    TIMESTAMP_TYPE,
    check_timestamps,
)

CLEANUP_POLICY: Final = "cleanup.policy"
MAX_MESSAGE_BYTES: Final = "max.message.bytes"
MIN_INSYNC_REPLICAS: Final = "min.insync.replicas"
COMPACTION_LAG_MS: Final = "min.compaction.lag.ms"
CONFIGS: Final = (
    CLEANUP_POLICY,
    COMPACTION_LAG_MS,
    MAX_MESSAGE_BYTES,
    TIMESTAMP_AFTER_MS,
    TIMESTAMP_BEFORE_MS,
    TIMESTAMP_TYPE,
    MIN_INSYNC_REPLICAS,
    RETENTION_BYTES,
    RETENTION_MS,
)

BROKER_MAX_MESSAGE_BYTES: Final = 1_048_588
"""Kafka's default of max.message.bytes."""
DEAD_LETTER_ROOM_BYTES: Final = 65_536
"""How much larger than its event a dead letter may be, because of the headers with the reason."""


@dataclass(frozen=True, slots=True)
class WantedTopic:
    """A topic as configured. name: with the prefix; configs: topic settings by their Kafka names."""

    name: str
    spec: TopicSpec
    num_partitions: int
    replication_factor: int
    configs: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Difference:
    """A setting whose actual value is not the wanted one."""

    setting: str
    wanted: str
    actual: str

    def __str__(self) -> str:
        return f"{self.setting} is {self.actual}, not {self.wanted}"


def output_specs(settings: Settings) -> tuple[TopicSpec, ...]:
    """Return the topics to which a worker of this configuration writes."""
    late = (LATE_EVENTS,) if settings.has_late_events_topic() else ()
    review = (REVIEW,) if settings.has_review_topic() else ()
    rollouts = ROLLOUT_TOPICS if settings.rollouts.enabled else ()
    drift = DRIFT_TOPICS if settings.drift.enabled else ()
    audit = (replace(AUDIT, retention_ms=settings.audit.retention_ms),) if settings.audit.enabled else ()
    return (*(spec for spec in CATALOGUE if spec is not FEATURES), *late, *review, *rollouts, *drift, *audit)


def plan_topics(settings: Settings, outputs: TopicsSection | None = None) -> tuple[WantedTopic, ...]:
    """Return all topics of this configuration, inputs first. Raises ConfigError for a name that Kafka does not allow.

    outputs: names and numbers of the output topics, if they differ from the configuration.
    """
    section = outputs or settings.topics
    specs = [(settings.topics, name, FEATURES) for name in settings.input.topics]
    specs += [(section, spec.name, spec) for spec in output_specs(settings)]
    # The topics of routes have the same content as predictions, and the same layout.
    specs += [(section, name, PREDICTIONS) for name in settings.routed_topics()]
    return tuple(
        want_topic(section, spec, name=name, configs=message_size(_max_message_bytes(spec, settings)))
        for section, name, spec in specs
    )


def want_topic(
    section: TopicsSection,
    spec: TopicSpec,
    *,
    name: str | None = None,
    num_partitions: int | None = None,
    configs: Mapping[str, str] = MappingProxyType({}),
) -> WantedTopic:
    """Return a topic of the catalogue as configured. Raises ConfigError for a name that Kafka does not allow.

    name: without the prefix; None for the catalogue's. num_partitions: None for the configured number.
    configs: settings besides the catalogue's.
    """
    replication_factor = section.replication_factor
    return WantedTopic(
        topic_name(section.prefix, name or spec.name),
        spec,
        num_partitions=partitions_of(spec, section.partitions) if num_partitions is None else num_partitions,
        replication_factor=replication_factor,
        configs={
            CLEANUP_POLICY: spec.cleanup_policy,
            RETENTION_MS: str(spec.retention_ms),
            # With three replicas an acknowledged record survives the loss of any broker. With fewer, requiring two would stop
            # all writes when the first broker is unreachable.
            MIN_INSYNC_REPLICAS: "2" if replication_factor >= 3 else "1",
            **spec.configs,
            **configs,
        },
    )


def message_size(wanted: int) -> dict[str, str]:
    """Return the topic setting for messages of up to `wanted` bytes; none if brokers accept them by default."""
    return {MAX_MESSAGE_BYTES: str(wanted)} if wanted > BROKER_MAX_MESSAGE_BYTES else {}


def _max_message_bytes(spec: TopicSpec, settings: Settings) -> int:
    if spec in (FEATURES, DEAD_LETTERS, LATE_EVENTS):
        return settings.input.max_event_bytes + DEAD_LETTER_ROOM_BYTES
    return settings.output.max_request_size


def differences(wanted: WantedTopic, state: TopicState) -> tuple[Difference, ...]:
    """Return the differences of an existing topic. A topic may accept larger messages than wanted."""
    different = []
    if state.num_partitions != wanted.num_partitions:
        different.append(Difference("partitions", str(wanted.num_partitions), str(state.num_partitions)))
    if state.replication_factor != wanted.replication_factor:
        different.append(
            Difference("replication factor", str(wanted.replication_factor), str(state.replication_factor))
        )
    for config, value in wanted.configs.items():
        actual = (state.configs or {}).get(config)
        if actual is None or actual == value:
            continue
        if config == MAX_MESSAGE_BYTES and (state.number(config) or 0) >= int(value):
            continue
        different.append(Difference(config, value, actual))
    return tuple(different)


def find_problems(
    settings: Settings, wanted: tuple[WantedTopic, ...], states: Mapping[str, TopicState]
) -> tuple[Finding, ...]:
    """Return all findings about the topics, the most severe first."""
    findings = [finding for topic in wanted for finding in _check_topic(topic, states[topic.name], settings)]
    findings += _check_counts(wanted, states)
    return by_severity(findings)


def by_severity(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return the findings, the most severe first."""
    order = {"error": 0, "warning": 1, "note": 2}
    return tuple(sorted(findings, key=lambda finding: order[finding.severity]))


def _check_topic(wanted: WantedTopic, state: TopicState, settings: Settings) -> Iterator[Finding]:
    name = wanted.name
    if state.status == "missing":
        yield Finding(
            severity="error",
            topic=name,
            kind="missing",
            message="there is no such topic",
            remedy="`forebay topics create` creates what is missing",
        )
        return
    if state.status == "forbidden":
        yield Finding(
            severity="error",
            topic=name,
            kind="forbidden",
            message="this user may not describe the topic",
            remedy=f"allow the user to describe it, and to {'read' if wanted.spec is FEATURES else 'write to'} it",
        )
        return
    if state.configs is None:
        if wanted.spec in (ROLLOUTS, ROLLOUT_SWITCHES):
            yield from check_kept_forever(state)
        yield Finding(
            severity="note",
            topic=name,
            kind="configs_unknown",
            message="the cluster does not return the topic's settings, so retention, cleanup and sizes were not checked",
            remedy="allow the user to describe the topic's configs",
        )
        return
    yield from _check_cleanup(wanted, state)
    yield from _check_retention(wanted, state)
    windows = _windows_of(settings, name) if wanted.spec is FEATURES else []
    yield from _check_replay(state, windows)
    yield from check_timestamps(state, windows, is_input=wanted.spec is FEATURES)
    yield from _check_replicas(wanted, state)
    yield from _check_sizes(wanted, state, settings)


def _check_cleanup(wanted: WantedTopic, state: TopicState) -> Iterator[Finding]:
    policy = (state.configs or {}).get(CLEANUP_POLICY, "")
    if "compact" not in policy:
        return
    harm = {
        FEATURES.name: "events would be removed before they are read, and tombstones are not events",
        PREDICTIONS.name: "older predictions of a key would be removed, and those without a key are refused",
        DEAD_LETTERS.name: "older dead letters of a key would be removed, and those without a key are refused",
        ROLLOUTS.name: "of two proposals for one revision, the valid one would be removed",
        ROLLOUT_SWITCHES.name: "older switches of a model would be removed, so that its history would be lost",
        SHADOW_PREDICTIONS.name: "older predictions of a key would be removed, and those without a key are refused",
        DRIFT.name: "counts that add up would be removed",
        AUDIT.name: "older blocks of a chain would be removed, and it could no longer be verified",
        REVIEW.name: "older predictions of a key would be removed, and those without a key are refused",
        LATE_EVENTS.name: "older events of a key would be removed, and those without a key are refused",
        OUTCOME_DELTAS.name: "outcome deltas would be removed before they are aggregated",
    }[wanted.spec.name]
    yield Finding(
        severity="error",
        topic=wanted.name,
        kind="compacted",
        message=f"{CLEANUP_POLICY} is {policy}: {harm}",
        remedy=alter_config(wanted.name, CLEANUP_POLICY, wanted.spec.cleanup_policy),
    )


def _check_retention(wanted: WantedTopic, state: TopicState) -> Iterator[Finding]:
    if wanted.spec in (ROLLOUTS, ROLLOUT_SWITCHES):
        yield from check_kept_forever(state)
        return
    actual, name = state.number(RETENTION_MS), wanted.name
    if actual is not None and actual != wanted.spec.retention_ms:
        shorter = 0 <= actual < wanted.spec.retention_ms
        yield Finding(
            severity="warning" if shorter else "note",
            topic=name,
            kind="retention",
            message=f"records are kept {duration(actual)}; the catalogue has {duration(wanted.spec.retention_ms)}"
            + (": records that are not read by then are lost" if shorter else ""),
            remedy=alter_config(name, RETENTION_MS, wanted.configs[RETENTION_MS]) if shorter else None,
        )
    limit = state.number(RETENTION_BYTES)
    if limit is not None and limit >= 0:
        yield Finding(
            "note",
            name,
            "retention",
            f"{RETENTION_BYTES} is {limit}: a partition that grows beyond it loses its oldest records "
            "before retention.ms",
        )


def _windows_of(settings: Settings, topic: str) -> list[WindowSection]:
    """Return the windows whose events come from an input topic: those of its model, and of models without a topic."""
    return [
        served.window
        for served in settings.models_to_serve()
        if served.window.kind != "none"
        and (not served.topics or topic in [topic_name(settings.topics.prefix, own) for own in served.topics])
    ]


def _check_replay(state: TopicState, windows: Sequence[WindowSection]) -> Iterator[Finding]:
    """Yield an error if retention is too short to rebuild open windows from their events when a worker restarts."""
    actual = state.number(RETENTION_MS)
    needed = max((window.longest_ms + window.outage_ms for window in windows), default=0)
    if actual is not None and 0 <= actual < needed:
        yield Finding(
            severity="error",
            topic=state.name,
            kind="retention",
            message=f"records are kept {duration(actual)}; these windows and window.outage_ms need "
            f"{duration(needed)}, or open windows could not be rebuilt",
            remedy=alter_config(state.name, RETENTION_MS, str(needed)),
        )


def _check_replicas(wanted: WantedTopic, state: TopicState) -> Iterator[Finding]:
    least, replicas = state.number(MIN_INSYNC_REPLICAS), state.replication_factor
    if least is None:
        return
    if least > replicas and wanted.spec is not FEATURES:
        yield Finding(
            severity="error",
            topic=wanted.name,
            kind="min_insync_replicas",
            message=f"{MIN_INSYNC_REPLICAS} is {least}, but the topic has {replicas} replicas: every write would be refused",
            remedy=alter_config(wanted.name, MIN_INSYNC_REPLICAS, wanted.configs[MIN_INSYNC_REPLICAS]),
        )
    elif least == 1 and replicas > 2:
        yield Finding(
            severity="warning",
            topic=wanted.name,
            kind="min_insync_replicas",
            message=f"{MIN_INSYNC_REPLICAS} is 1: an acknowledged record can be lost with one broker, despite "
            f"{replicas} replicas",
            remedy=alter_config(wanted.name, MIN_INSYNC_REPLICAS, "2"),
        )


def _check_sizes(wanted: WantedTopic, state: TopicState, settings: Settings) -> Iterator[Finding]:
    limit, name = state.number(MAX_MESSAGE_BYTES), wanted.name
    if limit is None or wanted.spec is FEATURES:
        return
    needed = _max_message_bytes(wanted.spec, settings)
    if limit >= needed:
        return
    if wanted.spec is DEAD_LETTERS:
        message = (
            f"accepts {limit} bytes per record: the dead letter of an event near input.max_event_bytes "
            f"({settings.input.max_event_bytes}) does not fit, and its value will be truncated"
        )
    else:
        message = (
            f"accepts {limit} bytes per record; output.max_request_size ({settings.output.max_request_size}) "
            "is larger and will not be used in full"
        )
    severity: Severity = "warning" if wanted.spec is DEAD_LETTERS else "note"
    yield Finding(
        severity=severity,
        topic=name,
        kind=MAX_MESSAGE_BYTES,
        message=message,
        remedy=alter_config(name, MAX_MESSAGE_BYTES, str(needed)),
    )


def _check_counts(wanted: tuple[WantedTopic, ...], states: Mapping[str, TopicState]) -> Iterator[Finding]:
    present = [topic for topic in wanted if states[topic.name].status == "present"]
    predicted = [topic.name for topic in present if topic.spec in (PREDICTIONS, REVIEW)]
    for topic in present:
        state = states[topic.name]
        if topic.spec is FEATURES:
            for name in predicted:
                yield from _check_pair(state, states[name])
        if state.num_partitions != topic.num_partitions and topic.spec not in (ROLLOUTS, ROLLOUT_SWITCHES):
            source = "topics.partitions" if topic.spec.partitions is None else "the catalogue"
            message = f"has {state.num_partitions} partitions; {source} has {topic.num_partitions}"
            yield Finding("note", topic.name, "partitions", message)
        if state.replication_factor != topic.replication_factor:
            fewer = state.replication_factor < topic.replication_factor
            message = (
                f"has {state.replication_factor} replicas; topics.replication_factor is {topic.replication_factor}"
            )
            yield Finding("warning" if fewer else "note", topic.name, "replication_factor", message)


def _check_pair(features: TopicState, predictions: TopicState) -> Iterator[Finding]:
    if features.num_partitions == predictions.num_partitions:
        return
    fewer, more = sorted((features, predictions), key=lambda state: state.num_partitions)
    yield Finding(
        severity="warning",
        topic=predictions.name,
        kind="partition_counts",
        message=f"has {predictions.num_partitions} partitions, {features.name} has {features.num_partitions}: "
        "predictions are partitioned by key instead of following their event, so only the order per key is kept",
        remedy=f"give both the same number: kafka-topics --alter --topic {fewer.name} --partitions "
        f"{more.num_partitions} (which moves keys to other partitions)",
    )
