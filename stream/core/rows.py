"""Rows of records that hold several events: each row is an event at the position (offset, row).

A `RowRecord` has the form of a record, so that everything that works on records works on rows. `RowRecords` is a sequence of
them over arrays: a row is made when it is asked for. Shapes: B events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Any, Final, NamedTuple, Protocol, TypeVar, overload

import numpy as np
import numpy.typing as npt

from forebay.stream.core.header_sizes import headers_size

Ints = npt.NDArray[np.int64]
_OFFSET: Final = attrgetter("offset")
_TIMESTAMP: Final = attrgetter("timestamp")
_Value = TypeVar("_Value")


class RowOrigin(NamedTuple):
    """The row that a row alone is a copy of. place: `<topic>-<partition>-<offset>` of its record."""

    place: str
    row: int


class RowSource(Protocol):
    """A record with several rows.

    row_bytes: size of the record for limits in bytes, divided by the number of its rows.
    origin: for a record that is a copy of one row: which; None for all others.
    format: the `Format` of its rows (see `decode.formats.payload`).
    """

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...
    @property
    def row_bytes(self) -> int: ...
    @property
    def origin(self) -> RowOrigin | None: ...
    @property
    def format(self) -> Any: ...
    def value_of(self, row: int) -> bytes: ...
    def document_of(self, row: int) -> dict[str, object]: ...


class RowRecord:
    """One row of a record, in the form of a record. row: its index, from 0."""

    __slots__ = ("_value", "offset", "row", "source")

    def __init__(self, source: RowSource, row: int) -> None:
        self.source = source
        self.offset = source.offset
        self.row = row
        self._value: bytes | None = None

    @property
    def timestamp(self) -> int:
        """The record's timestamp."""
        return self.source.timestamp

    @property
    def key(self) -> bytes | None:
        """The record's key."""
        return self.source.key

    @property
    def headers(self) -> Sequence[tuple[str, bytes]]:
        """The record's headers."""
        return self.source.headers

    @property
    def value(self) -> bytes:
        """The row alone, as the value of a record that holds one row."""
        if self._value is None:
            self._value = self.source.value_of(self.row)
        return self._value

    def __repr__(self) -> str:
        return f"RowRecord({self.offset}, row={self.row})"


def position_ids(records: Sequence[Any], place: str) -> list[str]:
    """Return `position_id` of each event."""
    if not isinstance(records, RowRecords):
        return [f"{place}-{record.offset}" for record in records]
    if _has_copies(records):
        return [position_id(record, place) for record in records]
    return _with_rows(records.of_sources(lambda source: f"{place}-{source.offset}"), records)


def key_ids(records: Sequence[Any], keys: Sequence[str | None]) -> list[str | None]:
    """Return `key_id` of each event. keys: the keys of their records, None for none, or empty."""
    if not isinstance(records, RowRecords):
        return list(keys)
    if _has_copies(records):
        return [key and key_id(record, key) for key, record in zip(keys, records, strict=True)]
    return [*_with_rows(keys, records)]


def _has_copies(records: RowRecords) -> bool:
    return any(getattr(source, "origin", None) is not None for source in records.sources)


def _with_rows(prefixes: Sequence[Any], records: RowRecords) -> list[Any]:
    """Return the prefixes with the rows of those events that are rows."""
    rows = records.row_B.tolist()
    return [f"{prefix}-{row}" if prefix and row >= 0 else prefix for prefix, row in zip(prefixes, rows, strict=True)]


def position_id(record: Any, place: str) -> str:
    """Return the id of an event that has none, by its position. place: `<topic>-<partition>` of its record."""
    if type(record) is not RowRecord:
        return f"{place}-{record.offset}"
    origin = record.source.origin
    return f"{place}-{record.offset}-{record.row}" if origin is None else f"{origin.place}-{origin.row}"


def key_id(record: Any, key: str) -> str:
    """Return the id of an event that has none, by the key of its record: rows of a record share the key."""
    if type(record) is not RowRecord:
        return key
    origin = record.source.origin
    return f"{key}-{record.row if origin is None else origin.row}"


def row_of(record: object) -> int | None:
    """Return the row of an event in its record; None if the record is one event."""
    return record.row if type(record) is RowRecord else None


def position_of(record: Any) -> tuple[int, int]:
    """Return the position of an event for sorting: its offset and row; row 0 if the record is one event."""
    return record.offset, record.row if type(record) is RowRecord else 0


