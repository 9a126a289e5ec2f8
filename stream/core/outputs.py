"""Output records, and the output topics as they exist in the cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Headers = list[tuple[str, bytes]]


@dataclass(slots=True)
class Outgoing:
    """Output records of one partition, in order, as columns: keys, values and headers.

    offsets: by record, the offset in the input at which it is emitted; None if outputs of lanes need not be merged.
    """

    keys: list[bytes | None] = field(default_factory=list)
    values: list[bytes | None] = field(default_factory=list)
    headers: list[Headers] = field(default_factory=list)
    offsets: list[int] | None = None

    def append(self, key: bytes | None, value: bytes | None, headers: Headers, *, offset: int) -> None:
        self.keys.append(key)
        self.values.append(value)
        self.headers.append(headers)
        if self.offsets is not None:
            self.offsets.append(offset)


@dataclass(frozen=True, slots=True)
class OutputTopic:
    """An output topic as it exists in the cluster. max_bytes: size of the largest record that may be sent."""

    name: str
    num_partitions: int
    max_bytes: int


@dataclass(frozen=True, slots=True)
class OutputTopics:
    """The topics that a worker writes to.

    late_events: None without event-time windows.
    rollout_switches, shadow_predictions: None if rollouts are not enabled.
    drift: None if drift is not enabled.
    audit: None if the audit is not enabled.
    review: for predictions of models that abstain; None if none does.
    routed: other topics of predictions, by name without the prefix.
    """

    predictions: OutputTopic
    dead_letters: OutputTopic
    outcome_deltas: OutputTopic
    late_events: OutputTopic | None = None
    rollout_switches: OutputTopic | None = None
    shadow_predictions: OutputTopic | None = None
    drift: OutputTopic | None = None
    audit: OutputTopic | None = None
    review: OutputTopic | None = None
    routed: Mapping[str, OutputTopic] = field(default_factory=dict, kw_only=True)

    def all(self) -> list[OutputTopic]:
        """Return the topics that are in use."""
        topics = (
            self.predictions,
            self.dead_letters,
            self.outcome_deltas,
            self.late_events,
            self.rollout_switches,
            self.shadow_predictions,
            self.drift,
            self.audit,
            self.review,
            *self.routed.values(),
        )
        return [topic for topic in topics if topic is not None]
