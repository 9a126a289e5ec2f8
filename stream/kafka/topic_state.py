"""A topic as the cluster has it, and what there is to say about it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Severity = Literal["error", "warning", "note"]

UNBOUNDED_MS: Final = 1 << 60
"""Kafka's largest number of milliseconds, 2^63 - 1, stands for no bound."""


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic as the cluster has it.

    status: "forbidden" where this user may not see it; configs: None where the cluster does not tell them.
    """

    name: str
    status: Literal["present", "missing", "forbidden"]
    num_partitions: int = 0
    replication_factor: int = 0
    configs: Mapping[str, str] | None = None

    def number(self, config: str) -> int | None:
        """A setting that is a number; None where it is not told."""
        value = (self.configs or {}).get(config, "")
        try:
            return int(value)
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about a topic to know. An error keeps the worker from doing its work; a note harms nothing."""

    severity: Severity
    topic: str
    kind: str
    message: str
    remedy: str | None = None


def alter_config(topic: str, config: str, value: str) -> str:
    return f"kafka-configs --alter --topic {topic} --add-config {config}={value}"


def duration(milliseconds: int) -> str:
    """Milliseconds in the largest unit that they are a whole number of; negative, or beyond all time, is forever."""
    if milliseconds < 0 or milliseconds >= UNBOUNDED_MS:
        return "forever"
    for unit, size in (("day", 86_400_000), ("hour", 3_600_000), ("minute", 60_000), ("second", 1000)):
        if milliseconds % size == 0 and milliseconds >= size:
            return f"{milliseconds // size} {unit}{'' if milliseconds == size else 's'}"
    return f"{milliseconds} ms"
