"""Record timestamps of a topic: whose clock sets them, and which ones the brokers refuse. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from forebay.stream.config.sections import WindowSection
from forebay.stream.core.time_format import UNBOUNDED_MS, duration
from forebay.stream.kafka.cluster.topic_state import Finding, TopicState, alter_config

TIMESTAMP_TYPE: Final = "message.timestamp.type"
TIMESTAMP_AFTER_MS: Final = "message.timestamp.after.max.ms"
TIMESTAMP_BEFORE_MS: Final = "message.timestamp.before.max.ms"
TIMESTAMPS: Final = "timestamps"
"""The kind of findings about record timestamps."""
CREATE_TIME: Final = "CreateTime"
LOG_APPEND_TIME: Final = "LogAppendTime"
MIN_CLOCK_SKEW_MS: Final = 60_000
"""A topic should accept the records of a worker whose clock differs by this much."""


def check_timestamps(state: TopicState, windows: Sequence[WindowSection], *, is_input: bool) -> Iterator[Finding]:
    """Yield findings about whose clock sets the timestamps, and whether the brokers would refuse a worker's.

    windows: those whose events come from the topic.
    """
    if (state.configs or {}).get(TIMESTAMP_TYPE) != CREATE_TIME:
        return
    after_ms = state.number(TIMESTAMP_AFTER_MS)
    if is_input:
        if windows:
            ahead_ms = min(window.max_timestamp_ahead_ms for window in windows)
            limit = "" if after_ms is None or after_ms >= UNBOUNDED_MS else f", up to {duration(after_ms)} ahead"
            yield Finding(
                severity="note",
                topic=state.name,
                kind=TIMESTAMPS,
                message=f"{TIMESTAMP_TYPE} is {CREATE_TIME}, so records have their producers' time{limit}: events more than "
                f"{duration(ahead_ms)} (window.max_timestamp_ahead_ms) ahead of the worker's clock are rejected",
                remedy=alter_config(state.name, TIMESTAMP_TYPE, LOG_APPEND_TIME),
            )
    elif after_ms is not None and after_ms < MIN_CLOCK_SKEW_MS:
        yield Finding(
            severity="warning",
            topic=state.name,
            kind=TIMESTAMPS,
            message=f"{TIMESTAMP_AFTER_MS} is {duration(after_ms)}: "
            "the brokers refuse all writes of a worker whose clock is further ahead",
            remedy=alter_config(state.name, TIMESTAMP_AFTER_MS, "3600000"),
        )


def timestamp_bounds(state: TopicState) -> str:
    """Return a description of the topic's bounds on record timestamps, for the message that one was refused."""
    names = (TIMESTAMP_AFTER_MS, TIMESTAMP_BEFORE_MS)
    bounds = [f"{name} is {duration(ms)}" for name in names if (ms := state.number(name)) is not None]
    return " and ".join(bounds) or f"the cluster does not report {TIMESTAMP_AFTER_MS} and {TIMESTAMP_BEFORE_MS}"
