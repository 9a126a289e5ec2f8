"""Reports of devices: what a device counted in one window, as the records that workers write. Pure.

A report has the number that the device gave it. Whether a report has been counted before is decided where it is committed
(`stream/kafka/producer/edge_commit.py`); here a report becomes records or is refused.
"""

from __future__ import annotations

import math
from typing import Annotated, Final, NamedTuple

import msgspec
import orjson

from forebay.schemas.drift import DRIFT_FORMAT
from forebay.schemas.errors import DataError
from forebay.schemas.failures import FAILURES, FailureKind, Outcome, Stage
from forebay.stream.drift.wire import decode_drift, encode_drift
from forebay.stream.output.ledger import DELTA_BUCKET_MS, Delta, DeltaKey, encode_delta

REPORT_FORMAT: Final = 1
MAX_AHEAD_MS: Final = 3_600_000
"""A report whose window begins later than this after its arrival comes from a wrong clock."""
MAX_MINUTES: Final = 1_441
WORKER_PREFIX: Final = "edge/"

_Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 40)]
_Time = Annotated[int, msgspec.Meta(ge=0, le=10**14)]
# What the runner rejects, and rows without a finite score, such as those that the preparation rejects.
_REJECTED, _FAILED = FAILURES[FailureKind.INVALID_PAYLOAD], FAILURES[FailureKind.OUTPUT_NOT_FINITE]
_OUTCOMES: Final = (
    ("predicted", Outcome.PREDICTED, Stage.EMIT, Outcome.PREDICTED.value),
    ("rejected", _REJECTED.outcome, _REJECTED.stage, FailureKind.INVALID_PAYLOAD.value),
    ("failed", _FAILED.outcome, _FAILED.stage, FailureKind.OUTPUT_NOT_FINITE.value),
)


class BadReport(Exception):
    """A report cannot be counted. kind and message say why."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


class _Minute(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    first: _Time
    last: _Time
    predicted: _Count = 0
    rejected: _Count = 0
    failed: _Count = 0


class _Report(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    device: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    number: Annotated[int, msgspec.Meta(ge=1, le=1 << 53)]
    model: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    version: Annotated[int, msgspec.Meta(ge=1, le=(1 << 31) - 1)]
    minutes: dict[str, _Minute]
    drift: dict[str, object]


class EdgeReport(NamedTuple):
    """A report as records: key and value of each.

    device, number: identify the report.
    deltas: outcome deltas.
    drift: the record of drift; None if the window has no rows.
    """

    device: str
    number: int
    deltas: list[tuple[bytes, bytes]]
    drift: tuple[bytes, bytes] | None


_DECODER: Final = msgspec.json.Decoder(_Report)


def parse_report(body: bytes, *, now_ms: int) -> EdgeReport:
    """Return the records of a report. Raises BadReport."""
    try:
        report = _DECODER.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadReport("bad_report", f"not a report of a device: {error}") from None
    if report.format != REPORT_FORMAT:
        raise BadReport("format", f"the format is {report.format}; this release reads {REPORT_FORMAT}")
    if not 1 <= len(report.minutes) <= MAX_MINUTES:
        raise BadReport("bad_report", f"there are {len(report.minutes)} minutes; allowed are 1 to {MAX_MINUTES}")
    worker = WORKER_PREFIX + report.device
    deltas = [
        delta
        for start, minute in report.minutes.items()
        for delta in _deltas(report, _start(start, minute, now_ms), minute, worker)
    ]
    if not deltas:
        raise BadReport("bad_report", "all counts are 0")
    return EdgeReport(report.device, report.number, deltas, _drift(report, worker))


def _start(text: str, minute: _Minute, now_ms: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 14) or int(text) % DELTA_BUCKET_MS:
        raise BadReport("bad_report", f"{text[:20]!r} is not the start of a minute in milliseconds since 1970")
    start = int(text)
    if not start <= minute.first <= minute.last < start + DELTA_BUCKET_MS:
        raise BadReport("bad_report", f"the times of the minute {start} are not within it")
    if start > now_ms + MAX_AHEAD_MS:
        raise BadReport("clock", f"the minute {start} is more than an hour ahead: set the clock of the device")
    return start


def _deltas(report: _Report, start: int, minute: _Minute, worker: str) -> list[tuple[bytes, bytes]]:
    found = []
    for name, outcome, stage, kind in _OUTCOMES:
        count = getattr(minute, name)
        if count:
            delta = Delta()
            delta.add(count, minute.first, minute.last)
            key = DeltaKey(start, outcome, stage, kind, report.model, report.version)
            found.append(encode_delta(key, delta, worker=worker))
    return found


def _drift(report: _Report, worker: str) -> tuple[bytes, bytes] | None:
    """Return the record of drift, with the number of the report, by which readers recognise copies."""
    about = {"format": DRIFT_FORMAT, "model": report.model, "version": report.version}
    document = {**report.drift, **about, "worker": worker, "number": report.number}
    try:
        record = decode_drift(orjson.dumps(document))
    except (DataError, TypeError) as error:
        raise BadReport("bad_report", str(error)) from None
    if not record.counts.rows:
        return None
    if not all(math.isfinite(column.total) for column in record.counts.columns):
        raise BadReport("bad_report", "a sum is not finite")
    return encode_drift(record.counts, worker=worker, number=report.number)
