"""The records on `drift`: the counts of one worker in a window, as JSON. Those of all workers add up."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import orjson

from forebay.schemas.drift import DRIFT_FORMAT, MAX_DRIFT_BINS, MAX_DRIFT_COLUMNS
from forebay.schemas.errors import DataError
from forebay.stream.drift.bins import ColumnKind
from forebay.stream.drift.counts import ColumnCounts, DriftCounts, DriftKey

_DIGITS: Final = 8

MAX_ROWS: Final = 1 << 40
"""Rows of a record. The sums of millions of records still fit into 64 bits."""
_MAX_VERSION: Final = (1 << 31) - 1
_MAX_NUMBER: Final = 1 << 53
_MAX_MS: Final = 10**14
"""The year 5138: each such time can be shown as a date."""
_MAX_SUM: Final = 1e100
"""The numbers are float32 values, so that a sum of MAX_ROWS of them is below 1e51."""


class DriftRecord(NamedTuple):
    """A record of the topic. Records of a worker with the same number are copies of one."""

    worker: str
    number: int
    counts: DriftCounts


class _Column(msgspec.Struct, frozen=True):
    name: str
    kind: ColumnKind
    counts: list[int]
    missing: int
    unseen: int
    below: int
    above: int
    expected: list[float] | None
    expected_missing: float
    expected_unseen: float
    expected_outside: float
    sum: float = 0.0
    expected_mean: float | None = None
    reference_rows: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= len(self.counts) <= MAX_DRIFT_BINS:
            raise ValueError(f"column {self.name!r} has {len(self.counts)} counts; allowed are 1 to {MAX_DRIFT_BINS}")
        if min(*self.counts, self.missing, self.unseen, self.below, self.above) < 0:
            raise ValueError(f"column {self.name!r} has a negative count")
        if self.below + self.above > sum(self.counts):
            raise ValueError(f"column {self.name!r} has more rows out of range than in its bins")
        if self.reference_rows is not None and self.reference_rows < 1:
            raise ValueError(f"column {self.name!r} has {self.reference_rows} reference_rows; allowed are 1 and more")
        if self.expected is not None and len(self.expected) != len(self.counts):
            raise ValueError(
                f"column {self.name!r} has {len(self.counts)} counts and {len(self.expected)} expected shares"
            )
        if not all(0 <= share <= 1 for share in (*(self.expected or ()), *self._shares())):
            raise ValueError(f"column {self.name!r} has a share that is not from 0 to 1")
        if not all(abs(number) <= _MAX_SUM for number in (self.sum, self.expected_mean or 0.0)):
            raise ValueError(f"column {self.name!r} has a sum or a mean beyond {_MAX_SUM:g}")

    @property
    def rows(self) -> int:
        return sum(self.counts) + self.missing + self.unseen

    def _shares(self) -> tuple[float, ...]:
        return self.expected_missing, self.expected_unseen, self.expected_outside


class _Record(msgspec.Struct, frozen=True):
    format: int
    model: str
    version: int
    window_start: int
    window_end: int
    worker: str
    number: int
    seen: int
    rows: int
    columns: list[_Column]

    def __post_init__(self) -> None:
        if self.format != DRIFT_FORMAT:
            raise ValueError(f"format is {self.format}; this release reads {DRIFT_FORMAT}")
        if not 1 <= self.version <= _MAX_VERSION or not 0 <= self.window_start < self.window_end <= _MAX_MS:
            raise ValueError("version, window_start or window_end is out of range")
        if not 0 <= self.number <= _MAX_NUMBER:
            raise ValueError(f"number is out of range; allowed are 0 to {_MAX_NUMBER}")
        if self.rows < 0 or self.seen < self.rows:
            raise ValueError(
                f"rows is {self.rows} and seen is {self.seen}; seen includes rows, and neither is negative"
            )
        if len(self.columns) > MAX_DRIFT_COLUMNS:
            raise ValueError(f"there are {len(self.columns)} columns; allowed are {MAX_DRIFT_COLUMNS}")
        if self.seen > MAX_ROWS:
            raise ValueError(f"more rows than {MAX_ROWS}")
        for column in self.columns:
            if column.rows > self.rows:
                raise ValueError(f"column {column.name!r} has more rows than the record")


_DECODER: Final = msgspec.json.Decoder(_Record)


def encode_drift(counts: DriftCounts, *, worker: str, number: int) -> tuple[bytes, bytes]:
    """Return the key and the value of a record. number: counts the records of the worker."""
    key = counts.key
    record = {
        "format": DRIFT_FORMAT,
        **key._asdict(),
        "worker": worker,
        "number": number,
        "seen": counts.seen,
        "rows": counts.rows,
        "columns": [column_document(column) for column in counts.columns],
    }
    return f"{key.model}|{key.version}".encode(), orjson.dumps(record)


def column_document(column: ColumnCounts) -> dict[str, Any]:
    """Return the part of a record for one column, as JSON values."""
    expected = None if column.expected_C is None else [round(share, _DIGITS) for share in column.expected_C.tolist()]
    return {
        "name": column.name,
        "kind": column.kind.value,
        "counts": column.counts_C.tolist(),
        "missing": column.missing,
        "unseen": column.unseen,
        "below": column.below,
        "above": column.above,
        "expected": expected,
        "expected_missing": round(column.expected_missing, _DIGITS),
        "expected_unseen": round(column.expected_unseen, _DIGITS),
        "expected_outside": round(column.expected_outside, _DIGITS),
        "sum": column.total,
        "expected_mean": column.expected_mean,
        "reference_rows": column.reference_rows,
    }


def decode_drift(value: bytes | None) -> DriftRecord:
    """Return the record of a value. Raises DataError if it is not one."""
    try:
        record = _DECODER.decode(value or b"")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"not a record of drift: {error}", kind="drift") from error
    key = DriftKey(record.model, record.version, record.window_start, record.window_end)
    columns = [
        ColumnCounts(
            column.name,
            column.kind,
            np.array(column.counts, np.int64),
            missing=column.missing,
            unseen=column.unseen,
            below=column.below,
            above=column.above,
            expected_C=None if column.expected is None else np.array(column.expected),
            reference_rows=column.reference_rows,
            expected_missing=column.expected_missing,
            expected_unseen=column.expected_unseen,
            expected_outside=column.expected_outside,
            total=column.sum,
            expected_mean=column.expected_mean,
        )
        for column in record.columns
    ]
    return DriftRecord(record.worker, record.number, DriftCounts(key, columns, rows=record.rows, seen=record.seen))
