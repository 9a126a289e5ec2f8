"""What the pipeline is made of: its stages, its deadlines, its breakers."""

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
    """What the pipeline needs of a source (see `stream.kafka.consumer.source`)."""

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
    """The parts, assembled by the worker. windows: None where each event is a row by itself."""

    source: PolledSource
    decoder: Decoder
    batcher: MicroBatcher
    device: DeviceThread
    committer: Committer
    producer: RecordProducer
    windows: WindowStage | None = None


@dataclass(frozen=True, slots=True)
class Timing:
    """Deadlines, in seconds. call: one model call; hang: one that is not back by then ends the worker; revoke: finishing before
    partitions are given up."""

    call_timeout_s: float
    hang_timeout_s: float
    revoke_timeout_s: float


@dataclass(frozen=True, slots=True)
class Breakers:
    """model: around the calls of the device's model; cluster: around the commits. While one is open nothing is read."""

    model: CircuitBreaker
    cluster: CircuitBreaker

    def by_name(self) -> Mapping[str, CircuitBreaker]:
        """Return the breakers by the names that metrics and status have for them."""
        return {"model": self.model, "cluster": self.cluster}

    def advance(self, now_s: float) -> None:
        """Change each from open to half open once its reset timeout has passed."""
        self.model.advance(now_s)
        self.cluster.advance(now_s)

    def allow(self, now_s: float) -> bool:
        """Return whether both let a call begin now."""
        return self.model.allows(now_s) and self.cluster.allows(now_s)
