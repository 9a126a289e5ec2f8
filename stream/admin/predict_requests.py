"""Requests to `/predict` as records for the stream's decoder, and the responses to them. Pure except for rests."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import orjson

from forebay.schemas import headers as names
from forebay.schemas.failures import FAILURES, FailureKind
from forebay.stream.admin.time_slices import TimeSlices
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import BatchResult, Chunk, Epoch, Record, Rejection, TopicPartition
from forebay.stream.decode import Decoder
from forebay.stream.decode.event_formats import REQUEST_TOPIC
from forebay.stream.output.encoder import PredictionEncoder

REQUEST_PARTITION: Final = TopicPartition(REQUEST_TOPIC, 0)
"""The partition of records that are in no topic. No topic can have this name."""

_NO_EPOCH: Final = Epoch(-1, "", None, 0)
_ENCODINGS: Final = {"gzip": 31, "x-gzip": 31, "deflate": 15}
"""Content encodings, with zlib's number for each."""
_RECORD_HEADERS: Final = (names.ID, names.TIMESTAMP, names.DEADLINE_MS, names.MODEL)
_STATUS: Final = {
    FailureKind.TOO_LARGE: 413,
    FailureKind.UNSUPPORTED_CONTENT_TYPE: 415,
    FailureKind.UNKNOWN_MODEL: 404,
    FailureKind.DENIED: 403,
    FailureKind.DEADLINE_EXCEEDED: 408,
    FailureKind.OUTLIER: 422,
    FailureKind.PREPARE_ERROR: 422,
    FailureKind.MODEL_ERROR: 422,
    FailureKind.OUTPUT_NOT_FINITE: 422,
    FailureKind.OUTPUT_SHAPE: 500,
    FailureKind.OUT_OF_MEMORY: 503,
}
"""HTTP status by failure kind; 400 for all others."""


