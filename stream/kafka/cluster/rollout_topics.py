"""What the topics of rollouts need beyond other topics: their records are kept for ever, in one order. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from forebay.stream.core.time_format import duration
from forebay.stream.kafka.cluster.topic_state import Finding, TopicState, alter_config

RETENTION_BYTES = "retention.bytes"
RETENTION_MS = "retention.ms"


def check_kept_forever(state: TopicState) -> Iterator[Finding]:
    """Yield an error for each setting with which records would be removed, or would have no order."""
    harm = "without the oldest records no worker could determine which revision of a rollout is valid"
    retention_ms, retention_bytes = state.number(RETENTION_MS), state.number(RETENTION_BYTES)
    if retention_ms is not None and retention_ms >= 0:
        yield Finding(
            severity="error",
            topic=state.name,
            kind="retention",
            message=f"records are kept {duration(retention_ms)}; they must be kept forever: {harm}",
            remedy=alter_config(state.name, RETENTION_MS, "-1"),
        )
    if retention_bytes is not None and retention_bytes >= 0:
        yield Finding(
            severity="error",
            topic=state.name,
            kind="retention",
            message=f"{RETENTION_BYTES} is {retention_bytes}; records must be kept forever: {harm}",
            remedy=alter_config(state.name, RETENTION_BYTES, "-1"),
        )
    if state.num_partitions != 1:
        yield Finding(
            severity="error",
            topic=state.name,
            kind="partitions",
            message=f"has {state.num_partitions} partitions; its records need one order, and so one partition",
            remedy="delete the topic and create it again with `forebay topics create`, or set another topics.prefix",
        )
