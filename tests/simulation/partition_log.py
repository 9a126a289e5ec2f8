"""The log of a partition, as a reader of committed records sees it: transactions, their markers, the last stable offset."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

Headers = Sequence[tuple[str, bytes]]


class Fate(Enum):
    """What has become of the records of a transaction in one partition."""

    OPEN = "open"
    COMMITTED = "committed"
    ABORTED = "aborted"


@dataclass(slots=True, eq=False)
class Span:
    """The records of one transaction in one partition."""

    first_offset: int
    fate: Fate = Fate.OPEN
    records: list[LoggedRecord] = field(default_factory=list)


@dataclass(frozen=True, slots=True, eq=False)
class LoggedRecord:
    """A record in a log."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    span: Span | None


class Fetched(NamedTuple):
    """What a fetch returns. next_offset: after the last record, or what was skipped; end: the high watermark."""

    records: list[LoggedRecord]
    next_offset: int
    end: int


class PartitionLog:
    """A partition's log. Markers take an offset each, so the offsets of the records have gaps."""

    def __init__(self) -> None:
        self.records: list[LoggedRecord] = []
        self.end = 0
        self._offsets: list[int] = []
        self._open: dict[object, Span] = {}
        self._sequences: dict[tuple[int, int], int] = {}

    @property
    def stable_end(self) -> int:
        """The last stable offset."""
        return min((span.first_offset for span in self._open.values()), default=self.end)

    def append(
        self, timestamp: int, key: bytes | None, value: bytes | None, headers: Headers = (), *, writer: object = None
    ) -> int:
        """Append a record and return its offset. writer: identifies the open transaction that it belongs to; None for none."""
        span = None if writer is None else self._open.setdefault(writer, Span(self.end))
        record = LoggedRecord(self.end, timestamp, key, value=value, headers=headers, span=span)
        if span is not None:
            span.records.append(record)
        self.records.append(record)
        self._offsets.append(record.offset)
        self.end += 1
        return record.offset

    def accepts(self, producer: tuple[int, int], sequence: int, count: int) -> bool | None:
        """Return whether a batch of an idempotent producer is the next one; None if it is a repetition of an earlier one.

        producer: its id and epoch.
        """
        expected = self._sequences.get(producer, 0)
        if sequence != expected:
            return None if sequence < expected else False
        self._sequences[producer] = sequence + count
        return True

    def end_transaction(self, writer: object, *, commit: bool) -> Span | None:
        """Write the marker that ends a transaction here; return its records, None if it had none."""
        self.end += 1
        span = self._open.pop(writer, None)
        if span is not None:
            span.fate = Fate.COMMITTED if commit else Fate.ABORTED
        return span

    def fetch(self, offset: int, max_records: int) -> Fetched:
        """Return the next committed records before the last stable offset."""
        stable = self.stable_end
        found: list[LoggedRecord] = []
        for index in range(bisect.bisect_left(self._offsets, offset), len(self.records)):
            record = self.records[index]
            if record.offset >= stable:
                break
            if record.span is None or record.span.fate is Fate.COMMITTED:
                if len(found) == max_records:
                    return Fetched(found, record.offset, self.end)
                found.append(record)
        return Fetched(found, max(offset, stable), self.end)

    def committed(self) -> list[LoggedRecord]:
        """Return all committed records before the last stable offset, in order."""
        return self.fetch(0, len(self.records)).records
