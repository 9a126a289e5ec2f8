"""The parts of the pipeline: its stages, deadlines and circuit breakers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from forebay.stream.core.circuit_breaker import CircuitBreaker
from forebay.stream.core.ports import RecordProducer
from forebay.stream.core.records import Epoch, Record, TopicPartition
from forebay.stream.decode import Decoder
from forebay.stream.eventtime.stage import WindowStage
from forebay.stream.inference.device_thread import DeviceThread
from forebay.stream.pipeline.committer import Committer
from forebay.stream.pipeline.micro_batcher import MicroBatcher


class PolledSource(Protocol):
    """A source of records as the pipeline uses it (see `kafka.consumer.source`)."""

    @property
    def epoch(self) -> Epoch | None: ...
    @property
    def paused(self) -> bool: ...
    async def poll(self, *, timeout_s: float, max_records: int) -> Mapping[TopicPartition, Sequence[Record]]: ...
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
    """The stages, assembled by the worker. windows: None if each event is one row."""

    source: PolledSource
    decoder: Decoder
    batcher: MicroBatcher
    device: DeviceThread
    committer: Committer
    producer: RecordProducer
    windows: WindowStage | None = None


@dataclass(frozen=True, slots=True)
class Timing:
    """Deadlines, in seconds.

    call_timeout_s: a longer model call opens the circuit breaker.
    hang_timeout_s: a longer model call ends the worker.
    revoke_timeout_s: limit for committing before partitions are revoked.
    """

    call_timeout_s: float
    hang_timeout_s: float
    revoke_timeout_s: float


@dataclass(frozen=True, slots=True)
class Breakers:
    """The circuit breakers around model calls (`model`) and commits (`cluster`). While one is open, nothing is read."""

    model: CircuitBreaker
    cluster: CircuitBreaker

    def by_name(self) -> Mapping[str, CircuitBreaker]:
        """Return the breakers by their names in metrics and status."""
        return {"model": self.model, "cluster": self.cluster}

    def advance(self, now_s: float) -> None:
        """Change each from open to half open once its reset timeout has passed."""
        self.model.advance(now_s)
        self.cluster.advance(now_s)

    def allow(self, now_s: float) -> bool:
        """Return whether both breakers permit a call now."""
        return self.model.allows(now_s) and self.cluster.allows(now_s)
