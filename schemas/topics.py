"""The catalogue of topics: what is on each, under which key, how long it is kept and why, who writes it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from schemas.errors import ConfigError

CleanupPolicy = Literal["delete", "compact"]
TopicKey = Literal["features", "predictions", "dead-letters", "outcome-deltas"]

DAY_MS: Final = 86_400_000

MAX_TOPIC_NAME: Final = 249
_LEGAL_NAME: Final = re.compile(r"[a-zA-Z0-9._-]+")


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """One topic as it is meant to be.

    name: without the configured prefix; schema: the definition of its values (for dead letters, of their
    headers); key: what the record key is; partitions: None for as many as `topics.partitions` says;
    retention_ms: milliseconds, counted by the cluster from the record's timestamp; owner: who writes it.
    """

    name: TopicKey
    description: str
    key: str
    schema: str
    partitions: int | None
    retention_ms: int
    cleanup_policy: CleanupPolicy
    owner: str


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

OUTCOME_DELTAS: Final = TopicSpec(
    name="outcome-deltas",
    description=(
        "Internal. How many events of each minute had which outcome, as summable records, a few for each "
        "commit. Kept for 7 days, as long as the events whose outcomes they count. Not compacted: "
        "records of one key add up, the newest does not replace the others. The number of partitions is "
        "fixed, since a key must stay in one partition while its counts are merged."
    ),
    key="window_start|outcome|stage|kind|model|version",
    schema="outcome-delta",
    partitions=4,
    retention_ms=7 * DAY_MS,
    cleanup_policy="delete",
    owner="forebay worker",
)

CATALOGUE: Final[tuple[TopicSpec, ...]] = (FEATURES, PREDICTIONS, DEAD_LETTERS, OUTCOME_DELTAS)


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