class RowRecords(Sequence[Any]):
    """Events of one partition, in order; at least one is a row of a record. Rows occur only in such sequences.

    sources: the records, by offset: those with rows are a `RowSource`, the others are the events themselves.
    source_B: for each event the index of its record in `sources`.
    row_B: its row there; -1 if the record is one event.
    """

    __slots__ = ("row_B", "source_B", "sources")

    def __init__(self, sources: Sequence[Any], source_B: Ints, row_B: Ints) -> None:
        self.sources = sources
        self.source_B = source_B
        self.row_B = row_B

    def __len__(self) -> int:
        return len(self.row_B)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> RowRecords: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return self.take(index)
        return _event(self.sources[self.source_B[index]], int(self.row_B[index]))

    def __iter__(self) -> Iterator[Any]:
        sources = self.sources
        for source, row in zip(self.source_B.tolist(), self.row_B.tolist(), strict=True):
            yield _event(sources[source], row)

    def take(self, rows: npt.NDArray[Any] | slice) -> RowRecords:
        """Return the events at ascending indices, or those for which a mask is true."""
        source_B, row_B = self.source_B[rows], self.row_B[rows]
        if not len(row_B):
            return RowRecords([], source_B, row_B)
        first = int(source_B[0])
        return RowRecords(self.sources[first : int(source_B[-1]) + 1], source_B - first, row_B)

    def of_sources(self, value_of: Callable[[Any], _Value]) -> list[_Value]:
        """Return for each event a value of its record, which is computed once for each record."""
        values = list(map(value_of, self.sources))
        return [values[source] for source in self.source_B.tolist()]

    def offsets(self) -> Ints:
        """Return the offset of each event, int64 [B]."""
        return self._ints_of(_OFFSET)

    def timestamps(self) -> Ints:
        """Return the timestamp of each event's record, int64 [B]."""
        return self._ints_of(_TIMESTAMP)

    def num_bytes(self) -> int:
        """Return the size of the events for limits in bytes."""
        return int(self._ints_of(_size).sum())

    def num_within(self, num_bytes: int) -> int:
        """Return how many of the events, from the first, fit into `num_bytes`."""
        return int(np.searchsorted(np.cumsum(self._ints_of(_size)), num_bytes, side="right"))

    def _ints_of(self, value_of: Callable[[Any], int]) -> Ints:
        return np.fromiter(map(value_of, self.sources), np.int64, len(self.sources))[self.source_B]


def _event(source: Any, row: int) -> Any:
    return source if row < 0 else RowRecord(source, row)


def _size(source: Any) -> int:
    row_bytes = getattr(source, "row_bytes", None)
    if row_bytes is not None:
        return int(row_bytes)
    return len(source.value or b"") + len(source.key or b"") + headers_size(source.headers)


def as_rows(events: Iterable[Any]) -> RowRecords:
    """Return events as a sequence; at least one is a row. Rows of one record follow each other."""
    sources: list[Any] = []
    source_B: list[int] = []
    row_B: list[int] = []
    last: Any = None
    for event in events:
        row = row_of(event)
        source = event if row is None else event.source
        if source is not last:
            sources.append(source)
            last = source
        source_B.append(len(sources) - 1)
        row_B.append(-1 if row is None else row)
    return RowRecords(sources, np.array(source_B, dtype=np.int64), np.array(row_B, dtype=np.int64))


def of_each(records: Sequence[Any], value_of: Callable[[Any], _Value]) -> list[_Value]:
    """Return a value of each event's record, which is computed once for all rows of a record."""
    return records.of_sources(value_of) if isinstance(records, RowRecords) else list(map(value_of, records))


def distinct_records(records: Sequence[_Value]) -> Sequence[_Value]:
    """Return the records of events, each once: for what all rows of a record have in common."""
    return records.sources if isinstance(records, RowRecords) else records


class Ints64(Sequence[int]):
    """An int64 array as a sequence of Python integers. Slices share its memory."""

    __slots__ = ("array",)

    def __init__(self, array: Ints) -> None:
        self.array = array

    def __len__(self) -> int:
        return len(self.array)

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> Ints64: ...
    def __getitem__(self, index: int | slice) -> int | Ints64:
        return Ints64(self.array[index]) if isinstance(index, slice) else int(self.array[index])

    def __iter__(self) -> Iterator[int]:
        return iter(self.array.tolist())

    def take(self, rows: npt.NDArray[Any]) -> Ints64:
        """Return the values at these indices, or those for which a mask is true."""
        return Ints64(self.array[rows])


def selected(values: Sequence[_Value], rows: Sequence[int] | npt.NDArray[np.intp]) -> Sequence[_Value]:
    """Return the values at ascending indices; a sequence over arrays stays one."""
    take = getattr(values, "take", None)
    if take is not None:
        chosen: Sequence[_Value] = take(np.asarray(rows, dtype=np.intp))
        return chosen
    return [values[row] for row in (rows.tolist() if isinstance(rows, np.ndarray) else rows)]
