"""The state of a topic on the cluster, and findings about it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True, slots=True)
class TopicState:
    """The state of a topic on the cluster.

    status: "forbidden" if this user may not describe the topic.
    configs: topic settings by their Kafka names; None if the cluster does not return them.
    """

    name: str
    status: Literal["present", "missing", "forbidden"]
    num_partitions: int = 0
    replication_factor: int = 0
    configs: Mapping[str, str] | None = None

    def number(self, config: str) -> int | None:
        """Return a setting that is a number; None if it is unknown."""
        value = (self.configs or {}).get(config, "")
        try:
            return int(value)
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class Finding:
    """A finding about a topic. With an error the worker cannot run; a note is harmless."""

    severity: Severity
    topic: str
    kind: str
    message: str
    remedy: str | None = None


def alter_config(topic: str, config: str, value: str) -> str:
    """Return the command that changes a setting of a topic."""
    return f"kafka-configs --alter --topic {topic} --add-config {config}={value}"