class RequestError(Exception):
    """A request cannot be answered as a whole. kind: the failure kind of the dead letter that it corresponds to."""

    def __init__(self, kind: FailureKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One event of a request; implements `stream.core.records.Record`."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = field(default_factory=tuple)


@dataclass(frozen=True, slots=True)
class PredictRequest:
    """The events of a request. The offset of a record is its index. is_list: whether the body was a list."""

    records: tuple[Record, ...]
    is_list: bool


class AnsweredPart(NamedTuple):
    """The decoded events of a request for one model. result: None if none of them was valid."""

    chunk: Chunk
    result: BatchResult | None
    encoder: PredictionEncoder


def decompress(body: bytes, headers: Mapping[str, str], *, max_bytes: int) -> bytes:
    """Return the body without its content encoding. Raise RequestError if that fails."""
    encoding = headers.get("Content-Encoding", "identity").strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in _ENCODINGS:
        raise RequestError(
            FailureKind.UNSUPPORTED_CONTENT_TYPE,
            f"content-encoding {encoding[:80]!r}; only gzip and deflate are accepted",
        )
    decompressor = zlib.decompressobj(_ENCODINGS[encoding])
    try:
        plain = decompressor.decompress(body, max_bytes)
    except zlib.error as error:
        raise RequestError(FailureKind.NOT_JSON, f"the body is not {encoding}: {error}") from None
    if not decompressor.eof and len(plain) >= max_bytes:
        raise RequestError(FailureKind.TOO_LARGE, f"more than {max_bytes} bytes (admin.max_body_bytes)")
    if not decompressor.eof or decompressor.unused_data:
        problem = "has data after its end" if decompressor.eof else "ends too early"
        raise RequestError(FailureKind.NOT_JSON, f"the body is not {encoding}: it {problem}")
    return plain


def read_request(
    body: bytes,
    headers: Mapping[str, str],
    time_slices: TimeSlices,
    *,
    now_ms: int,
    max_events: int,
    model: str | None = None,
) -> PredictRequest:
    """Return the events of a request. Raise RequestError if there are none or too many, or the list is not JSON.

    A JSON body is an event or a list of events; an event without id or timestamp gets its index and the current time. A body
    with the content type of raw float32 is one row, with its id in the same header as on a topic.

    headers: the HTTP headers, with case-insensitive names.
    model: name of the model for events that do not name one themselves; None for that of the header on records.
    """
    content_type = headers.get("Content-Type", names.JSON_CONTENT_TYPE)
    media_type = content_type.split(";")[0].strip().lower()
    if media_type in ("", names.JSON_CONTENT_TYPE, "text/json", "application/x-www-form-urlencoded"):
        # The last one is what curl sends with --data by default.
        return _json_request(
            body, _record_headers(headers, (names.MODEL,), model), time_slices, now_ms=now_ms, max_events=max_events
        )
    record_headers = _record_headers(headers, _RECORD_HEADERS, model)
    record_headers.append((names.CONTENT_TYPE, content_type.encode("utf-8", "surrogateescape")))
    return PredictRequest(
        (RequestRecord(offset=0, timestamp=now_ms, key=b"0", value=body, headers=record_headers),), False
    )


def _record_headers(headers: Mapping[str, str], wanted: Sequence[str], model: str | None) -> list[tuple[str, bytes]]:
    """Return these HTTP headers as headers of a record, with their original bytes, which need not be UTF-8.

    model: overrides the header of this meaning.
    """
    texts = {name: headers[name] for name in wanted if name in headers}
    if model is not None:
        texts[names.MODEL] = model
    return [(name, text.encode("utf-8", "surrogateescape")) for name, text in texts.items()]


def _json_request(
    body: bytes, headers: Sequence[tuple[str, bytes]], time_slices: TimeSlices, *, now_ms: int, max_events: int
) -> PredictRequest:
    if body.lstrip()[:1] != b"[":
        value = _with_defaults(body, index=0, now_ms=now_ms)
        return PredictRequest((RequestRecord(0, now_ms, None, value, headers=headers),), False)
    try:
        raws = msgspec.json.decode(body, type=list[msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(FailureKind.NOT_JSON, str(error)[:200]) from None
    if not raws:
        raise RequestError(FailureKind.EMPTY_VALUE, "the list has no event")
    if len(raws) > max_events:
        raise RequestError(
            FailureKind.TOO_LARGE, f"{len(raws)} events; batch.max_batch_size allows {max_events} in one request"
        )
    records = [
        RequestRecord(index, now_ms, None, _with_defaults(bytes(raw), index=index, now_ms=now_ms), headers=headers)
        for index, raw in enumerate(time_slices.items(raws))
    ]
    return PredictRequest(tuple(records), True)


def _with_defaults(value: bytes, *, index: int, now_ms: int) -> bytes:
    """Return the event with id and timestamp added if they are missing; other values unchanged, for the decoder."""
    try:
        event = orjson.loads(value)
    except ValueError:
        return value
    if not isinstance(event, dict):
        return value
    added = {name: default for name, default in (("id", str(index)), ("timestamp", now_ms)) if name not in event}
    if not added:
        return value
    # Keep the event's own bytes: orjson reads deeper nesting than it writes.
    fields = value.lstrip(b" \t\r\n").removeprefix(b"{")
    return orjson.dumps(added).removesuffix(b"}") + (b"," if event else b"") + fields


def decode_request(request: PredictRequest, decoder: Decoder, time_slices: TimeSlices) -> list[Chunk]:
    """Decode the events of a request as the stream decodes a poll, in slices. Return one chunk for each of their models."""
    by_model: dict[ModelRef, list[Chunk]] = {}
    for part in time_slices.slices(request.records):
        for chunk in decoder.decode({REQUEST_PARTITION: part}, _NO_EPOCH):
            if chunk.num_records:
                by_model.setdefault(chunk.model, []).append(chunk)
    return [chunks[0] if len(chunks) == 1 else _join(chunks) for chunks in by_model.values()]


def _join(chunks: Sequence[Chunk]) -> Chunk:
    rejections: list[Rejection] = []
    deadlines: dict[int, int] = {}
    num_records = num_rows = 0
    for chunk in chunks:
        for rejection in chunk.rejections:
            index = num_records + rejection.index
            rejections.append(Rejection(index, rejection.record, rejection.kind, rejection.message))
        deadlines.update((num_rows + row, deadline_ms) for row, deadline_ms in chunk.deadlines.items())
        num_records += chunk.num_records
        num_rows += chunk.num_rows
    return Chunk(
        partition=REQUEST_PARTITION,
        epoch=_NO_EPOCH,
        model=chunks[0].model,
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


def build_response(
    request: PredictRequest, parts: Sequence[AnsweredPart], *, time_slices: TimeSlices
) -> tuple[int, Any]:
    """Return the HTTP status and the document.

    For a list the document has an entry for each event, in order; the status is 200 if any event was predicted, else that of
    the first.

    parts: all events of the request, by model.
    """
    entries: list[tuple[int, dict[str, Any]] | None] = [None] * len(request.records)
    for chunk, result, encoder in parts:
        for rejection in time_slices.items(chunk.rejections):
            entries[rejection.record.offset] = _error_entry(rejection.kind, rejection.message, None)
        failures = {} if result is None else result.failures
        if result is not None:
            predicted = [row for row in range(chunk.num_rows) if row not in failures]
            documents = encoder.encode(result, chunk, 0, predicted)
            for row, document in time_slices.items(zip(predicted, documents, strict=True)):
                prediction = orjson.loads(document)
                del prediction["source"]
                entries[chunk.records[row].offset] = (200, prediction)
        for row, failure in time_slices.items(failures.items()):
            entries[chunk.records[row].offset] = _error_entry(failure.kind, failure.message, chunk.ids[row])
    complete = [entry for entry in entries if entry is not None]
    assert len(complete) == len(entries)
    if not request.is_list:
        return complete[0]
    statuses = [status for status, _ in complete]
    return (200 if 200 in statuses else statuses[0]), [document for _, document in complete]


def status_of(kind: FailureKind) -> int:
    """Return the HTTP status for a failure kind."""
    return _STATUS.get(kind, 400)


def error_document(kind: FailureKind, message: str) -> dict[str, Any]:
    """Return the error as JSON: the fields of a dead letter's headers, and the remedy."""
    spec = FAILURES[kind]
    return {"error": {"kind": kind.value, "stage": spec.stage.value, "message": message, "remedy": spec.remedy}}


def _error_entry(kind: FailureKind, message: str, event_id: str | None) -> tuple[int, dict[str, Any]]:
    identity = {} if event_id is None else {"id": event_id}
    return status_of(kind), {**identity, **error_document(kind, message)}
