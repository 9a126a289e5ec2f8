"""The sizes of records for limits in bytes."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import TYPE_CHECKING

from forebay.stream.core.header_sizes import headers_size
from forebay.stream.core.record_columns import RecordColumns
from forebay.stream.core.rows import RowRecord, RowRecords

if TYPE_CHECKING:
    from forebay.stream.core.records import Record

_KEY, _VALUE, _HEADERS = attrgetter("key"), attrgetter("value"), attrgetter("headers")


def record_bytes(record: Record) -> int:
    """Return the size of a record for limits in bytes: its key, value and headers; for a row, its share of them."""
    if type(record) is RowRecord:
        return record.source.row_bytes
    size = len(record.value or b"") + len(record.key or b"")
    return size + headers_size(record.headers) if record.headers else size


def records_bytes(records: Sequence[Record]) -> int:
    """Return the sum of the sizes of records, as `record_bytes` defines them, in less time."""
    if isinstance(records, RowRecords | RecordColumns):
        return records.num_bytes()
    if RowRecord in set(map(type, records)):
        return sum(map(record_bytes, records))
    size = sum(map(len, filter(None, map(_VALUE, records)))) + sum(map(len, filter(None, map(_KEY, records))))
    return size + sum(map(headers_size, filter(None, map(_HEADERS, records))))


def records_within(records: Sequence[Record], num_bytes: int) -> int:
    """Return how many of the records, from the first, fit into `num_bytes`."""
    if isinstance(records, RowRecords | RecordColumns):
        return records.num_within(num_bytes)
    for index, record in enumerate(records):
        num_bytes -= record_bytes(record)
        if num_bytes < 0:
            return index
    return len(records)
