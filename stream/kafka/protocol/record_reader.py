"""Reads the records of a batch of format 2 into columns: in the compiled part, or here with NumPy.

Both read only what is plainly a record. At the first other one, `record_batch` takes over.

Shapes: N records; M bytes.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from forebay.stream import native
from forebay.stream.core.record_columns import (
    KEY_BEGIN,
    KEY_LENGTH,
    NUM_FIELDS,
    OFFSET,
    TIMESTAMP,
    VALUE_BEGIN,
    VALUE_LENGTH,
    Ints,
    RecordColumns,
    RecordHeaders,
)
from forebay.stream.kafka.protocol.record_batch import (
    MAX_HEADERS,
    BatchHeader,
    Malformed,
    begin_of_record,
    read_headers,
    read_varint,
)

_INT64: Final = np.iinfo(np.int64)
_MAX_SHIFT: Final = 63
Bytes = npt.NDArray[np.uint8]


class RecordReader:
    """Reads the records of a batch in order, some at a time.

    data: its records, unpacked.
    num_read: the number of records that were read or skipped.
    """

    def __init__(self, header: BatchHeader, data: bytes | memoryview) -> None:
        self._header = header
        # Without the compiled part, slices of bytes are the values.
        self._data = data if native.record_columns is not None else bytes(data)
        self._begin = 0
        self._lowest = 0
        self._room = header.last - header.first + 1 - header.num_records
        self.num_read = 0

    def skip_to(self, position: int) -> None:
        """Skip records before an offset, if each offset has a record."""
        header = self._header
        if not header.is_dense or position <= header.first:
            return
        before = min(position - header.first, header.num_records)
        begin = begin_of_record(self._data, before)
        if begin is not None:
            self.num_read = self._lowest = before
            self._begin = begin

    def read(self, count: int) -> RecordColumns | None:
        """Return the next records, at most `count`; None at the end of the batch and at a record that is not plain."""
        header, data = self._header, self._data
        count = min(count, header.num_records - self.num_read)
        if count <= 0 or header.first < _INT64.min or header.last > _INT64.max:
            return None
        fields_7N = np.empty((NUM_FIELDS, count), dtype=np.int64)
        read: Any = _read if native.record_columns is None else native.record_columns.read
        num_records, self._begin, headers = read(
            data,
            fields_7N,
            begin=self._begin,
            first=header.first,
            lowest=self._lowest,
            room=self._room,
            first_timestamp=header.first_timestamp,
            append_time=header.max_timestamp if header.is_log_append_time else None,
        )
        if not num_records:
            return None
        if num_records < count:
            fields_7N = fields_7N[:, :num_records]
        lowest = int(fields_7N[OFFSET, -1]) - header.first + 1
        self._room -= lowest - self._lowest - num_records
        self._lowest = lowest
        self.num_read += num_records
        return RecordColumns([data], fields_7N, headers)


def _read(
    data: bytes,
    fields_7N: Ints,
    *,
    begin: int,
    first: int,
    lowest: int,
    room: int,
    first_timestamp: int,
    append_time: int | None,
) -> tuple[int, int, list[RecordHeaders] | None]:
    """Read records like `native/record_columns.pyx`, with the same parameters and results."""
    begin_N, end_N = _bounds(data, begin, fields_7N.shape[1])
    bytes_M = np.frombuffer(data, dtype=np.uint8)
    cursor = _Cursor(bytes_M, begin_N, end_N)
    cursor.skip_attributes()
    delta_N = cursor.read_varints()
    offset_N = cursor.read_varints()
    key_N, key_length_N = cursor.read_strings()
    value_N, value_length_N = cursor.read_strings()
    num_headers_N = cursor.read_varints()
    is_plain_N = cursor.is_good_N & (num_headers_N >= 0) & (num_headers_N <= MAX_HEADERS)
    is_plain_N &= (num_headers_N > 0) | (cursor.at_N == end_N)
    # The highest offset of each is one more than that of the record before.
    num_N = np.arange(len(begin_N))
    lowest_N = np.concatenate(([lowest], offset_N[:-1] + 1)) if len(begin_N) else num_N
    is_plain_N &= (lowest_N <= offset_N) & (offset_N - num_N <= lowest + room)
    if append_time is None:
        is_plain_N &= ~((delta_N > 0) & (delta_N > _INT64.max - max(0, first_timestamp)))
        is_plain_N &= ~((delta_N < 0) & (delta_N < _INT64.min - min(0, first_timestamp)))
    count = len(begin_N) if is_plain_N.all() else int(is_plain_N.argmin())
    headers, count = _headers(data, cursor.at_N[:count], end_N[:count], num_headers_N[:count])
    head = slice(0, count)
    fields_7N[:, head] = 0
    fields_7N[OFFSET, head] = first + offset_N[head]
    fields_7N[TIMESTAMP, head] = first_timestamp + delta_N[head] if append_time is None else append_time
    fields_7N[KEY_BEGIN, head] = key_N[head]
    fields_7N[KEY_LENGTH, head] = key_length_N[head]
    fields_7N[VALUE_BEGIN, head] = value_N[head]
    fields_7N[VALUE_LENGTH, head] = value_length_N[head]
    return count, int(end_N[count - 1]) if count else begin, headers


def _bounds(data: bytes, begin: int, count: int) -> tuple[Ints, Ints]:
    """Return where the bodies of records begin and end, up to the first with an invalid length."""
    begins: list[int] = []
    ends: list[int] = []
    end = len(data)
    try:
        for _ in range(count):
            # Most lengths take one or two bytes.
            low = data[begin]
            if low < 0x80 and not low & 1:
                begin += 1
                length = low >> 1
            elif low >= 0x80 and not low & 1 and (high := data[begin + 1]) < 0x80:
                begin += 2
                length = high << 6 | (low & 0x7F) >> 1
            else:
                length, begin = read_varint(data, begin, end)
            if not 0 <= length <= end - begin:
                break
            begins.append(begin)
            begin += length
            ends.append(begin)
    except (IndexError, Malformed):
        pass
    return np.array(begins, dtype=np.int64), np.array(ends, dtype=np.int64)


class _Cursor:
    """A position in each of N records. `is_good_N`: whether what was read there is valid."""

    def __init__(self, bytes_M: Bytes, at_N: Ints, end_N: Ints) -> None:
        self._bytes_M = bytes_M
        self.at_N = at_N.copy()
        self._end_N = end_N
        self.is_good_N = np.ones(len(at_N), dtype=np.bool_)

    def _read_byte(self, at_N: Ints) -> Bytes:
        # Positions after the last byte are found to be beyond the end of their record.
        return self._bytes_M.take(at_N, mode="clip")

    def skip_attributes(self) -> None:
        """Skip the first byte, which is not used."""
        if len(self.at_N):
            self.is_good_N &= (self.at_N < self._end_N) & (self._read_byte(self.at_N) < 0x80)
            self.at_N += 1

    def read_varints(self) -> Ints:
        """Read a zigzag-encoded number of at most 64 bits from each."""
        if not len(self.at_N):
            return np.zeros(0, dtype=np.int64)
        byte_N = self._read_byte(self.at_N)
        bits_N = (byte_N & 0x7F).astype(np.uint64)
        self.at_N += 1
        longer = np.flatnonzero(byte_N >= 0x80)
        shift = 7
        while len(longer):
            byte_L = self._read_byte(self.at_N[longer])
            bits_N[longer] |= (byte_L & 0x7F).astype(np.uint64) << np.uint64(shift)
            self.at_N[longer] += 1
            if shift == _MAX_SHIFT:
                self.is_good_N[longer[byte_L > 1]] = False
                break
            longer = longer[byte_L >= 0x80]
            shift += 7
        self.is_good_N &= self.at_N <= self._end_N
        numbers: Ints = ((bits_N >> np.uint64(1)) ^ (np.uint64(0) - (bits_N & np.uint64(1)))).view(np.int64)
        return numbers

    def read_strings(self) -> tuple[Ints, Ints]:
        """Read a byte string or null from each. Returns where they begin, and their lengths: -1 for null."""
        length_N = np.maximum(self.read_varints(), -1)
        begin_N = self.at_N.copy()
        self.is_good_N &= length_N <= self._end_N - begin_N
        self.at_N += np.where(self.is_good_N, np.maximum(length_N, 0), 0)
        return begin_N, length_N


def _headers(data: bytes, at_N: Ints, end_N: Ints, num_headers_N: Ints) -> tuple[list[RecordHeaders] | None, int]:
    """Return the headers of each record, None if no record has any, and the number of records whose headers are valid."""
    rows = np.flatnonzero(num_headers_N).tolist()
    if not rows:
        return None, len(at_N)
    headers: list[RecordHeaders] = [()] * len(at_N)
    for row in rows:
        try:
            headers[row] = read_headers(data, int(at_N[row]), int(end_N[row]), int(num_headers_N[row]))
        except Malformed:
            return (headers[:row] if row > rows[0] else None), row
    return headers, len(at_N)
