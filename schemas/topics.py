"""The catalogue of topics: the content, key, retention and owner of each, with the reasons."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal

from forebay.schemas.errors import ConfigError

CleanupPolicy = Literal["delete", "compact"]
TopicKey = Literal[
    "features",
    "predictions",
    "dead-letters",
    "late-events",
    "review",
    "rollouts",
    "rollout-switches",
    "shadow-predictions",
    "labels",
    "quality",
    "drift",
    "audit",
    "outcome-deltas",
    "error-aggregates",
    "alerts",
    "aggregator-changelog",
]

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS

MAX_TOPIC_NAME: Final = 249
_LEGAL_NAME: Final = re.compile(r"[a-zA-Z0-9._-]+")


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """The specification of one topic.

    name: the name without the configured prefix.
    key: description of the record key.
    schema: name of the definition of its values (for dead letters and late events, of their headers).
    partitions: number of partitions; None for the number in `topics.partitions`.
    retention_ms: milliseconds, counted by the cluster from the record's timestamp; -1 for no limit.
    owner: the component that writes it.
    configs: further topic settings, by their Kafka names.
    """

    name: TopicKey
    description: str
    key: str
    schema: str
    partitions: int | None
    retention_ms: int
    cleanup_policy: CleanupPolicy
    owner: str
    configs: Mapping[str, str] = field(default_factory=dict)


FEATURES: Final = TopicSpec(
    name="features",
    description=(
        "Events to predict. Kept for 7 days, so that a worker may be down over a long weekend without "
        "losing events, and events can be read again with a new model. Never compacted: compaction "
        "removes events that were not read yet and leaves tombstones, which are not events."
    ),
    key="Chosen by the producer; events of one key stay in order.",
    schema="event",
    partitions=None,
    retention_ms=7 * DAY_MS,
    cleanup_policy="delete",
    owner="your producers",
)

PREDICTIONS: Final = TopicSpec(
    name="predictions",
    description=(
        "One prediction for each event that was predicted. Kept for 7 days, as long as the events: a "
        "subscriber may be down for as long as a worker. Not compacted: each prediction answers one event "
        "and is not the latest state of a key. If the topic has as many partitions as features, a prediction "
        "is in the partition with the number of its event's partition."
    ),
    key="The event's record key; if it has none, the event's field key.",
    schema="prediction",
    partitions=None,
    retention_ms=7 * DAY_MS,
    cleanup_policy="delete",
    owner="forebay worker",
)

DEAD_LETTERS: Final = TopicSpec(
    name="dead-letters",
    description=(
        "Events that were rejected or failed: the original key, value and headers, with the reason in headers. "
        "Kept for 30 days, longer than the events, so that people have time to inspect them, fix the cause and "
        "publish them again. Not compacted: two failures of one key are two dead letters."
    ),
    key="The event's record key.",
    schema="dead-letter",
    partitions=None,
    retention_ms=30 * DAY_MS,
    cleanup_policy="delete",
    owner="forebay worker",
)

LATE_EVENTS: Final = TopicSpec(
    name="late-events",
    description=(
        "Events that came after all their windows over event time were closed: the original key, value and headers, with "
        "how late they were in headers. Only written if window.late_events_topic is set; late events are counted "
        "in any case. Kept for 7 days, as long as the events. Not compacted: two late events of one key are two records."
    ),
    key="The event's record key.",
    schema="late-event",
    partitions=None,
    retention_ms=7 * DAY_MS,
    cleanup_policy="delete",
    owner="forebay worker",
)

REVIEW: Final = TopicSpec(
    name="review",
    description=(
        "Predictions that a model abstains from, because their confidence is too low or their score is in the configured band: "
        "for people to decide. Each is here instead of in predictions, so that no subscriber of predictions acts on it. Only "
        "written if decision.min_confidence or decision.review_from is set. Kept for 30 days, so that people have time to "
        "decide. Not compacted: each answers one event and is not the latest state of a key. If the topic has as many "
        "partitions as features, a prediction is in the partition with the number of its event's partition."
    ),
    key="The event's record key; if it has none, the event's field key.",
    schema="prediction",
    partitions=None,
    retention_ms=30 * DAY_MS,
    cleanup_policy="delete",
    owner="forebay worker",
)

ROLLOUTS: Final = TopicSpec(
    name="rollouts",
    description=(
        "Revisions of the models' rollouts: which version predicts which keys, who changed it, and why. Only needed if "
        "rollouts.enabled is set. The first record that follows the current revision is valid, so the order of all records "
        "matters. Kept for ever, because workers read all of it when they start, and a replay must find what served then. Not "
        "compacted: of two proposals for one revision, compaction would delete the valid one. One partition, so that all "
        "readers see one order; revisions are few."
    ),
    key="The model's name.",
    schema="rollout",
    partitions=1,
    retention_ms=-1,
    cleanup_policy="delete",
    owner="forebay models, aggregator and worker",
)

ROLLOUT_SWITCHES: Final = TopicSpec(
    name="rollout-switches",
    description=(
        "From which offset of an input partition each revision of a rollout was served. Written in the transaction of the "
        "predictions. Only needed if rollouts.enabled is set. Kept for ever, as long as the revisions: with both, the version "
        "that predicted an event can be determined later. Not compacted: all switches of a partition are needed. One "
        "partition, since there are few."
    ),
    key="The model's name.",
    schema="rollout-switch",
    partitions=1,
    retention_ms=-1,
    cleanup_policy="delete",
    owner="forebay worker",
)

SHADOW_PREDICTIONS: Final = TopicSpec(
    name="shadow-predictions",
    description=(
        "Pairs of predictions of one event: a shadow's, and that of the version that served. No application should act on "
        "them. Written at best effort, outside transactions. Only needed if rollouts.enabled is set. Kept for 7 days, as long "
        "as the predictions. Not compacted: each answers one event and is not the latest state of a key."
    ),
    key="The event's record key; if it has none, the event's field key.",
    schema="shadow-prediction",
    partitions=None,
    retention_ms=7 * DAY_MS,
    cleanup_policy="delete",
    owner="forebay worker",
)

LABELS: Final = TopicSpec(
    name="labels",
    description=(
        "What happened: the true class or value of predicted events, as it becomes known. Only needed if evaluate.enabled is "
        "set. Kept for 30 days, as long as a label may come after its prediction. Not compacted: two labels of one key are "
        "those of two events, or a correction. It must have as many partitions as predictions: a label is joined with the "
        "predictions of the partition with its number. Records have the brokers' time: labels further ahead of it than "
        "evaluate.max_future_s are refused, and a producer with a wrong clock must not set what they are compared with."
    ),
    key="The event's record key, so that the label is in the partition of its prediction.",
    schema="label",
    partitions=None,
    retention_ms=30 * DAY_MS,
    cleanup_policy="delete",
    owner="your producers",
    configs={"message.timestamp.type": "LogAppendTime"},
)

QUALITY: Final = TopicSpec(
    name="quality",
    description=(
        "The quality of each model version by its labels, in windows of event time, as records that add up, a few for each "
        "commit of an evaluator. Only needed if evaluate.enabled is set. Kept for 30 days, as long as the labels. Not "
        "compacted: records of one key add up; the newest does not replace the others."
    ),
    key="model|version|window_start|slice",
    schema="quality",
    partitions=4,
    retention_ms=30 * DAY_MS,
    cleanup_policy="delete",
    owner="forebay evaluator",
)

DRIFT: Final = TopicSpec(
    name="drift",
    description=(
        "How many rows of each model version fell into each bin of each feature and score, in windows of time, as records that "
        "add up, one for each worker and window. Written at best effort, outside transactions. Only needed if drift.enabled is "
        "set. Kept for 30 days, as long as the quality. Not compacted: records of one key add up; the newest does not replace "
        "the others. One partition, since there are few."
    ),
    key="model|version",
    schema="drift",
    partitions=1,
    retention_ms=30 * DAY_MS,
    cleanup_policy="delete",
    owner="forebay worker",
)

AUDIT: Final = TopicSpec(
    name="audit",
    description=(
        "What became of each record, by commit and input partition: model, version, outcome, position and who asked, as a "
        "chain of blocks in which each names the digest of the one before. Written in the transaction of the predictions. "
        "Only needed if audit.enabled is set. Kept for 365 days, or as audit.retention_ms says. Not compacted: all blocks of "
        "a chain are needed. The chain of an input partition is in the partition with its number."
    ),
    key="group|topic|partition of the chain",
    schema="audit",
    partitions=None,
    retention_ms=365 * DAY_MS,
    cleanup_policy="delete",
    owner="forebay worker",
)

OUTCOME_DELTAS: Final = TopicSpec(
    name="outcome-deltas",
    description=(
        "Internal. Counts of the outcomes of each minute's events, as records that add up, a few for each "
        "commit. Kept for 7 days, as long as the events whose outcomes they count. Not compacted: "
        "records of one key add up; the newest does not replace the others. The number of partitions is "
        "fixed, because a key must stay in one partition while its counts are merged."
    ),
    key="window_start|model|version, which keeps all outcomes of a minute in one partition",
    schema="outcome-delta",
    partitions=4,
    retention_ms=7 * DAY_MS,
    cleanup_policy="delete",
    owner="forebay worker",
)

ERROR_AGGREGATES: Final = TopicSpec(
    name="error-aggregates",
    description=(
        "Outcomes of all workers, counted by the minute, as upserts with a revision. Kept for 30 days, "
        "as long as the dead letters that they count. Not compacted: the highest revision of a key is valid, but "
        "compaction would keep the last one written."
    ),
    key="partition|window_start|outcome|stage|kind|model|version",
    schema="error-aggregate",
    partitions=4,
    retention_ms=30 * DAY_MS,
    cleanup_policy="delete",
    owner="forebay aggregator",
)

ALERTS: Final = TopicSpec(
    name="alerts",
    description=(
        "Alerts: a rule's threshold was exceeded (firing), or no longer is (resolved). Kept for 30 days. Not compacted: "
        "firing and resolved of one id are two records. One partition, so that all readers see one order; alerts are few."
    ),
    key="The alert's id.",
    schema="alert",
    partitions=1,
    retention_ms=30 * DAY_MS,
    cleanup_policy="delete",
    owner="forebay aggregator",
)

AGGREGATOR_CHANGELOG: Final = TopicSpec(
    name="aggregator-changelog",
    description=(
        "Internal. The aggregator's state, from which a restarted or another member continues. Compacted: the newest "
        "record of a key is the state, and a tombstone marks a closed minute. Records stay uncompacted for two hours, "
        "longer than a minute is open: a member that was believed dead may still write older state, and readers "
        "choose by content. Small segments, because the last one is never compacted and a start reads all of it. It has "
        "as many partitions as outcome-deltas."
    ),
    key="partition|position, or partition|window_start|version|model",
    schema="aggregator-changelog",
    partitions=OUTCOME_DELTAS.partitions,
    retention_ms=-1,
    cleanup_policy="compact",
    owner="forebay aggregator",
    configs=MappingProxyType(
        {
            "min.compaction.lag.ms": str(2 * HOUR_MS),
            "delete.retention.ms": str(DAY_MS),
            "segment.ms": str(HOUR_MS),
            "segment.bytes": str(64 << 20),
        }
    ),
)

CATALOGUE: Final[tuple[TopicSpec, ...]] = (FEATURES, PREDICTIONS, DEAD_LETTERS, OUTCOME_DELTAS)
"""The topics that a worker needs."""

ROLLOUT_TOPICS: Final[tuple[TopicSpec, ...]] = (ROLLOUTS, ROLLOUT_SWITCHES, SHADOW_PREDICTIONS)
"""The topics that a worker also needs if rollouts are enabled."""

EVALUATOR_TOPICS: Final[tuple[TopicSpec, ...]] = (LABELS, QUALITY)
"""The topics that the evaluator reads and writes, besides predictions. A worker runs without them."""

DRIFT_TOPICS: Final[tuple[TopicSpec, ...]] = (DRIFT,)
"""The topics that a worker also needs if drift is enabled."""

AUDIT_TOPICS: Final[tuple[TopicSpec, ...]] = (AUDIT,)
"""The topics that a worker also needs if the audit is enabled."""

AGGREGATOR_TOPICS: Final[tuple[TopicSpec, ...]] = (ERROR_AGGREGATES, ALERTS, AGGREGATOR_CHANGELOG)
"""The topics that the aggregator writes. A worker runs without them."""

ALL_TOPICS: Final[tuple[TopicSpec, ...]] = (
    *CATALOGUE,
    LATE_EVENTS,
    REVIEW,
    *ROLLOUT_TOPICS,
    *EVALUATOR_TOPICS,
    *DRIFT_TOPICS,
    *AUDIT_TOPICS,
    *AGGREGATOR_TOPICS,
)


def topic_name(prefix: str, name: str) -> str:
    """Return a topic's name on the cluster: `prefix` followed directly by `name`.

    Raises ConfigError if Kafka does not allow that name.
    """
    full = prefix + name
    if len(full) > MAX_TOPIC_NAME or not _LEGAL_NAME.fullmatch(full) or full in (".", ".."):
        raise ConfigError(
            f"{full!r} is not a valid topic name",
            kind="topic_name",
            remedy=f"set topics.prefix and input.topics so that it has 1 to {MAX_TOPIC_NAME} letters, digits, dots, "
            "underscores and hyphens",
        )
    return full


def partitions_of(spec: TopicSpec, configured: int) -> int:
    """Return the number of partitions with which to create the topic. configured: `topics.partitions`."""
    return configured if spec.partitions is None else spec.partitions
