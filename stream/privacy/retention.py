"""The judgement about retention: how long topics keep records, against the stated policy. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from forebay.stream.core.time_format import UNBOUNDED_MS, duration
from forebay.stream.privacy.judgement import Evidence, Judgement, Verdict

NAME: Final = "retention"
DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class TopicRetention:
    """How long a topic keeps records.

    retention_ms: `retention.ms`; negative for ever; None if it is unknown.
    cleanup_policy: such as `delete` or `compact`; None if it is unknown.
    holds_events: whether it holds anything from events. Others may be kept for ever.
    """

    topic: str
    retention_ms: int | None
    cleanup_policy: str | None
    holds_events: bool = True

    @property
    def kept_ms(self) -> int | None:
        """How long a record is kept; negative for ever; None if it is unknown."""
        if self.cleanup_policy is None or self.retention_ms is None:
            return None
        # A compacted topic keeps the newest record of each key until a tombstone replaces it.
        is_endless = "delete" not in self.cleanup_policy or not 0 <= self.retention_ms < UNBOUNDED_MS
        return -1 if is_endless else self.retention_ms


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """The longest time that records may be kept. by_topic: takes precedence. None if nothing is stated."""

    max_days: float | None = None
    by_topic: Mapping[str, float] | None = None

    def max_ms(self, topic: str) -> int | None:
        """Return the limit for a topic."""
        days = (self.by_topic or {}).get(topic, self.max_days)
        return None if days is None else round(days * DAY_MS)


def judge_retention(topics: Sequence[TopicRetention], policy: RetentionPolicy) -> Judgement:
    """Return the judgement."""
    if policy.max_days is None and not policy.by_topic:
        evidence = tuple(_evidence(topic, None, "no policy") for topic in topics)
        return Judgement(
            NAME,
            Verdict.NOT_JUDGED,
            "no policy is stated",
            evidence,
            remedies=("set privacy.max_retention_days, and privacy.topic_retention_days for single topics",),
        )
    rows: list[Evidence] = []
    too_long: list[str] = []
    remedies: list[str] = []
    for topic in topics:
        limit, kept = policy.max_ms(topic.topic), topic.kept_ms
        if not topic.holds_events:
            state = "holds nothing of events"
        elif limit is None:
            state = "no policy"
        elif kept is None:
            state = "unknown"
            too_long.append(topic.topic)
            remedies.append(f"{topic.topic}: allow this user to describe the configs of the topic")
        elif 0 <= kept <= limit:
            state = "kept"
        else:
            state = "too long"
            too_long.append(topic.topic)
            remedies.append(_remedy(topic, limit))
        rows.append(_evidence(topic, limit, state))
    if too_long:
        summary = f"{', '.join(too_long)}: kept longer than the policy says, or unknown"
        return Judgement(NAME, Verdict.FAILED, summary, tuple(rows), remedies=tuple(remedies))
    return Judgement(NAME, Verdict.PASSED, "all topics keep records no longer than the policy says", tuple(rows))


def _evidence(topic: TopicRetention, limit_ms: int | None, state: str) -> Evidence:
    kept = topic.kept_ms
    return {
        "topic": topic.topic,
        "kept": "unknown" if kept is None else duration(kept),
        "retention_ms": topic.retention_ms,
        "cleanup_policy": topic.cleanup_policy,
        "allowed": None if limit_ms is None else duration(limit_ms),
        "state": state,
    }


def _remedy(topic: TopicRetention, limit_ms: int) -> str:
    alter = f"kafka-configs --alter --topic {topic.topic} --add-config"
    if "delete" not in (topic.cleanup_policy or ""):
        return f"{alter} 'cleanup.policy=[compact,delete],retention.ms={limit_ms}'"
    return f"{alter} retention.ms={limit_ms}"
