"""The transaction coordinator: producer ids and epochs, and transactions that end by a marker in each partition."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from random import Random
from typing import Final

from forebay.stream.core.records import TopicPartition
from tests.simulation.world import World

NONE: Final = 0
INVALID_PRODUCER_EPOCH: Final = 47
INVALID_TXN_STATE: Final = 48
INVALID_PRODUCER_ID_MAPPING: Final = 49
CONCURRENT_TRANSACTIONS: Final = 51

TIMEOUT_SCAN_S: Final = 1.0


class Phase(Enum):
    """The state of a transactional id."""

    EMPTY = "empty"
    ONGOING = "ongoing"
    PREPARE_COMMIT = "prepare commit"
    PREPARE_ABORT = "prepare abort"
    COMMITTED = "complete commit"
    ABORTED = "complete abort"

    @property
    def is_ending(self) -> bool:
        """Whether markers are being written."""
        return self in (Phase.PREPARE_COMMIT, Phase.PREPARE_ABORT)


@dataclass(slots=True, eq=False)
class TransactionalId:
    """The coordinator's entry of a transactional id. group: whether offsets of the group are in the transaction."""

    name: str
    producer_id: int
    timeout_s: float
    epoch: int = 0
    phase: Phase = Phase.EMPTY
    began_s: float = 0.0
    partitions: set[TopicPartition] = field(default_factory=set)
    group: bool = False
    unmarked: int = 0


WriteMarker = Callable[[TransactionalId, TopicPartition | None, bool], None]


class TransactionCoordinator:
    """The coordinator of all transactional ids.

    write_marker: writes the marker of a commit (True) or abort in a partition, or for the group (None).
    """

    def __init__(self, world: World, write_marker: WriteMarker) -> None:
        self._world = world
        self._write_marker = write_marker
        self._ids: dict[str, TransactionalId] = {}
        self.markers_take_s: Callable[[Random], float] = lambda rng: rng.choice((0.0005, 0.002))
        world.after(TIMEOUT_SCAN_S, self._abort_timed_out)

    @property
    def is_ending_any(self) -> bool:
        """Whether the markers of a transaction are being written."""
        return any(entry.phase.is_ending for entry in self._ids.values())

    def init_producer(self, name: str, timeout_s: float) -> tuple[int, int, int]:
        """Return error code, producer id and epoch. Ends an open transaction first."""
        entry = self._ids.get(name)
        if entry is None:
            entry = self._ids[name] = TransactionalId(name, 1000 + len(self._ids), timeout_s)
            return NONE, entry.producer_id, entry.epoch
        if entry.phase is Phase.ONGOING:
            entry.epoch += 1
            self._end(entry, commit=False)
        if entry.phase.is_ending:
            return CONCURRENT_TRANSACTIONS, -1, -1
        entry.epoch += 1
        entry.phase = Phase.EMPTY
        entry.timeout_s = timeout_s
        return NONE, entry.producer_id, entry.epoch

    def add(self, name: str, producer: tuple[int, int], partitions: Iterable[TopicPartition], *, group: bool) -> int:
        """Add partitions or the group to the transaction, which begins with the first; return an error code."""
        entry, code = self._checked(name, producer)
        if entry is None:
            return code
        if entry.phase.is_ending:
            return CONCURRENT_TRANSACTIONS
        if entry.phase is not Phase.ONGOING:
            entry.phase, entry.began_s = Phase.ONGOING, self._world.now_s
            entry.partitions, entry.group = set(), False
        entry.partitions.update(partitions)
        entry.group |= group
        return NONE

    def end(self, name: str, producer: tuple[int, int], *, commit: bool) -> int:
        """End a transaction; return an error code. Its markers are written afterwards."""
        entry, code = self._checked(name, producer)
        if entry is None:
            return code
        if entry.phase is Phase.ONGOING:
            self._end(entry, commit=commit)
            return NONE
        if entry.phase in ((Phase.PREPARE_COMMIT,) if commit else (Phase.PREPARE_ABORT,)):
            return CONCURRENT_TRANSACTIONS
        return NONE if entry.phase is (Phase.COMMITTED if commit else Phase.ABORTED) else INVALID_TXN_STATE

    def verify(self, producer: tuple[int, int], partition: TopicPartition | None) -> int:
        """Return an error code unless the partition, or the group (None), is in the producer's open transaction."""
        entry = next((entry for entry in self._ids.values() if entry.producer_id == producer[0]), None)
        if entry is None:
            return INVALID_PRODUCER_ID_MAPPING
        if entry.epoch != producer[1]:
            return INVALID_PRODUCER_EPOCH
        is_in = entry.group if partition is None else partition in entry.partitions
        return NONE if entry.phase is Phase.ONGOING and is_in else INVALID_TXN_STATE

    def _checked(self, name: str, producer: tuple[int, int]) -> tuple[TransactionalId | None, int]:
        entry = self._ids.get(name)
        if entry is None or entry.producer_id != producer[0]:
            return None, INVALID_PRODUCER_ID_MAPPING
        return (entry, NONE) if entry.epoch == producer[1] else (None, INVALID_PRODUCER_EPOCH)

    def _end(self, entry: TransactionalId, *, commit: bool) -> None:
        entry.phase = Phase.PREPARE_COMMIT if commit else Phase.PREPARE_ABORT
        targets: list[TopicPartition | None] = sorted(entry.partitions)
        if entry.group:
            targets.append(None)
        entry.unmarked = len(targets)

        def mark(target: TopicPartition | None) -> None:
            self._write_marker(entry, target, commit)
            entry.unmarked -= 1
            if not entry.unmarked:
                entry.phase = Phase.COMMITTED if commit else Phase.ABORTED

        for target in targets:
            self._world.after(self.markers_take_s(self._world.rng), lambda target=target: mark(target))

    def _abort_timed_out(self) -> None:
        for entry in self._ids.values():
            if entry.phase is Phase.ONGOING and self._world.now_s - entry.began_s > entry.timeout_s:
                entry.epoch += 1  # fences the producer
                self._end(entry, commit=False)
        self._world.after(TIMEOUT_SCAN_S, self._abort_timed_out)
