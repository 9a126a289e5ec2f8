"""What the pipeline is made of: its stages, its deadlines, its breakers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from forebay.stream.breaker import CircuitBreaker
from forebay.stream.commit import Committer
from forebay.stream.core.ports import RecordProducer
from forebay.stream.decode import Decoder
from forebay.stream.device import DeviceThread
from forebay.stream.eventtime.stage import WindowStage
from forebay.stream.records import Epoch, Partition, Record
from forebay.stream.window import MicroBatcher


class PolledSource(Protocol):
    """What the pipeline needs of a source (see `stream.kafka.source`)."""

    @property
    def epoch(self) -> Epoch | None: ...
    @property
    def paused(self) -> bool: ...
    async def poll(self, *, timeout_s: float, max_records: int) -> Mapping[Partition, Sequence[Record]]: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def positions(self) -> Mapping[Partition, int] | None: ...
    def is_at_end(self, partition: Partition) -> bool: ...
    async def commit_idle(self, positions: Mapping[Partition, int], metadata: Mapping[Partition, str]) -> None: ...
    async def rewind(self) -> None: ...
    async def give_up(self) -> None: ...
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
