"""The parts of the pipeline: its stages, deadlines and circuit breakers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from forebay.stream.core.circuit_breaker import CircuitBreaker
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.ports import RecordProducer
from forebay.stream.core.records import Chunk, Epoch, Record, TopicPartition
from forebay.stream.decode import Decoder
from forebay.stream.decode.access_filter import AccessFilter
from forebay.stream.decode.duplicates import DuplicateFilter
from forebay.stream.eventtime.lane_windows import LaneWindows
from forebay.stream.pipeline.audit_recorder import AuditRecorder
from forebay.stream.pipeline.committer import Committer
from forebay.stream.pipeline.lane import Lane
from forebay.stream.pipeline.priorities import Priorities
from forebay.stream.pipeline.priority_poll import Poller, PriorityPoll
from forebay.stream.pipeline.rollouts import Rollouts
from forebay.stream.pipeline.schema_admission import SchemaAdmission


class PolledSource(Protocol):
    """A source of records as the pipeline uses it (see `kafka.consumer.source`)."""

    @property
    def epoch(self) -> Epoch | None: ...
    @property
    def paused(self) -> bool: ...
    async def poll(
        self, *, timeout_s: float, max_records: int, topics: frozenset[str] | None = None
    ) -> Mapping[TopicPartition, Sequence[Record]]: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def positions(self) -> Mapping[TopicPartition, int] | None: ...
    def is_at_end(self, partition: TopicPartition) -> bool: ...
    async def commit_idle(
        self, positions: Mapping[TopicPartition, int], metadata: Mapping[TopicPartition, str]
    ) -> None: ...
    async def rewind(self) -> None: ...
    async def detach(self) -> None: ...
    async def rejoin(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Stages:
    """The stages, assembled by the worker.

    lanes: one for each served model, at least one.
    topics: the input topics.
    windows: None if no model takes windows.
    access: None if no event needs a principal.
    duplicates: None if events that are sent again are predicted again.
    rollouts: None if the versions are those of the configuration for ever.
    schemas: None without a schema registry.
    audit: None if the audit is not enabled.
    priorities: None if all events have the same.
    poller: what polls the source; set by itself.
    """

    source: PolledSource
    decoder: Decoder
    lanes: Sequence[Lane]
    topics: frozenset[str]
    committer: Committer
    producer: RecordProducer
    windows: LaneWindows | None = None
    access: AccessFilter | None = None
    duplicates: DuplicateFilter | None = None
    rollouts: Rollouts | None = None
    schemas: SchemaAdmission | None = None
    priorities: Priorities | None = None
    audit: AuditRecorder | None = None
    poller: Poller = field(init=False)

    def __post_init__(self) -> None:
        """Poll the source by class if topics have different priorities."""
        poller: Poller = self.source
        if self.priorities is not None and self.priorities.of_topics:
            poller = PriorityPoll(self.source, self.priorities, self.topics)
        object.__setattr__(self, "poller", poller)

    def filter(self, chunks: Sequence[Chunk]) -> Sequence[Chunk]:
        """Return the chunks of a poll with denied events, then duplicates, among the rejections."""
        if self.access is not None:  # before duplicates: a denied event must not make another one a duplicate
            chunks = self.access.filter(chunks)
        return chunks if self.duplicates is None else self.duplicates.filter(chunks)

    def idle_metadata(self, windows: dict[TopicPartition, str]) -> dict[TopicPartition, str]:
        """Return the metadata of the last committed positions, with revisions and heads of chains. windows: their own."""
        metadata = windows if self.rollouts is None else self.rollouts.metadata(windows)
        if self.audit is None:
            return metadata
        return {partition: self.audit.metadata(partition, inner) for partition, inner in metadata.items()}


@dataclass(frozen=True, slots=True)
class Breakers:
    """The circuit breakers around model calls and commits. While the cluster's is open, nothing is read.

    models: by version; while one is open, the topics that feed it are not read. Rollouts add and remove some.
    """

    cluster: CircuitBreaker
    models: dict[ModelRef, CircuitBreaker]

    def by_name(self) -> Mapping[str, CircuitBreaker]:
        """Return the breakers by their names in metrics and status: several versions of a model are named by version."""
        if len(self.models) == 1:
            return {"model": next(iter(self.models.values())), "cluster": self.cluster}
        num_versions = Counter(model.name for model in self.models)
        by_name = {
            f"model:{model.name}" + (f":{model.version}" if num_versions[model.name] > 1 else ""): breaker
            for model, breaker in self.models.items()
        }
        return {**by_name, "cluster": self.cluster}
