"""Admits the records of a poll whose schemas are known, and holds their partitions at the first one whose schema is not.

A held partition is rewound to this record and not read until its schema is known; other partitions are read. Nothing of the
records that are held is in flight, so nothing changes for commits, rebalances and drains: their owner reads them again. Holds
end with the epoch.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from forebay.stream.core.clock import Clock
from forebay.stream.core.record_columns import any_headers, values_of
from forebay.stream.core.records import Epoch, Record, TopicPartition
from forebay.stream.schema_registry.framing import ID_MAGIC, ID_PREFIX_BYTES
from forebay.stream.schema_registry.schema import SchemaRef

log = logging.getLogger("forebay.schema_registry")

EAGER_FOR_S: Final = 2.0
EAGER_POLL_S: Final = 0.02

RefOf = Callable[[Record, str], SchemaRef | None]
"""Returns the schema that a record of a topic names; None if it names none, or none that decoding would look up."""


class PartitionHolds(Protocol):
    """Holds partitions of the source (see `kafka.consumer.held_partitions`)."""

    def hold(self, partition: TopicPartition, offset: int) -> None: ...
    def release(self, partition: TopicPartition) -> None: ...


class SchemaLookups(Protocol):
    """Looks schemas up in the background (see `schema_registry.resolver`)."""

    def is_resolved(self, ref: SchemaRef) -> bool: ...
    def is_rejected(self, ref: SchemaRef) -> bool: ...
    def problem(self, ref: SchemaRef) -> str | None: ...
    def want(self, refs: Collection[SchemaRef]) -> None: ...


class SchemaWait(NamedTuple):
    """A partition that waits for a schema.

    offset: of the record that names the schema.
    since_s: monotonic time at which it began to wait.
    problem: why the schema is not known; None before the first answer of the registry.
    """

    partition: TopicPartition
    offset: int
    ref: SchemaRef
    since_s: float
    problem: str | None

    @property
    def description(self) -> str:
        """The wait in words."""
        place = f"{self.partition.topic}-{self.partition.partition} waits at offset {self.offset} for schema {self.ref}"
        return place if self.problem is None else f"{place}: {self.problem}"


class _Hold(NamedTuple):
    offset: int
    ref: SchemaRef
    since_s: float


class SchemaAdmission:
    """Decides which records of a poll may be decoded. Decoding then finds every schema in memory."""

    def __init__(self, holds: PartitionHolds, lookups: SchemaLookups, *, ref_of: RefOf, clock: Clock) -> None:
        self._partitions = holds
        self._lookups = lookups
        self._ref_of = ref_of
        self._clock = clock
        self._holds: dict[TopicPartition, _Hold] = {}
        # The offsets of records that are rejected once they are read again, even if their schema is asked for again by then.
        self._rejected: dict[TopicPartition, int] = {}
        self._epoch: Epoch | None = None

    def advance(self, epoch: Epoch | None) -> None:
        """Read the partitions again whose schemas are known by now. Call it before each poll.

        epoch: the current one of the source. Holds of an earlier epoch have ended.
        """
        if not self._holds:
            return
        if epoch != self._epoch:
            self._forget()
        for partition, hold in list(self._holds.items()):
            if self._lookups.is_resolved(hold.ref):
                del self._holds[partition]
                if self._lookups.is_rejected(hold.ref):
                    self._rejected[partition] = hold.offset
                self._partitions.release(partition)
                waited_s = self._clock.monotonic_s() - hold.since_s
                log.info(
                    "%s-%d is read again after %.1f s, from offset %d with schema %s",
                    *(*partition, waited_s, hold.offset, hold.ref),
                )
        self._lookups.want({hold.ref for hold in self._holds.values()})

    def admit(
        self, poll: Mapping[TopicPartition, Sequence[Record]], epoch: Epoch
    ) -> Mapping[TopicPartition, Sequence[Record]]:
        """Return the records whose schemas are known: of each partition those before the first one that has to wait.

        epoch: the one in which the records were read, and the current one of the source.
        """
        is_new_epoch = epoch != self._epoch
        if is_new_epoch:
            self._forget()
            self._epoch = epoch
        waiting = {
            partition: index
            for partition, records in poll.items()
            if (index := self._first_unresolved(records, partition)) is not None
        }
        if not waiting:
            if is_new_epoch:
                self._lookups.want(())  # those of the earlier epoch
            return poll
        for partition, index in waiting.items():
            self._hold(TopicPartition(*partition), poll[partition][index])
        self._lookups.want({hold.ref for hold in self._holds.values()})
        admitted = {partition: records[: waiting.get(partition, len(records))] for partition, records in poll.items()}
        return {partition: records for partition, records in admitted.items() if records}

    def _forget(self) -> None:
        self._holds.clear()
        self._rejected.clear()

    def max_poll_wait_s(self, now_s: float) -> float:
        """Return how long a poll may wait for records: not long while the answer for a schema is expected soon."""
        newest_s = max((hold.since_s for hold in self._holds.values()), default=-math.inf)
        return EAGER_POLL_S if now_s - newest_s < EAGER_FOR_S else math.inf

    def waits(self) -> list[SchemaWait]:
        """Return the partitions that wait, the longest wait first."""
        found = [
            SchemaWait(partition, hold.offset, hold.ref, since_s=hold.since_s, problem=self._lookups.problem(hold.ref))
            for partition, hold in self._holds.items()
        ]
        return sorted(found, key=lambda wait: wait.since_s)

    def _hold(self, partition: TopicPartition, record: Record) -> None:
        ref = self._ref_of(record, partition.topic)
        assert ref is not None
        self._holds[partition] = _Hold(record.offset, ref, self._clock.monotonic_s())
        self._partitions.hold(partition, record.offset)
        log.debug("%s-%d waits at offset %d for schema %s", *partition, record.offset, ref)

    def _first_unresolved(self, records: Sequence[Record], partition: TopicPartition) -> int | None:
        """Return the index of the first record whose schema is not resolved; None if there is none."""
        if not any_headers(records):
            prefixes = {value[:ID_PREFIX_BYTES] for value in values_of(records) if value and value[0] == ID_MAGIC}
            if not prefixes:
                return None
            if all(len(prefix) == ID_PREFIX_BYTES and self._is_known(prefix) for prefix in prefixes):
                return None
        rejected = self._rejected.pop(partition, None)
        resolved: dict[SchemaRef, bool] = {}
        for index, record in enumerate(records):
            ref = self._ref_of(record, partition[0])
            if ref is None or record.offset == rejected:
                continue
            if ref not in resolved:
                resolved[ref] = self._lookups.is_resolved(ref)
            if not resolved[ref]:
                return index
        return None

    def _is_known(self, prefix: bytes) -> bool:
        return self._lookups.is_resolved(SchemaRef(id=int.from_bytes(prefix[1:], "big")))
