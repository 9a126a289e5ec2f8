"""A topic as the cluster has it, and what there is to say about it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]


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
