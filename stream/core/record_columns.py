"""Polled records as columns, without an object for each of them. Keys and values stay in the fetched bytes until they are used.

Shapes: N records, or byte strings of one column.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import starmap
from operator import attrgetter
from typing import Any, Final, NamedTuple, Self, overload

import numpy as np
import numpy.typing as npt

from forebay.stream import native
from forebay.stream.core.header_sizes import headers_size
from forebay.stream.core.rows import RowRecords, of_each

Ints = npt.NDArray[np.int64]
RecordHeaders = Sequence[tuple[str, bytes]]

_OFFSET, _TIMESTAMP, _KEY, _VALUE, _HEADERS = map(attrgetter, ("offset", "timestamp", "key", "value", "headers"))


class PlainRecord(NamedTuple):
    """A record as the pipeline needs it."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: RecordHeaders


class ByteColumn(Sequence[bytes | None]):
    """Byte strings that lie in buffers. Each is copied when it is asked for.

    buffers: bytes that are not changed.
    buffer_N: for each string the index of its buffer.
    begin_N: where it begins there.
    length_N: its length; -1 for None.
    """

    __slots__ = ("begin_N", "buffer_N", "buffers", "length_N")

    def __init__(self, buffers: Sequence[bytes | memoryview], buffer_N: Ints, *, begin_N: Ints, length_N: Ints) -> None:
        self.buffers = buffers
        self.buffer_N = buffer_N
        self.begin_N = begin_N
        self.length_N = length_N

    def __len__(self) -> int:
        return len(self.length_N)

    @overload
    def __getitem__(self, index: int) -> bytes | None: ...
    @overload
    def __getitem__(self, index: slice) -> ByteColumn: ...
    def __getitem__(self, index: int | slice) -> bytes | ByteColumn | None:
        if isinstance(index, slice):
            buffer_N, begin_N, length_N = (
                np.ascontiguousarray(ints_N[index]) for ints_N in (self.buffer_N, self.begin_N, self.length_N)
            )
            return ByteColumn(self.buffers, buffer_N, begin_N=begin_N, length_N=length_N)
        length, begin = int(self.length_N[index]), int(self.begin_N[index])
        return None if length < 0 else bytes(self.buffers[self.buffer_N[index]][begin : begin + length])

    def __iter__(self) -> Iterator[bytes | None]:
        return iter(self.to_list())

    def to_list(self) -> list[bytes | None]:
        """Return all of them as objects."""
        if native.record_columns is not None:
            texts: list[bytes | None] = native.record_columns.texts(self)
            return texts
        begins, lengths = self.begin_N.tolist(), self.length_N.tolist()
        buffers = self.buffers
        if len(buffers) == 1 and type(buffers[0]) is bytes:
            data = buffers[0]
            return [
                None if length < 0 else data[begin : begin + length]
                for begin, length in zip(begins, lengths, strict=True)
            ]
        return [
            None if length < 0 else bytes(buffers[buffer][begin : begin + length])
            for buffer, begin, length in zip(self.buffer_N.tolist(), begins, lengths, strict=True)
        ]

    def num_bytes(self) -> int:
        """Return the sum of their lengths."""
        return int(self.length_N.sum()) + int(np.count_nonzero(self.length_N < 0))

    def longest(self) -> int:
        """Return the length of the longest; 0 if there is none."""
        return max(0, int(self.length_N.max())) if len(self.length_N) else 0


OFFSET, TIMESTAMP, BUFFER, KEY_BEGIN, KEY_LENGTH, VALUE_BEGIN, VALUE_LENGTH = range(7)
"""The fields of a record, in the order of the matrix of `RecordColumns`."""
NUM_FIELDS: Final = 7


