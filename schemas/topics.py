"""The catalogue of topics: what is on each, under which key, how long it is kept and why, who writes it."""

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
    """One topic as it is meant to be.

    name: without the configured prefix; schema: the definition of its values (for dead letters, of their
    headers); key: what the record key is; partitions: None for as many as `topics.partitions` says;
    retention_ms: milliseconds, counted by the cluster from the record's timestamp; owner: who writes it;
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
        "Events to predict. Kept for 7 days, so that a worker may be down over a long weekend and still "
        "lose nothing, and events can be read again with a new model. Never compacted: compaction "
        "removes events that were not read yet, and leaves tombstones, which are no events."
    ),
    key="Chosen by the producer; order is kept per key.",
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
        "subscriber may be away as long as the worker may. Not compacted: each is an answer to an event, "
        "not the newest state of a key. With as many partitions as features, a prediction lies in the "
        "partition with its event's number."
    ),
    key="The event's record key; without one, the event's field key.",
    schema="prediction",
    partitions=None,
    retention_ms=7 * DAY_MS,
    cleanup_policy="delete",
    owner="forebay worker",
)

DEAD_LETTERS: Final = TopicSpec(
    name="dead-letters",
    description=(
        "Events that were rejected or failed: the original key, value and headers, and why, in headers. "
        "Kept for 30 days, longer than the events, since people look at them, mend the cause, and "
        "publish them again. Not compacted: two failures of one key are two letters."
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
        "Events that came when all their windows over event time were over: the original key, value and headers, and "
        "how late they were, in headers. Only written where window.late_events_topic is set; late events are counted "
        "anyway. Kept for 7 days, as long as the events. Not compacted: two late events of one key are two."
    ),
    key="The event's record key.",
    schema="late-event",
    partitions=None,
    retention_ms=7 * DAY_MS,
    cleanup_policy="delete",
    owner="forebay worker",
)

OUTCOME_DELTAS: Final = TopicSpec(
    name="outcome-deltas",
    description=(
        "Internal. How many events of each minute had which outcome, as summable records, a few for each "
        "commit. Kept for 7 days, as long as the events whose outcomes they count. Not compacted: "
        "records of one key add up, the newest does not replace the others. The number of partitions is "
        "fixed, since a key must stay in one partition while its counts are merged."
    ),
    key="window_start|model|version, which keeps all outcomes of a window together",
    schema="outcome-delta",
    partitions=4,
    retention_ms=7 * DAY_MS,
    cleanup_policy="delete",
    owner="forebay worker",
)

ERROR_AGGREGATES: Final = TopicSpec(
    name="error-aggregates",
    description=(
        "Outcomes of all workers, counted in windows of a minute, as upserts with a revision. Kept for 30 days, "
        "as long as the dead letters that they count. Not compacted: the highest revision of a key holds, and "
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
        "A rule's threshold is passed, or no more. Kept for 30 days. Not compacted: firing and resolved of one id "
        "are two records. One partition, so that all who read it see one order; alerts are few."
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
        "Internal. The aggregator's state, from which a start or another member goes on. Compacted: the newest "
        "record of a key is the state, and a tombstone is a closed window. Records stay uncompacted for two hours, "
        "longer than a window is open: a member that was thought dead may still write what is older, and readers "
        "choose by content. Small segments, since the last one is never compacted and a start reads all of it. As "
        "many partitions as outcome-deltas."
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
"""What a worker needs."""

AGGREGATOR_TOPICS: Final[tuple[TopicSpec, ...]] = (ERROR_AGGREGATES, ALERTS, AGGREGATOR_CHANGELOG)
"""What the aggregator writes, beside the deltas that it reads. A worker runs without them."""

ALL_TOPICS: Final[tuple[TopicSpec, ...]] = (*CATALOGUE, LATE_EVENTS, *AGGREGATOR_TOPICS)


def topic_name(prefix: str, name: str) -> str:
    """A topic's name on the cluster: `prefix` and `name`, nothing in between.

    Raises ConfigError when Kafka does not allow that name.
    """
    full = prefix + name
    if len(full) > MAX_TOPIC_NAME or not _LEGAL_NAME.fullmatch(full) or full in (".", ".."):
        raise ConfigError(
            f"{full!r} is no topic name",
            kind="topic_name",
            remedy=f"allowed are 1 to {MAX_TOPIC_NAME} letters, digits, dots, underscores and hyphens; "
            "see topics.prefix and input.topics",
        )
    return full


def partitions_of(spec: TopicSpec, configured: int) -> int:
    """How many partitions the topic is created with, where `configured` is `topics.partitions`."""
    return configured if spec.partitions is None else spec.partitions
