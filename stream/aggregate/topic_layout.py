"""The required layout of the aggregator's topics, and the problems of the existing ones. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from forebay.schemas.errors import BrokerError
from forebay.schemas.topics import (
    AGGREGATOR_CHANGELOG,
    ALERTS,
    ERROR_AGGREGATES,
    HOUR_MS,
    OUTCOME_DELTAS,
    TopicSpec,
    topic_name,
)
from forebay.stream.config.sections import Settings
from forebay.stream.core.time_format import duration
from forebay.stream.kafka.cluster.topic_plan import (
    CLEANUP_POLICY,
    COMPACTION_LAG_MS,
    Finding,
    TopicState,
    WantedTopic,
    alter_config,
    by_severity,
    want_topic,
)

_CREATE_REMEDY: Final = (
    "run `forebay topics create`; `forebay aggregate` also creates it if its user has the permission"
)


@dataclass(frozen=True, slots=True)
class Layout:
    """Topic names with the prefix. num_aggregates: number of partitions of error-aggregates."""

    deltas: str
    changelog: str
    aggregates: str
    alerts: str
    num_aggregates: int


def plan_aggregator_topics(settings: Settings, *, num_deltas: int | None = None) -> tuple[WantedTopic, ...]:
    """Return the topics with their required configuration.

    num_deltas: actual number of partitions of outcome-deltas, if known.
    """
    section = settings.topics
    # The compaction lag is longer than buckets are open, and at least the catalogue's (see decision 14).
    lag_ms = max(int(AGGREGATOR_CHANGELOG.configs[COMPACTION_LAG_MS]), settings.aggregate.closed_after_ms + HOUR_MS)
    return (
        want_topic(section, ERROR_AGGREGATES),
        want_topic(section, ALERTS),
        want_topic(section, AGGREGATOR_CHANGELOG, num_partitions=num_deltas, configs={COMPACTION_LAG_MS: str(lag_ms)}),
    )


def find_problems(
    deltas: TopicState, wanted: Sequence[WantedTopic], states: Mapping[str, TopicState]
) -> tuple[Finding, ...]:
    """Return the problems of the aggregator's topics, most severe first.

    An error prevents the aggregator from starting, because its counts would be wrong. Problems of outcome-deltas that the
    worker's check reports too are not repeated.
    """
    findings: list[Finding] = []
    for topic in wanted:
        state = states[topic.name]
        if state.status == "missing":
            message = "the topic does not exist; `forebay aggregate` needs it, workers do not"
            findings.append(
                Finding(severity="warning", topic=topic.name, kind="missing", message=message, remedy=_CREATE_REMEDY)
            )
        elif state.status == "forbidden":
            remedy = "allow the aggregator's user to describe, read and write it"
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
            findings += _check_changelog(topic, state, deltas)
        else:
            findings += _check_retained(topic, state)
    return by_severity(findings)


def _check_changelog(wanted: WantedTopic, state: TopicState, deltas: TopicState) -> Iterator[Finding]:
    name = wanted.name
    if deltas.status == "present" and deltas.num_partitions != state.num_partitions:
        yield Finding(
            severity="error",
            topic=name,
            kind="partition_counts",
            message=f"has {state.num_partitions} partitions, but {deltas.name} has {deltas.num_partitions}; "
            "both must have the same number",
            remedy=f"delete {name}: `forebay aggregate` creates it again and counts all retained deltas again",
        )
    policy = (state.configs or {}).get(CLEANUP_POLICY)
    if policy is not None and policy != "compact":
        yield Finding(
            severity="error",
            topic=name,
            kind="not_compacted",
            message=f"{CLEANUP_POLICY} is {policy}: counts would be deleted after the retention time",
            remedy=alter_config(name, CLEANUP_POLICY, "compact"),
        )
    lag_ms, minimum = state.number(COMPACTION_LAG_MS), wanted.configs[COMPACTION_LAG_MS]
    if policy == "compact" and lag_ms is not None and lag_ms < int(minimum):
        yield Finding(
            severity="warning",
            topic=name,
            kind="compaction_lag",
            message=f"records can be compacted after {duration(lag_ms)}, before their buckets are closed: "
            "a late write of a former group member could replace a newer record",
            remedy=alter_config(name, COMPACTION_LAG_MS, minimum),
        )


def _check_retained(wanted: WantedTopic, state: TopicState) -> Iterator[Finding]:
    policy, name = (state.configs or {}).get(CLEANUP_POLICY, ""), wanted.name
    if "compact" not in policy:
        return
    if wanted.spec is ERROR_AGGREGATES:
        harm = "only the last record of a key would be kept, but the one with the highest revision is valid"
    else:
        harm = "only the last record of an alert would be kept, firing or resolved"
    remedy = alter_config(name, CLEANUP_POLICY, wanted.spec.cleanup_policy)
    yield Finding(
        severity="warning", topic=name, kind="compacted", message=f"{CLEANUP_POLICY} is {policy}: {harm}", remedy=remedy
    )


def require_countable(deltas: TopicState, findings: Sequence[Finding]) -> None:
    """Raise BrokerError if counts would be wrong with these topics."""
    for finding in findings:
        if finding.severity == "error":
            raise BrokerError(f"topic {finding.topic}: {finding.message}", kind=finding.kind, remedy=finding.remedy)
    policy = (deltas.configs or {}).get(CLEANUP_POLICY, "")
    if "compact" in policy:
        raise BrokerError(
            f"topic {deltas.name}: {CLEANUP_POLICY} is {policy}: deltas would be removed before they are counted",
            kind="compacted",
            remedy=alter_config(deltas.name, CLEANUP_POLICY, OUTCOME_DELTAS.cleanup_policy),
        )


def layout_of(settings: Settings, states: Mapping[str, TopicState]) -> Layout:
    """Return the layout. states: the existing topics."""

    def name(spec: TopicSpec) -> str:
        return topic_name(settings.topics.prefix, spec.name)

    return Layout(
        deltas=name(OUTCOME_DELTAS),
        changelog=name(AGGREGATOR_CHANGELOG),
        aggregates=name(ERROR_AGGREGATES),
        alerts=name(ALERTS),
        num_aggregates=states[name(ERROR_AGGREGATES)].num_partitions,
    )
