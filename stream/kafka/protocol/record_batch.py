"""A parser for record batches of Kafka's format 2 that accepts any bytes. Pure.

`record_reader` reads well-formed records into columns. From the first other one on, a batch is read here, record by record:
valid records are returned as usual, and a record that cannot be read as an `Unreadable` with its bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple, Self

from forebay.schemas import headers as names
from forebay.schemas.failures import FailureKind
from forebay.stream.core.record_columns import PlainRecord, RecordHeaders
from forebay.stream.core.records import Record, Unreadable

MAX_HEADERS: Final = 8192
"""A record with more headers is rejected unread: reading them takes longer than all other work on a record."""

HEADER_BYTES: Final = 61
_HEADER: Final = struct.Struct(">qiibIhiqqqhii")
_LOG_APPEND_TIME, _CODEC_MASK = 0x08, 0x07
_MAX_VARINT_BYTES: Final = 10
_INT64: Final = range(-(2**63), 2**63)

RECORD_HEADERS: Final = ((names.CONTENT_TYPE, names.KAFKA_RECORD_CONTENT_TYPE.encode()),)
BATCH_HEADERS: Final = ((names.CONTENT_TYPE, names.KAFKA_BATCH_CONTENT_TYPE.encode()),)


class Malformed(Exception):
    """The bytes of a record do not follow the format."""


class BatchHeader(NamedTuple):
    """The header of a batch. first, last: offsets; timestamps: ms since the Unix epoch, -1 for none."""

    first: int
    last: int
    num_records: int
    codec: int
    first_timestamp: int
    max_timestamp: int
    is_log_append_time: bool

    @classmethod
    def read(cls, log: bytes | memoryview, begin: int = 0) -> Self:
        """Read the header of the batch that begins at index `begin`."""
        first, _, _, _, _, attributes, delta, oldest, newest, *_, count = _HEADER.unpack_from(log, begin)
        return cls(
            first=first,
            last=first + delta,
            num_records=count,
            codec=attributes & _CODEC_MASK,
            first_timestamp=oldest,
            max_timestamp=newest,
            is_log_append_time=bool(attributes & _LOG_APPEND_TIME),
        )

    @property
    def is_plausible(self) -> bool:
        """Whether the records can have the offsets in the header. Otherwise nothing is known of them."""
        return self.last >= self.first and 0 <= self.num_records <= self.last - self.first + 1

    @property
    def is_dense(self) -> bool:
        """Whether every offset has a record, because compaction removed none."""
        return self.num_records == self.last - self.first + 1


def unreadable_batch(
    header: BatchHeader,
    batch: bytes | memoryview,
    kind: FailureKind,
    why: str,
    *,
    first: int | None = None,
    count: int = 0,
) -> Unreadable:
    """Return all records of a batch as one `Unreadable`; or `count` records from the offset `first`."""
    first, count = (header.first, header.num_records) if first is None else (first, count)
    return Unreadable(
        offset=header.last,
        timestamp=header.max_timestamp,
        key=None,
        value=bytes(batch),
        headers=BATCH_HEADERS,
        first_offset=first,
        count=count or header.last - first + 1,
        kind=kind,
        message=why,
    )


def begin_of_record(data: bytes | memoryview, index: int) -> int | None:
    """Return the position of the record at `index` in the unpacked records; None if the lengths before it are invalid."""
    cursor, end = 0, len(data)
    try:
        for _ in range(index):
            length, begin = read_varint(data, cursor, end)
            if not 0 <= length <= end - begin:
                return None
            cursor = begin + length
    except Malformed:
        return None
    return cursor


def read_records(
    header: BatchHeader, batch: bytes | memoryview, data: bytes | memoryview, *, skip: int = 0
) -> Iterator[Record]:
    """Yield every record of a batch, valid or not. Never raises.

    batch: the bytes of the batch as received.
    data: its records, unpacked.
    skip: the number of records to leave out at the beginning; they are not parsed if the batch has no gaps.
    """
    cursor, end, previous = 0, len(data), header.first - 1
    for index in range(header.num_records):
        left_after = header.num_records - index - 1
        try:
            length, begin = read_varint(data, cursor, end)
            if not 0 <= length <= end - begin:
                raise Malformed(f"a record of {length} bytes where {end - begin} are left")
        except Malformed as error:
            why = f"record {index + 1} of {header.num_records} cannot be separated from those after it: {error}"
            yield unreadable_batch(
                header, batch, FailureKind.UNREADABLE_BATCH, why, first=previous + 1, count=left_after + 1
            )
            return
        cursor = begin + length
        if index < skip and header.is_dense:
            previous = header.first + index
            continue
        expected = range(header.first + index, header.first + index + 1)
        if not header.is_dense:
            expected = range(previous + 1, header.last - left_after + 1)
        record = _read_record(header, data[begin:cursor], expected)
        previous = record.offset
        if index >= skip:
            yield record


def _read_record(header: BatchHeader, data: bytes | memoryview, expected: range) -> Record:
    """Read one record. expected: the offsets that it can have; the first is used if it states another."""
    raw = bytes(data)
    end = len(raw)
    offset, timestamp, key = expected[0], header.max_timestamp, None
    kind = FailureKind.UNREADABLE_RECORD
    try:
        _, cursor = read_varint(raw, 0, end)
        delta, cursor = read_varint(raw, cursor, end)
        if not header.is_log_append_time:
            timestamp = header.first_timestamp + delta
            if timestamp not in _INT64:
                timestamp = -1
        delta, cursor = read_varint(raw, cursor, end)
        if header.first + delta not in expected:
            raise Malformed(f"it states offset {header.first + delta}")
        offset = header.first + delta
        key, cursor = _nullable(raw, cursor, end, "key")
        value, cursor = _nullable(raw, cursor, end, "value")
        count, cursor = read_varint(raw, cursor, end)
        if count > MAX_HEADERS:
            kind = FailureKind.TOO_MANY_HEADERS
            raise Malformed(f"{count} headers; at most {MAX_HEADERS} are read")
        if count < 0:
            raise Malformed(f"{count} headers")
        headers = read_headers(raw, cursor, end, count)
    except Malformed as error:
        return Unreadable(
            offset=offset,
            timestamp=timestamp,
            key=key,
            value=raw,
            headers=RECORD_HEADERS,
            first_offset=offset,
            count=1,
            kind=kind,
            message=str(error),
        )
    return PlainRecord(offset, timestamp, key, value, headers)


def read_headers(data: bytes, cursor: int, end: int, count: int) -> RecordHeaders:
    """Read `count` headers, which end at index `end`. Raises Malformed."""
    headers: list[tuple[str, bytes | None]] = []
    for _ in range(count):
        name, cursor = _nullable(data, cursor, end, "name of a header")
        content, cursor = _nullable(data, cursor, end, "header")
        headers.append((_header_name(name), content))
    if cursor != end:
        raise Malformed(f"{end - cursor} bytes are left after it")
    return headers  # type: ignore[return-value]  # a header may be null


def _header_name(name: bytes | None) -> str:
    if name is None:
        raise Malformed("a header has no name")
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise Malformed(f"the header name {name[:40]!r} is not UTF-8") from None


def _nullable(data: bytes, cursor: int, end: int, what: str) -> tuple[bytes | None, int]:
    size, cursor = read_varint(data, cursor, end)
    if size < 0:
        return None, cursor
    if size > end - cursor:
        raise Malformed(f"a {what} of {size} bytes where {end - cursor} are left")
    return data[cursor : cursor + size], cursor + size


def read_varint(data: bytes | memoryview, cursor: int, end: int) -> tuple[int, int]:
    """Return a zigzag-encoded number and the index after it. Raises Malformed."""
    value = shift = 0
    for index in range(cursor, min(cursor + _MAX_VARINT_BYTES, end)):
        byte = data[index]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value >> 1 ^ -(value & 1), index + 1
        shift += 7
    raise Malformed("a number does not end")
