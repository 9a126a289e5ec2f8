"""Requests to `/predict` as records that the stream's decoder takes, and the answers to them. Pure but for rests."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import numpy as np
import orjson

from forebay.schemas import headers as names
from forebay.schemas.failures import FAILURES, FailureKind
from forebay.stream.admin.time_slices import TimeSlices
from forebay.stream.core.records import BatchResult, Chunk, Epoch, Record, Rejection, TopicPartition
from forebay.stream.decode import Decoder
from forebay.stream.output.encoder import PredictionEncoder

REQUEST_PARTITION: Final = TopicPartition("predict", 0)
"""The place of records that are in no topic."""

_NO_EPOCH: Final = Epoch(-1, "", None, 0)
_ENCODINGS: Final = {"gzip": 31, "x-gzip": 31, "deflate": 15}
"""Content encodings, with zlib's number for each."""
_CARRIED: Final = (names.ID, names.TIMESTAMP, names.DEADLINE_MS, names.MODEL)
_STATUS: Final = {
    FailureKind.TOO_LARGE: 413,
    FailureKind.UNSUPPORTED_CONTENT_TYPE: 415,
    FailureKind.UNKNOWN_MODEL: 404,
    FailureKind.DEADLINE_EXCEEDED: 408,
    FailureKind.PREPARE_ERROR: 422,
    FailureKind.MODEL_ERROR: 422,
    FailureKind.OUTPUT_NOT_FINITE: 422,
    FailureKind.OUTPUT_SHAPE: 500,
    FailureKind.OUT_OF_MEMORY: 503,
}
"""By kind; 400 for all others."""


