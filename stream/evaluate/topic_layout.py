"""The required layout of the evaluator's topics, and the problems of the existing ones. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from forebay.schemas.errors import BrokerError
from forebay.schemas.topics import (
    LABELS,
    PREDICTIONS,
    QUALITY,
    SHADOW_PREDICTIONS,
    topic_name,
)
from forebay.stream.config.sections import Settings
from forebay.stream.core.outputs import OutputTopic
from forebay.stream.core.time_format import duration
from forebay.stream.kafka.cluster.topic_plan import (
    BROKER_MAX_MESSAGE_BYTES,
    CLEANUP_POLICY,
    MAX_MESSAGE_BYTES,
    MIN_INSYNC_REPLICAS,
    RETENTION_MS,
    Finding,
    TopicState,
    WantedTopic,
    alter_config,
    by_severity,
    message_size,
    want_topic,
)
from forebay.stream.kafka.cluster.topic_timestamps import (
    CREATE_TIME,
    LOG_APPEND_TIME,
    TIMESTAMP_AFTER_MS,
    TIMESTAMP_TYPE,
    TIMESTAMPS,
)

_CREATE_REMEDY: Final = "run `forebay topics create` with evaluate.enabled"


@dataclass(frozen=True, slots=True)
class Layout:
    """The evaluator's topics, with the prefix.

    shadow_predictions: None if rollouts are not enabled, or if its partitions do not match those of predictions.
    num_partitions: of predictions, and so of labels.
    max_batch_bytes: the size limit of a record batch.
    routed: the topics besides predictions that have predictions.
    """

    predictions: str
    labels: str
    shadow_predictions: str | None
    quality: OutputTopic
    num_partitions: int
    max_batch_bytes: int
    routed: tuple[str, ...] = ()

    def prediction_topics(self) -> tuple[str, ...]:
        """Return the names of all topics with predictions."""
        return (self.predictions, *self.routed)

    def inputs(self) -> dict[str, int]:
        """Return the number of partitions of each input topic."""
        names = (*self.prediction_topics(), self.labels, self.shadow_predictions)
        return {name: self.num_partitions for name in names if name is not None}


def routed_names(settings: Settings) -> tuple[str, ...]:
    """Return the names of the topics besides predictions that have predictions."""
    return tuple(topic_name(settings.topics.prefix, name) for name in settings.topics_beside_predictions())


def topic_names(settings: Settings) -> tuple[str, ...]:
    """Return the names of all topics that the evaluator reads or writes. Raises ConfigError for an invalid name."""
    names = (PREDICTIONS.name, settings.evaluate.labels_topic, QUALITY.name)
    shadows = (SHADOW_PREDICTIONS.name,) if settings.rollouts.enabled else ()
    routed = settings.topics_beside_predictions()
    return tuple(topic_name(settings.topics.prefix, name) for name in (*names, *routed, *shadows))


def plan_evaluator_topics(settings: Settings, *, num_predictions: int | None = None) -> tuple[WantedTopic, ...]:
    """Return the topics that exist for the evaluator only.

    num_predictions: the actual number of partitions of predictions, if known.
    """
    section = settings.topics
    return (
        want_topic(section, LABELS, name=settings.evaluate.labels_topic, num_partitions=num_predictions),
        want_topic(section, QUALITY, configs=message_size(settings.output.max_request_size)),
    )


def find_problems(
    settings: Settings, wanted: Sequence[WantedTopic], states: Mapping[str, TopicState]
) -> tuple[Finding, ...]:
    """Return the problems of the evaluator's topics, most severe first. With an error it cannot start; workers can.

    states: of `topic_names`.
    """
    predictions = states[topic_name(settings.topics.prefix, PREDICTIONS.name)]
    findings: list[Finding] = []
    for topic in wanted:
        state = states[topic.name]
        if state.status == "missing":
            message = "there is no such topic; `forebay evaluate` needs it, workers do not"
            findings.append(Finding("error", topic.name, "missing", message=message, remedy=_CREATE_REMEDY))
        elif state.status == "forbidden":
            message = "this user may not describe the topic"
            verb = "read" if topic.spec is LABELS else "write to"
            findings.append(
                Finding(
                    "error",
                    topic.name,
                    "forbidden",
                    message=message,
                    remedy=f"allow the evaluator's user to describe and {verb} it",
                )
            )
        else:
            findings += _check_kept(topic, state)
            findings += _check_replicas(topic, state)
            if topic.spec is LABELS:
                findings += _check_times(settings, state)
                if predictions.status == "present":
                    findings += _check_partitions(state, predictions)
    findings += _check_replay(settings, predictions)
    for name in routed_names(settings):
        findings += _check_routed(settings, states[name], predictions)
    return by_severity(findings)


def _check_routed(settings: Settings, routed: TopicState, predictions: TopicState) -> Iterator[Finding]:
    """Yield an error if a topic with predictions cannot be joined with the labels."""
    if routed.status != "present":
        missing = routed.status == "missing"
        yield Finding(
            severity="error",
            topic=routed.name,
            kind=routed.status,
            message="there is no such topic; workers and `forebay evaluate` need it"
            if missing
            else "this user may not describe the topic",
            remedy="run `forebay topics create`" if missing else "allow the evaluator's user to describe and read it",
        )
        return
    yield from _check_replay(settings, routed)
    if predictions.status == "present" and routed.num_partitions != predictions.num_partitions:
        yield Finding(
            severity="error",
            topic=routed.name,
            kind="partition_counts",
            message=f"has {routed.num_partitions} partitions, {predictions.name} has {predictions.num_partitions}: predictions "
            "would not be in the partition of their labels",
            remedy=f"stop the workers, delete {routed.name} and create it with {predictions.num_partitions} partitions "
            "(`forebay topics create`), or name another topic in decision.routes",
        )


def _check_partitions(labels: TopicState, predictions: TopicState) -> Iterator[Finding]:
    if labels.num_partitions == predictions.num_partitions:
        return
    remedy = (
        f"delete {labels.name} and create it with {predictions.num_partitions} partitions (`forebay topics create`)"
    )
    if labels.num_partitions < predictions.num_partitions:
        command = f"kafka-topics --alter --topic {labels.name} --partitions {predictions.num_partitions}"
        remedy = f"before the first label: {command}; else {remedy}, or set evaluate.labels_topic to another topic"
    yield Finding(
        severity="error",
        topic=labels.name,
        kind="partition_counts",
        message=f"has {labels.num_partitions} partitions, {predictions.name} has {predictions.num_partitions}: labels would "
        "not be in the partition of their predictions",
        remedy=remedy,
    )


def _check_times(settings: Settings, labels: TopicState) -> Iterator[Finding]:
    """Yield a warning if producers set the time that their labels are compared with."""
    max_future_ms, after_ms = settings.evaluate.max_future_s * 1000, labels.number(TIMESTAMP_AFTER_MS)
    producers = (labels.configs or {}).get(TIMESTAMP_TYPE) == CREATE_TIME
    if producers and (after_ms is None or after_ms > max_future_ms):
        yield Finding(
            severity="warning",
            topic=labels.name,
            kind=TIMESTAMPS,
            message=f"{TIMESTAMP_TYPE} is {CREATE_TIME}, so records have their producers' time: a producer whose clock is fast "
            "ends the waiting of all predictions of a partition, because evaluate.max_future_s is relative to it",
            remedy=alter_config(labels.name, TIMESTAMP_TYPE, LOG_APPEND_TIME),
        )


def _check_kept(wanted: WantedTopic, state: TopicState) -> Iterator[Finding]:
    policy, name = (state.configs or {}).get(CLEANUP_POLICY, ""), wanted.name
    if "compact" in policy:
        harm = "labels" if wanted.spec is LABELS else "sums"
        yield Finding(
            severity="error",
            topic=name,
            kind="compacted",
            message=f"{CLEANUP_POLICY} is {policy}: only the last of the {harm} of a key would be kept, but all of them count",
            remedy=alter_config(name, CLEANUP_POLICY, wanted.spec.cleanup_policy),
        )
    actual, expected = state.number(RETENTION_MS), wanted.spec.retention_ms
    if actual is not None and 0 <= actual < expected:
        yield Finding(
            severity="warning",
            topic=name,
            kind="retention",
            message=f"records are kept {duration(actual)}; the catalogue has {duration(expected)}",
            remedy=alter_config(name, RETENTION_MS, str(expected)),
        )


def _check_replicas(wanted: WantedTopic, state: TopicState) -> Iterator[Finding]:
    least = state.number(MIN_INSYNC_REPLICAS)
    if wanted.spec is QUALITY and least is not None and least > state.replication_factor:
        yield Finding(
            severity="error",
            topic=wanted.name,
            kind="min_insync_replicas",
            message=f"{MIN_INSYNC_REPLICAS} is {least}, but the topic has {state.replication_factor} replicas: every "
            "write would be refused",
            remedy=alter_config(wanted.name, MIN_INSYNC_REPLICAS, wanted.configs[MIN_INSYNC_REPLICAS]),
        )


def _check_replay(settings: Settings, predictions: TopicState) -> Iterator[Finding]:
    """Yield an error if predictions are deleted before the time for which they wait for labels is over."""
    actual, section = predictions.number(RETENTION_MS), settings.evaluate
    needed = (section.horizon_s + section.early_s) * 1000
    if predictions.status == "present" and actual is not None and 0 <= actual < needed:
        yield Finding(
            severity="error",
            topic=predictions.name,
            kind="retention",
            message=f"records are kept {duration(actual)}; evaluate.horizon_s and evaluate.early_s need {duration(needed)}: an "
            "evaluator reads the waiting predictions again when it starts",
            remedy=f"lower evaluate.horizon_s, or {alter_config(predictions.name, RETENTION_MS, str(needed))}",
        )


def require_joinable(predictions: TopicState, findings: Sequence[Finding]) -> None:
    """Raise BrokerError with every problem with which labels and predictions cannot be joined."""
    if predictions.status != "present":
        missing = predictions.status == "missing"
        raise BrokerError(
            f"topic {predictions.name}: "
            + ("there is no such topic" if missing else "this user may not describe the topic"),
            kind=predictions.status,
            remedy="run `forebay topics create`; the workers write to this topic"
            if missing
            else "allow the evaluator's user to describe and read it",
        )
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors:
        raise BrokerError(
            "; ".join(f"topic {finding.topic}: {finding.message}" for finding in errors),
            kind=errors[0].kind,
            remedy=errors[0].remedy,
        )


def layout_of(settings: Settings, states: Mapping[str, TopicState]) -> Layout:
    """Return the layout. states: of `topic_names`, which exist and were checked."""
    prefix = settings.topics.prefix
    predictions, quality = (states[topic_name(prefix, spec.name)] for spec in (PREDICTIONS, QUALITY))
    shadows = states.get(topic_name(prefix, SHADOW_PREDICTIONS.name))
    paired = shadows is not None and shadows.num_partitions == predictions.num_partitions
    limit = min(quality.number(MAX_MESSAGE_BYTES) or BROKER_MAX_MESSAGE_BYTES, settings.output.max_request_size)
    return Layout(
        predictions=predictions.name,
        labels=topic_name(prefix, settings.evaluate.labels_topic),
        shadow_predictions=shadows.name if shadows is not None and paired else None,
        quality=OutputTopic(quality.name, quality.num_partitions, limit),
        num_partitions=predictions.num_partitions,
        max_batch_bytes=limit,
        routed=routed_names(settings),
    )