class RecordColumns(Sequence[Any]):
    """Records of one partition, in order. An object is made for a record that is asked for, with copies of its bytes.

    buffers: bytes with keys and values.
    fields_7N: int64, the fields above; each field without gaps in memory.
    headers: by record; None if no record has any.
    """

    __slots__ = ("buffers", "fields_7N", "headers")

    def __init__(
        self,
        buffers: Sequence[bytes | memoryview],
        fields_7N: Ints,
        headers: Sequence[RecordHeaders] | None,
    ) -> None:
        self.buffers = buffers
        self.fields_7N = fields_7N
        self.headers = headers

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return the records of several columns, in this order."""
        if len(parts) == 1:
            return parts[0]
        fields_7N = np.concatenate([part.fields_7N for part in parts], axis=1)
        buffers: list[bytes | memoryview] = []
        end = 0
        for part in parts:
            begin, end = end, end + len(part)
            if buffers:
                fields_7N[BUFFER, begin:end] += len(buffers)
            buffers += part.buffers
        headers: list[RecordHeaders] | None = None
        if any(part.headers is not None for part in parts):
            headers = []
            for part in parts:
                headers += [()] * len(part) if part.headers is None else part.headers
        return cls(buffers, fields_7N, headers)

    @property
    def keys(self) -> ByteColumn:
        """The keys."""
        return self._column(KEY_BEGIN)

    @property
    def values(self) -> ByteColumn:
        """The values."""
        return self._column(VALUE_BEGIN)

    def _column(self, begin: int) -> ByteColumn:
        fields_7N = self.fields_7N
        return ByteColumn(self.buffers, fields_7N[BUFFER], begin_N=fields_7N[begin], length_N=fields_7N[begin + 1])

    def offsets(self) -> Ints:
        """Return the offsets, int64 [N]."""
        offset_N: Ints = self.fields_7N[OFFSET]
        return offset_N

    def timestamps(self) -> Ints:
        """Return the timestamps, ms since the Unix epoch, int64 [N]."""
        timestamp_N: Ints = self.fields_7N[TIMESTAMP]
        return timestamp_N

    def __len__(self) -> int:
        return int(self.fields_7N.shape[1])

    @overload
    def __getitem__(self, index: int) -> PlainRecord: ...
    @overload
    def __getitem__(self, index: slice) -> RecordColumns: ...
    def __getitem__(self, index: int | slice) -> PlainRecord | RecordColumns:
        if isinstance(index, slice):
            return self.take(index)
        offset, timestamp = self.fields_7N[:2, index].tolist()
        headers = () if self.headers is None else self.headers[index]
        return PlainRecord(offset, timestamp, self.keys[index], self.values[index], headers)

    def __iter__(self) -> Iterator[PlainRecord]:
        headers = [()] * len(self) if self.headers is None else self.headers
        columns = (self.offsets().tolist(), self.timestamps().tolist(), self.keys, self.values, headers)
        return starmap(PlainRecord, zip(*columns, strict=True))

    def take(self, rows: npt.NDArray[Any] | slice) -> RecordColumns:
        """Return the records at ascending indices, or those for which a mask is true."""
        headers = self.headers
        if isinstance(rows, slice) and rows.step in (None, 1):  # a view
            return RecordColumns(self.buffers, self.fields_7N[:, rows], headers and headers[rows])
        chosen = np.arange(len(self))[rows]
        if headers is not None:
            headers = [headers[row] for row in chosen.tolist()]
        return RecordColumns(self.buffers, self.fields_7N.take(chosen, axis=1), headers)

    def with_values(self, values: Sequence[bytes | None]) -> RecordColumns:
        """Return the records with other values."""
        keys = self.keys.to_list()
        fields_7N = np.zeros_like(self.fields_7N)
        fields_7N[[OFFSET, TIMESTAMP]] = self.fields_7N[[OFFSET, TIMESTAMP]]
        end = 0
        for begin, texts in ((KEY_BEGIN, keys), (VALUE_BEGIN, values)):
            length_N = np.array([-1 if text is None else len(text) for text in texts], dtype=np.int64)
            end_N = end + np.cumsum(np.maximum(length_N, 0))
            fields_7N[begin], fields_7N[begin + 1] = end_N - np.maximum(length_N, 0), length_N
            end = int(end_N[-1]) if len(end_N) else end
        joined = b"".join([text for texts in (keys, values) for text in texts if text is not None])
        return RecordColumns([joined], fields_7N, self.headers)

    def num_bytes(self) -> int:
        """Return the size of keys, values and headers for limits in bytes."""
        size = self.keys.num_bytes() + self.values.num_bytes()
        return size if self.headers is None else size + sum(map(headers_size, self.headers))

    def num_within(self, num_bytes: int) -> int:
        """Return how many of the records, from the first, fit into `num_bytes`."""
        size_N = np.maximum(self.fields_7N[KEY_LENGTH], 0) + np.maximum(self.fields_7N[VALUE_LENGTH], 0)
        if self.headers is not None:
            size_N = size_N + np.fromiter(map(headers_size, self.headers), np.int64, len(self))
        return int(np.searchsorted(np.cumsum(size_N), num_bytes, side="right"))


def offsets_of(records: Sequence[Any]) -> Ints:
    """Return the offset of each event, int64."""
    if isinstance(records, RecordColumns | RowRecords):
        return records.offsets()
    return np.fromiter(map(_OFFSET, records), np.int64, len(records))


def timestamps_of(records: Sequence[Any]) -> Ints:
    """Return the timestamp of each event's record, int64, ms since the Unix epoch."""
    if isinstance(records, RecordColumns | RowRecords):
        return records.timestamps()
    return np.fromiter(map(_TIMESTAMP, records), np.int64, len(records))


def keys_of(records: Sequence[Any]) -> list[bytes | None]:
    """Return the key of each event's record."""
    return records.keys.to_list() if isinstance(records, RecordColumns) else of_each(records, _KEY)


def values_of(records: Sequence[Any]) -> list[bytes | None]:
    """Return the value of each record. records: not the rows of records."""
    return records.values.to_list() if isinstance(records, RecordColumns) else list(map(_VALUE, records))


def any_headers(records: Sequence[Any]) -> bool:
    """Return whether any record has headers. records: for rows of records, the records."""
    return records.headers is not None if isinstance(records, RecordColumns) else any(map(_HEADERS, records))


def headers_of(records: Sequence[Any]) -> Sequence[RecordHeaders]:
    """Return the headers of each record."""
    if isinstance(records, RecordColumns):
        return [()] * len(records) if records.headers is None else records.headers
    return list(map(_HEADERS, records))
