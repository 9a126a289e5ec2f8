"""The messages of an Arrow IPC stream, and the limits that are checked before anything is decoded.

pyarrow verifies the metadata, but allocates what compressed buffers say they contain, and trusts the numbers of rows of columns
that take no memory. So the few fields that matter are read here first, with every access within the bytes of the message.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from forebay.schemas.failures import FailureKind
from forebay.stream.decode.formats.payload import InvalidPayload

SCHEMA: Final = 1
DICTIONARY: Final = 2
RECORD_BATCH: Final = 3

_FILE_MAGIC: Final = b"ARROW1\0\0"
_FILE_END: Final = b"ARROW1"
_CONTINUATION: Final = b"\xff\xff\xff\xff"
_UNCOMPRESSED: Final = -1
_MAX_PAIRS: Final = 1_000_000

_U16: Final = struct.Struct("<H")
_I32: Final = struct.Struct("<i")
_U32: Final = struct.Struct("<I")
_I64: Final = struct.Struct("<q")
_PAIR: Final = struct.Struct("<qq")
_BLOCK: Final = struct.Struct("<qi4xq")
"""The place of a batch in the footer of a file: where it begins, and the lengths of its metadata and its body."""


class ArrowLimits(NamedTuple):
    """Limits of a record.

    max_rows: number of its rows.
    max_bytes: what all of its buffers contain once decompressed.
    """

    max_rows: int = 65_536
    max_bytes: int = 32 << 20


class Message(NamedTuple):
    """A message of a stream. start, end: its place in the value, with its prefix. rows: of a batch, dictionaries included."""

    kind: int
    start: int
    end: int
    rows: int


def messages(value: bytes, limits: ArrowLimits) -> list[Message]:
    """Return the messages of a stream or of a file, the schema first. Raises InvalidPayload if they exceed the limits.

    A file has the messages of a stream between its first bytes and its footer, which has to list their places.
    """
    if not value.startswith(_FILE_MAGIC):
        return _messages(value, limits, start=0, end=len(value))
    footer = _footer_start(value)
    found = _messages(value, limits, start=len(_FILE_MAGIC), end=footer)
    try:
        table = _Table(value[footer:], _U32.unpack_from(value, footer)[0])
        listed = {
            (kind, *block) for kind, field in ((DICTIONARY, 2), (RECORD_BATCH, 3)) for block in table.blocks(field)
        }
    except (struct.error, IndexError):
        raise _damaged_footer("it cannot be read") from None
    batches = {(message.kind, message.start, message.end) for message in found if message.kind != SCHEMA}
    if listed != batches:
        raise _damaged_footer(f"it does not list the {len(batches)} batches and dictionaries that precede it")
    return found


def _footer_start(value: bytes) -> int:
    length_at = len(value) - len(_FILE_END) - 4
    if length_at < len(_FILE_MAGIC) or not value.endswith(_FILE_END):
        raise InvalidPayload(
            FailureKind.INVALID_PAYLOAD, "not an Arrow IPC file: it does not end with ARROW1; it may be truncated"
        )
    length = _I32.unpack_from(value, length_at)[0]
    if not 4 <= length <= length_at - len(_FILE_MAGIC):
        raise _damaged_footer(f"its length is {length} of {len(value)} bytes")
    return length_at - int(length)


def _damaged_footer(why: str) -> InvalidPayload:
    return InvalidPayload(FailureKind.INVALID_PAYLOAD, f"not an Arrow IPC file: its footer is damaged: {why}")


def _messages(value: bytes, limits: ArrowLimits, *, start: int, end: int) -> list[Message]:
    found: list[Message] = []
    rows = num_bytes = 0
    try:
        for kind, place, last, table, body in _framed(value, start, end):
            if kind in (RECORD_BATCH, DICTIONARY):
                batch = table if kind == RECORD_BATCH else table.table(1)
                count = batch.int64(0)
                if count < 0:
                    raise _invalid(f"a batch of {count} rows")
                if kind == RECORD_BATCH:
                    rows += count
                if max(rows, count) > limits.max_rows:
                    raise InvalidPayload(
                        FailureKind.TOO_LARGE,
                        f"{max(rows, count)} rows; input.max_rows_per_record is {limits.max_rows}",
                    )
                num_bytes += _unpacked_bytes(batch, value, limits, body=body, end=last)
                if num_bytes > limits.max_bytes:
                    raise InvalidPayload(
                        FailureKind.TOO_LARGE, f"more than {limits.max_bytes} bytes once decompressed; send fewer rows"
                    )
            elif kind != SCHEMA or found:
                raise _invalid(f"a message of the type {kind}" if kind != SCHEMA else "a second schema")
            else:
                count = 0
            if kind != SCHEMA and not found:
                raise _invalid("it does not begin with a schema")
            found.append(Message(kind, place, last, count))
    except (struct.error, IndexError):
        raise _invalid("its metadata is damaged") from None
    if not found:
        raise _invalid("it has no schema")
    return found


def _invalid(why: str) -> InvalidPayload:
    return InvalidPayload(FailureKind.INVALID_PAYLOAD, f"not an Arrow IPC stream: {why}")


class _Table:
    """A table of a flatbuffer. Raises struct.error or IndexError for places outside of its bytes."""

    __slots__ = ("_data", "_fields", "_place")

    def __init__(self, data: bytes, place: int) -> None:
        if place < 0:
            raise IndexError
        vtable = place - _I32.unpack_from(data, place)[0]
        if vtable < 0:
            raise IndexError
        size = _U16.unpack_from(data, vtable)[0]
        self._data, self._place = data, place
        self._fields = struct.unpack_from(f"<{max(0, size - 4) // 2}H", data, vtable + 4)

    def place_of(self, field: int) -> int | None:
        """Return where a field is stored; None if it is absent."""
        offset = self._fields[field] if field < len(self._fields) else 0
        return self._place + offset if offset else None

    def int64(self, field: int) -> int:
        place = self.place_of(field)
        return 0 if place is None else int(_I64.unpack_from(self._data, place)[0])

    def byte(self, field: int) -> int:
        place = self.place_of(field)
        return 0 if place is None else self._data[place]

    def table(self, field: int) -> _Table:
        place = self.place_of(field)
        if place is None:
            raise IndexError
        return _Table(self._data, place + _U32.unpack_from(self._data, place)[0])

    def pairs(self, field: int) -> list[tuple[int, int]]:
        """Return a vector of pairs: offsets and lengths of buffers, or lengths and numbers of nulls of columns."""
        place = self.place_of(field)
        if place is None:
            return []
        start = place + _U32.unpack_from(self._data, place)[0]
        count = _U32.unpack_from(self._data, start)[0]
        if count > _MAX_PAIRS or start + 4 + 16 * count > len(self._data):
            raise IndexError
        return list(_PAIR.iter_unpack(self._data[start + 4 : start + 4 + 16 * count]))

    def blocks(self, field: int) -> list[tuple[int, int]]:
        """Return where the batches begin and end that a footer lists."""
        place = self.place_of(field)
        if place is None:
            return []
        start = place + _U32.unpack_from(self._data, place)[0]
        count = _U32.unpack_from(self._data, start)[0]
        if start + 4 + _BLOCK.size * count > len(self._data):
            raise IndexError
        listed = _BLOCK.iter_unpack(self._data[start + 4 : start + 4 + _BLOCK.size * count])
        return [(offset, offset + metadata + body) for offset, metadata, body in listed]


def _framed(value: bytes, place: int, limit: int) -> Iterator[tuple[int, int, int, _Table, int]]:
    """Yield each message up to a place: its kind, place and end, its header, and where its body begins."""
    while place < limit:
        if value[place : place + 4] != _CONTINUATION:
            raise _invalid("a message without its prefix")
        length = _I32.unpack_from(value, place + 4)[0]
        if length == 0:
            return  # the end of the stream
        body = place + 8 + length
        if length < 0 or body > limit:
            raise _invalid("a message that is cut off")
        metadata = value[place + 8 : body]
        message = _Table(metadata, _U32.unpack_from(metadata, 0)[0])
        body_length = message.int64(3)
        end = body + body_length
        if body_length < 0 or end > limit:
            raise _invalid("a batch that is cut off")
        yield message.byte(1), place, end, message.table(2), body
        place = end


def _unpacked_bytes(batch: _Table, value: bytes, limits: ArrowLimits, *, body: int, end: int) -> int:
    """Return what the buffers of a batch contain once decompressed, as they say themselves.

    Columns, and the elements of lists, have at least one bit in a buffer each; as Python values they take 64.
    """
    is_compressed = batch.place_of(3) is not None
    total = 0
    for length, _ in batch.pairs(1):
        if not 0 <= length <= limits.max_bytes // 4:
            raise _invalid(f"a column or list with {length} values")
    for offset, length in batch.pairs(2):
        if offset < 0 or length < 0 or body + offset + length > end:
            raise _invalid("a buffer outside of its batch")
        if is_compressed and length:
            if length < 8:
                raise _invalid("a compressed buffer without its size")
            unpacked = _I64.unpack_from(value, body + offset)[0]
            if unpacked < _UNCOMPRESSED:
                raise _invalid(f"a buffer of {unpacked} bytes")
            length = max(length, unpacked)
        total += length
    return total
