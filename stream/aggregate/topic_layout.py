"""The aggregator's topics as they are meant to be, and what is wrong with those that the cluster has. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from forebay.schemas.errors import BrokerError
from forebay.schemas.topics import (
    AGGREGATOR_CHANGELOG,
    AGGREGATOR_TOPICS,
    ALERTS,
    ERROR_AGGREGATES,
    HOUR_MS,
    OUTCOME_DELTAS,
    TopicSpec,
    partitions_of,
    topic_name,
)
from forebay.stream.config.sections import Settings
from forebay.stream.core.time_format import duration
from forebay.stream.kafka.cluster.topic_plan import (
    CLEANUP_POLICY,
    COMPACTION_LAG_MS,
    MIN_INSYNC_REPLICAS,
    RETENTION_MS,
    Finding,
    TopicState,
    WantedTopic,
    alter_config,
    by_severity,
)

_MADE_BY: Final = "`forebay topics create` creates what is missing, and so does `forebay aggregate` if it is allowed to"


@dataclass(frozen=True, slots=True)
class Layout:
    """Names with the prefix. num_aggregates: partitions of error-aggregates."""

    deltas: str
    changelog: str
    aggregates: str
    alerts: str
    num_aggregates: int


def plan_aggregator_topics(settings: Settings, *, num_deltas: int | None = None) -> tuple[WantedTopic, ...]:
    """The topics as they are meant to be. num_deltas: partitions that outcome-deltas really has, where that is known."""
    section = settings.topics

    def count(spec: TopicSpec) -> int:
        if spec is AGGREGATOR_CHANGELOG and num_deltas is not None:
            return num_deltas
        return partitions_of(spec, section.partitions)

    return tuple(
        WantedTopic(
            topic_name(section.prefix, spec.name),
            spec,
            num_partitions=count(spec),
            replication_factor=section.replication_factor,
            configs={
                CLEANUP_POLICY: spec.cleanup_policy,
                RETENTION_MS: str(spec.retention_ms),
                MIN_INSYNC_REPLICAS: "2" if section.replication_factor >= 3 else "1",
                **spec.configs,
                **(_changelog_configs(settings) if spec is AGGREGATOR_CHANGELOG else {}),
            },
        )
        for spec in AGGREGATOR_TOPICS
    )


def _changelog_configs(settings: Settings) -> dict[str, str]:
    """Longer than windows are open, and at least as long as the catalogue has it (see decision 14)."""
    least = int(AGGREGATOR_CHANGELOG.configs[COMPACTION_LAG_MS])
    return {COMPACTION_LAG_MS: str(max(least, settings.aggregate.closed_after_ms + HOUR_MS))}


def find_problems(
    deltas: TopicState, wanted: Sequence[WantedTopic], states: Mapping[str, TopicState]
) -> tuple[Finding, ...]:
    """All that is to be said of the aggregator's topics, the gravest first. An error keeps it from starting: it would count
    wrong. Of outcome-deltas nothing that a worker would not be told too."""
    findings: list[Finding] = []
    for topic in wanted:
        state = states[topic.name]
        if state.status == "missing":
            message = "there is no such topic; workers do without it, `forebay aggregate` does not"
            findings.append(
                Finding(severity="warning", topic=topic.name, kind="missing", message=message, remedy=_MADE_BY)
            )
        elif state.status == "forbidden":
            remedy = "let the aggregator's user describe, read and write it"
            findings.append(
                Finding(
                    severity="warning",
                    topic=topic.name,
                    kind="forbidden",
                    message="this user may not see the topic",
                    remedy=remedy,
                )
            )
        elif topic.spec is AGGREGATOR_CHANGELOG:
            findings += _judge_changelog(topic, state, deltas)
        else:
            findings += _judge_kept(topic, state)
    return by_severity(findings)


def _judge_changelog(wanted: WantedTopic, state: TopicState, deltas: TopicState) -> Iterator[Finding]:
    name = wanted.name
    if deltas.status == "present" and deltas.num_partitions != state.num_partitions:
        yield Finding(
            severity="error",
            topic=name,
            kind="partition_counts",
            message=f"has {state.num_partitions} partitions and {deltas.name} has {deltas.num_partitions}; "
            "both must have the same number",
            remedy=f"delete {name}: `forebay aggregate` makes it anew, and counts the deltas again that are still there",
        )
    policy = (state.configs or {}).get(CLEANUP_POLICY)
    if policy is not None and policy != "compact":
        yield Finding(
            severity="error",
            topic=name,
            kind="not_compacted",
            message=f"{CLEANUP_POLICY} is {policy}: what was counted would be lost after a time",
            remedy=alter_config(name, CLEANUP_POLICY, "compact"),
        )
    lag_ms, least = state.number(COMPACTION_LAG_MS), wanted.configs[COMPACTION_LAG_MS]
    if policy == "compact" and lag_ms is not None and lag_ms < int(least):
        yield Finding(
            severity="warning",
            topic=name,
            kind="compaction_lag",
            message=f"records are compacted after {duration(lag_ms)}, windows are open for longer: "
            "what a member writes that was thought dead could replace what is newer",
            remedy=alter_config(name, COMPACTION_LAG_MS, least),
        )


def _judge_kept(wanted: WantedTopic, state: TopicState) -> Iterator[Finding]:
    policy, name = (state.configs or {}).get(CLEANUP_POLICY, ""), wanted.name
    if "compact" not in policy:
        return
    if wanted.spec is ERROR_AGGREGATES:
        harm = "of a key the last record would be kept, and it is the highest revision that holds"
    else:
        harm = "of an alert only the last record would be kept, firing or resolved"
    remedy = alter_config(name, CLEANUP_POLICY, wanted.spec.cleanup_policy)
    yield Finding(
        severity="warning", topic=name, kind="compacted", message=f"{CLEANUP_POLICY} is {policy}: {harm}", remedy=remedy
    )


def require_countable(deltas: TopicState, findings: Sequence[Finding]) -> None:
    """Raises BrokerError where counting would go wrong."""
    for finding in findings:
        if finding.severity == "error":
            raise BrokerError(f"topic {finding.topic}: {finding.message}", kind=finding.kind, remedy=finding.remedy)
    policy = (deltas.configs or {}).get(CLEANUP_POLICY, "")
    if "compact" in policy:
        raise BrokerError(
            f"topic {deltas.name}: {CLEANUP_POLICY} is {policy}: counts would be removed that were not added up yet",
            kind="compacted",
            remedy=alter_config(deltas.name, CLEANUP_POLICY, OUTCOME_DELTAS.cleanup_policy),
        )


def layout_of(settings: Settings, states: Mapping[str, TopicState]) -> Layout:
    """states: those that are there."""

    def name(spec: TopicSpec) -> str:
        return topic_name(settings.topics.prefix, spec.name)

    return Layout(
        deltas=name(OUTCOME_DELTAS),
        changelog=name(AGGREGATOR_CHANGELOG),
        aggregates=name(ERROR_AGGREGATES),
        alerts=name(ALERTS),
        num_aggregates=states[name(ERROR_AGGREGATES)].num_partitions,
    )
