"""Record batches in pieces of bounded size, however large the unpacked batch is.

Batches are unpacked here, within a limit. Their records become columns (`record_reader`), and from the first one that is not
plainly valid they are read one by one (`record_batch`). Batches of older formats are read by the client's parser. Checksums are
verified elsewhere (`raw_records`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from operator import attrgetter
from typing import Any, Final, NamedTuple

from forebay.schemas.failures import FailureKind
from forebay.stream.core.header_sizes import HEADER_OBJECT_BYTES
from forebay.stream.core.record_columns import PlainRecord, RecordColumns, any_headers
from forebay.stream.core.records import Unreadable
from forebay.stream.kafka.protocol.decompression import CODEC_NAMES, NotUnpackable, UnpackedTooLarge, unpack
from forebay.stream.kafka.protocol.record_batch import (
    BATCH_HEADERS,
    HEADER_BYTES,
    BatchHeader,
    read_records,
    unreadable_batch,
)
from forebay.stream.kafka.protocol.record_reader import RecordReader

MAX_RECORDS: Final = 4096
MAX_BYTES: Final = 1 << 20
MANY_HEADERS_FROM: Final = 256
"""If records are smaller on average, in bytes, a piece cannot hold enough headers for them to be counted."""

_FORMAT_AT, _OLD_ATTRIBUTES_AT = 16, 17
_HEADERS = attrgetter("headers")


class ImplausibleBatch(Exception):
    """The header of a batch is inconsistent, so the offsets of its records are unknown."""


class Piece(NamedTuple):
    """Some records of a batch, which look to the client like one record with the offset of the last.

    num_bytes: the memory that they took; more than their size if a batch was unpacked in vain.
    """

    offset: int
    records: Sequence[Any]
    num_bytes: int

    def from_offset(self, position: int) -> Piece:
        """Return the records at `position` or after it."""
        if isinstance(self.records, RecordColumns):
            return self._replace(records=self.records[int(self.records.offsets().searchsorted(position)) :])
        first = self.records[0]
        if getattr(first, "first_offset", first.offset) >= position:
            return self
        records = [
            record.from_offset(position) if isinstance(record, Unreadable) else record
            for record in self.records
            if record.offset >= position
        ]
        return self._replace(records=records)


def pieces(batch: Any, raw: memoryview, max_unpacked_bytes: int, *, position: int = 0) -> Iterator[Piece]:
    """Yield the records of a batch, each exactly once, as itself or as part of an `Unreadable`.

    batch: the client's parser for the batch, used for the formats 0 and 1.
    raw: its bytes.
    position: records before this offset may be left out.

    Raises ImplausibleBatch.
    """
    if raw[_FORMAT_AT] < 2:
        yield from _old_format(batch, raw, max_unpacked_bytes)
        return
    header = BatchHeader.read(raw)
    if not header.is_plausible:
        raise ImplausibleBatch(
            f"its header states {header.num_records} records from offset {header.first} to {header.last}"
        )
    if not header.num_records:
        return
    data: bytes | memoryview = raw[HEADER_BYTES:]
    if header.codec:
        try:
            data = unpack(header.codec, data, max_unpacked_bytes)
        except UnpackedTooLarge:
            unreadable = unreadable_batch(header, raw, FailureKind.BATCH_TOO_LARGE, _too_large(raw, max_unpacked_bytes))
            yield Piece(unreadable.offset, [unreadable], max_unpacked_bytes)
            return
        except NotUnpackable as error:
            unreadable = unreadable_batch(
                header, raw, FailureKind.UNREADABLE_BATCH, _not_unpackable(header.codec, error)
            )
            yield Piece(unreadable.offset, [unreadable], max_unpacked_bytes)
            return
    average = len(data) // header.num_records + 1
    step = max(1, min(MAX_RECORDS, MAX_BYTES // average))
    reader = RecordReader(header, data)
    reader.skip_to(position)
    while (columns := reader.read(step)) is not None:
        yield Piece(int(columns.offsets()[-1]), columns, _size(columns, average))
    if reader.num_read < header.num_records:
        slowly = read_records(header, raw, data, skip=reader.num_read)
        while records := list(islice(slowly, step)):
            yield Piece(records[-1].offset, records, _size(records, average))


def _size(records: Sequence[Any], average: int) -> int:
    """Return the approximate size of the records in memory. average: the unpacked size of a record of the batch."""
    size = average * len(records)
    if average > MANY_HEADERS_FROM and any_headers(records):
        size += HEADER_OBJECT_BYTES * sum(map(len, map(_HEADERS, records)))
    return size


def _too_large(raw: memoryview, max_unpacked_bytes: int) -> str:
    return f"the batch, {len(raw):,} bytes compressed, unpacks to more than {max_unpacked_bytes:,} bytes"


def _not_unpackable(codec: int, error: Exception) -> str:
    name = CODEC_NAMES[codec] if codec < len(CODEC_NAMES) else f"codec {codec}"
    return f"the batch cannot be unpacked ({name}): {error}"


def _old_format(batch: Any, raw: memoryview, max_unpacked_bytes: int) -> Iterator[Piece]:
    """Yield a message of format 0 or 1: one record, or if it is compressed, a set of records. Its offset is their last."""
    last, codec = int.from_bytes(raw[:8], "big", signed=True), raw[_OLD_ATTRIBUTES_AT] & 7
    kind = FailureKind.UNREADABLE_BATCH if codec else FailureKind.UNREADABLE_RECORD
    try:
        if codec:
            unpack(codec, _old_value(raw), max_unpacked_bytes)  # the parser does it again, without a limit
        records = [_with_time(record) for record in batch]
        if records and records[-1].offset > last:
            raise ValueError(f"it states offset {records[-1].offset}")
    except UnpackedTooLarge:
        kind, why = FailureKind.BATCH_TOO_LARGE, _too_large(raw, max_unpacked_bytes)
    except NotUnpackable as error:
        why = _not_unpackable(codec, error)
    except Exception as error:
        why = str(error) or type(error).__name__
    else:
        if records:
            yield Piece(records[-1].offset, records, len(raw))
        return
    # The first offset of a set is not stated: it includes everything between the position and its last offset.
    first = 0 if codec else last
    unreadable = Unreadable(
        offset=last,
        timestamp=-1,
        key=None,
        value=bytes(raw),
        headers=BATCH_HEADERS,
        first_offset=first,
        count=last - first + 1,
        kind=kind,
        message=why,
    )
    yield Piece(last, [unreadable], max_unpacked_bytes if codec else len(raw))


def _old_value(raw: memoryview) -> memoryview:
    """Return the value of a message of format 0 or 1, which is a set of messages."""
    cursor = 18 if raw[_FORMAT_AT] == 0 else 26
    size = int.from_bytes(raw[cursor : cursor + 4], "big", signed=True)
    cursor += 4 + max(0, size)
    size = int.from_bytes(raw[cursor : cursor + 4], "big", signed=True)
    return raw[cursor + 4 : cursor + 4 + max(0, size)]


def _with_time(record: Any) -> Any:
    """Return a record with a timestamp: records of format 0 have none."""
    if record.timestamp is not None:
        return record
    return PlainRecord(record.offset, -1, record.key, record.value, [])
