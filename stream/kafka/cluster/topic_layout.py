"""The layout of the topics at the start of the worker: their numbers of partitions and size limits."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from forebay.schemas.errors import BrokerError
from forebay.schemas.topics import (
    AUDIT,
    DEAD_LETTERS,
    DRIFT,
    LATE_EVENTS,
    OUTCOME_DELTAS,
    PREDICTIONS,
    REVIEW,
    ROLLOUT_SWITCHES,
    SHADOW_PREDICTIONS,
    topic_name,
)
from forebay.stream.config.sections import Settings, TopicsSection
from forebay.stream.core.outputs import OutputTopic, OutputTopics
from forebay.stream.kafka.cluster.topic_plan import BROKER_MAX_MESSAGE_BYTES, MAX_MESSAGE_BYTES
from forebay.stream.kafka.cluster.topic_timestamps import LOG_APPEND_TIME, TIMESTAMP_TYPE, timestamp_bounds
from forebay.stream.kafka.cluster.topics import TopicCheck, check_topics

log = logging.getLogger("forebay.kafka.topics")


@dataclass(frozen=True, slots=True)
class Layout:
    """The input and output topics of a worker.

    input_partitions: the number of partitions by topic name, with the prefix.
    max_batch_bytes: the size limit of a record batch for all output topics.
    broker_time: whether the brokers set the timestamps of input records.
    timestamp_bounds: a description of the bounds on record timestamps, by output topic.
    """

    input_partitions: Mapping[str, int]
    outputs: OutputTopics
    max_batch_bytes: int
    broker_time: bool = False
    timestamp_bounds: Mapping[str, str] = field(default_factory=dict)


async def find_layout(settings: Settings, outputs: TopicsSection | None = None) -> Layout:
    """Return the layout. Raises BrokerError if a topic is missing or unusable, or the cluster cannot be reached.

    outputs: names and numbers of the output topics, if they differ from the configuration.
    """
    checked = await check_topics(settings, outputs=outputs)
    for finding in checked.findings:
        if finding.severity == "warning":
            log.warning("topic %s: %s", finding.topic, finding.message)
    if checked.errors:
        raise BrokerError(
            "; ".join(f"topic {finding.topic}: {finding.message}" for finding in checked.errors),
            kind=checked.errors[0].kind,
            remedy=checked.errors[0].remedy,
        )
    return layout_of(settings, checked, outputs)


def layout_of(settings: Settings, checked: TopicCheck, outputs_section: TopicsSection | None = None) -> Layout:
    """Return the layout from topics that were checked, with the same section as there. Pure."""
    prefix, limit = settings.topics.prefix, settings.output.max_request_size
    output_prefix = (outputs_section or settings.topics).prefix

    def output(name: str, *, bounded: bool) -> OutputTopic:
        state = checked.states[topic_name(output_prefix, name)]
        topic_limit = state.number(MAX_MESSAGE_BYTES) or BROKER_MAX_MESSAGE_BYTES
        return OutputTopic(state.name, state.num_partitions, min(topic_limit, limit) if bounded else topic_limit)

    # A dead letter is larger than its event and not subject to output.max_request_size; only its topic limits it.
    outputs = OutputTopics(
        output(PREDICTIONS.name, bounded=True),
        output(DEAD_LETTERS.name, bounded=False),
        output(OUTCOME_DELTAS.name, bounded=True),
        output(LATE_EVENTS.name, bounded=False) if settings.has_late_events_topic() else None,
        rollout_switches=output(ROLLOUT_SWITCHES.name, bounded=True) if settings.rollouts.enabled else None,
        shadow_predictions=output(SHADOW_PREDICTIONS.name, bounded=True) if settings.rollouts.enabled else None,
        drift=output(DRIFT.name, bounded=True) if settings.drift.enabled else None,
        audit=output(AUDIT.name, bounded=True) if settings.audit.enabled else None,
        review=output(REVIEW.name, bounded=True) if settings.has_review_topic() else None,
        routed={name: output(name, bounded=True) for name in settings.routed_topics()},
    )
    inputs = tuple(topic_name(prefix, name) for name in settings.input.topics)
    return Layout(
        input_partitions={name: checked.states[name].num_partitions for name in inputs},
        outputs=outputs,
        max_batch_bytes=min(limit, *(topic.max_bytes for topic in outputs.all())),
        broker_time=all((checked.states[name].configs or {}).get(TIMESTAMP_TYPE) == LOG_APPEND_TIME for name in inputs),
        timestamp_bounds={topic.name: timestamp_bounds(checked.states[topic.name]) for topic in outputs.all()},
    )