class RequestError(Exception):
    """Why a request as a whole cannot be answered: a kind of dead letter."""

    def __init__(self, kind: FailureKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One event of a request; see `stream.core.records.Record`."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = field(default_factory=tuple)


@dataclass(frozen=True, slots=True)
class PredictRequest:
    """The events of a request, and whether it was a list of them."""

    records: tuple[Record, ...]
    is_list: bool


def decompress(body: bytes, headers: Mapping[str, str], *, max_bytes: int) -> bytes:
    """Return the body without its content encoding. Raises RequestFault."""
    encoding = headers.get("Content-Encoding", "identity").strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in _ENCODINGS:
        raise RequestError(
            FailureKind.UNSUPPORTED_CONTENT_TYPE, f"content-encoding {encoding[:80]!r}; gzip and deflate are taken"
        )
    decompressor = zlib.decompressobj(_ENCODINGS[encoding])
    try:
        plain = decompressor.decompress(body, max_bytes)
    except zlib.error as error:
        raise RequestError(FailureKind.NOT_JSON, f"the body is not {encoding}: {error}") from None
    if not decompressor.eof and len(plain) >= max_bytes:
        raise RequestError(FailureKind.TOO_LARGE, f"more than {max_bytes} bytes (admin.max_body_bytes)")
    if not decompressor.eof or decompressor.unused_data:
        where = "goes on after its end" if decompressor.eof else "ends too early"
        raise RequestError(FailureKind.NOT_JSON, f"the body is not {encoding}: it {where}")
    return plain


def read_request(
    body: bytes, headers: Mapping[str, str], time_slices: TimeSlices, *, now_ms: int, max_events: int
) -> PredictRequest:
    """Return the events of a request. headers: its HTTP headers, whose names are compared without case.

    JSON: an event, or a list of events; what lacks an id or a timestamp is given its number and the time. Raw float32, under
    its content type: one row, its id in the header that it has on a topic too. Raises RequestFault.
    """
    content_type = headers.get("Content-Type", names.JSON_CONTENT_TYPE)
    media_type = content_type.split(";")[0].strip().lower()
    if media_type in ("", names.JSON_CONTENT_TYPE, "text/json", "application/x-www-form-urlencoded"):
        # The last is what curl says of --data where it is told nothing else.
        return _json_request(body, time_slices, now_ms=now_ms, max_events=max_events)
    # The bytes as they came, which need not be UTF-8.
    carried = [(name, headers[name].encode("utf-8", "surrogateescape")) for name in _CARRIED if name in headers]
    carried.append((names.CONTENT_TYPE, content_type.encode("utf-8", "surrogateescape")))
    return PredictRequest((RequestRecord(offset=0, timestamp=now_ms, key=b"0", value=body, headers=carried),), False)


def _json_request(body: bytes, time_slices: TimeSlices, *, now_ms: int, max_events: int) -> PredictRequest:
    if body.lstrip()[:1] != b"[":
        return PredictRequest((RequestRecord(0, now_ms, None, _completed(body, 0, now_ms)),), False)
    try:
        raws = msgspec.json.decode(body, type=list[msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(FailureKind.NOT_JSON, str(error)[:200]) from None
    if not raws:
        raise RequestError(FailureKind.EMPTY_VALUE, "the list has no event")
    if len(raws) > max_events:
        raise RequestError(
            FailureKind.TOO_LARGE, f"{len(raws)} events; batch.max_batch_size lets through {max_events} at once"
        )
    records = [
        RequestRecord(number, now_ms, None, _completed(bytes(raw), number, now_ms))
        for number, raw in enumerate(time_slices.each(raws))
    ]
    return PredictRequest(tuple(records), True)


def _completed(value: bytes, number: int, now_ms: int) -> bytes:
    """Add id and timestamp where they are missing; what has both, or is not an event, goes to the decoder as it came."""
    try:
        event = orjson.loads(value)
    except ValueError:
        return value
    if not isinstance(event, dict):
        return value
    added = {name: usual for name, usual in (("id", str(number)), ("timestamp", now_ms)) if name not in event}
    if not added:
        return value
    # The event's own bytes stay as they are: orjson reads deeper nesting than it writes.
    fields = value.lstrip(b" \t\r\n").removeprefix(b"{")
    return orjson.dumps(added).removesuffix(b"}") + (b"," if event else b"") + fields


def decode_request(asked: PredictRequest, decoder: Decoder, time_slices: TimeSlices) -> Chunk:
    """Decode the events of a request as the stream decodes a poll, in slices."""
    chunks = [
        chunk
        for part in time_slices.slices(asked.records)
        for chunk in decoder.decode({REQUEST_PARTITION: part}, _NO_EPOCH)
    ]
    return chunks[0] if len(chunks) == 1 else _joined(chunks)


def _joined(chunks: Sequence[Chunk]) -> Chunk:
    rejections: list[Rejection] = []
    deadlines: dict[int, int] = {}
    num_records = num_rows = 0
    for chunk in chunks:
        for one in chunk.rejections:
            rejections.append(Rejection(num_records + one.index, one.record, one.kind, one.message))
        deadlines.update((num_rows + row, deadline_ms) for row, deadline_ms in chunk.deadlines.items())
        num_records += chunk.num_records
        num_rows += chunk.num_rows
    return Chunk(
        partition=REQUEST_PARTITION,
        epoch=_NO_EPOCH,
        records=[record for chunk in chunks for record in chunk.records],
        ids=[event_id for chunk in chunks for event_id in chunk.ids],
        timestamps=[timestamp for chunk in chunks for timestamp in chunk.timestamps],
        x_BF=np.concatenate([chunk.x_BF for chunk in chunks]),
        rejections=rejections,
        num_records=num_records,
        num_bytes=sum(chunk.num_bytes for chunk in chunks),
        next_offset=chunks[-1].next_offset,
        deadlines=deadlines,
    )


def answer(
    asked: PredictRequest,
    chunk: Chunk,
    finished: BatchResult | None,
    encoder: PredictionEncoder,
    *,
    time_slices: TimeSlices,
) -> tuple[int, Any]:
    """Return HTTP status and document. chunk: the request's events, decoded; finished: None where none of them was an event.

    For a list there is an entry for each event, in order; its status is 200 where one was predicted, else the first one's.
    """
    entries: list[tuple[int, dict[str, Any]] | None] = [None] * len(asked.records)
    for rejection in time_slices.each(chunk.rejections):
        entries[rejection.index] = _error_entry(rejection.kind, rejection.message, None)
    failures = {} if finished is None else finished.failures
    good = [index for index, entry in enumerate(entries) if entry is None]
    predicted = [row for row in range(len(good)) if row not in failures]
    if finished is not None:
        documents = encoder.encode(finished, chunk, 0, predicted)
        for row, document in time_slices.each(zip(predicted, documents, strict=True)):
            prediction = orjson.loads(document)
            del prediction["source"]
            entries[good[row]] = (200, prediction)
    for row, failure in time_slices.each(failures.items()):
        entries[good[row]] = _error_entry(failure.kind, failure.message, chunk.ids[row])
    whole = [entry for entry in entries if entry is not None]
    assert len(whole) == len(entries)
    if not asked.is_list:
        return whole[0]
    statuses = [status for status, _ in whole]
    return (200 if 200 in statuses else statuses[0]), [document for _, document in whole]


def status_of(kind: FailureKind) -> int:
    """The HTTP status of a request that failed for this."""
    return _STATUS.get(kind, 400)


def error_document(kind: FailureKind, message: str) -> dict[str, Any]:
    """As a dead letter's headers tell it, with the remedy."""
    spec = FAILURES[kind]
    return {"error": {"kind": kind.value, "stage": spec.stage.value, "message": message, "remedy": spec.remedy}}


def _error_entry(kind: FailureKind, message: str, event_id: str | None) -> tuple[int, dict[str, Any]]:
    named = {} if event_id is None else {"id": event_id}
    return status_of(kind), {**named, **error_document(kind, message)}
