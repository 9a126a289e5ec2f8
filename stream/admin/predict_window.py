"""Requests to `/predict` for models that take windows: the events of a request are one window. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import orjson

from forebay.stream.admin.predict_requests import error_document, status_of
from forebay.stream.core.records import BatchResult, Chunk
from forebay.stream.eventtime.plan import WindowPlan
from forebay.stream.eventtime.spec import WindowKind
from forebay.stream.eventtime.types import Events, Window
from forebay.stream.eventtime.window_chunk import WindowChunk, window_label
from forebay.stream.output.encoder import PredictionEncoder

REQUEST_KEY: Final = b"request"


def build_window(chunk: Chunk, plan: WindowPlan) -> WindowChunk:
    """Return a window of all events of the chunk, whatever their keys and times.

    It begins at the earliest event. Its length is that of the plan's windows; a session ends one gap after the latest event.
    """
    times: Sequence[int] = chunk.timestamps
    spec = plan.spec
    start = min(times)
    end = max(times) + spec.gap_ms if spec.kind is WindowKind.SESSION else start + spec.size_ms
    events = Events([record.offset for record in chunk.records], [REQUEST_KEY] * len(times), times, chunk.x_BF)
    window = Window(REQUEST_KEY, start, end, 0, 0, events.packed())
    window.num_events = len(times)
    return WindowChunk(
        chunk.partition,
        chunk.epoch,
        chunk.model,
        windows=[window],
        window_input=plan.window_input,
        num_features=plan.num_features,
        first_offset=chunk.first_offset,
        next_offset=chunk.next_offset,
        metadata="",
        record_timestamp=times[-1],
    )


def build_rejection_response(chunks: Sequence[Chunk]) -> tuple[int, Any] | None:
    """Return the HTTP status and the document for the first rejected event; None if there is none."""
    rejections = [rejection for chunk in chunks for rejection in chunk.rejections]
    if not rejections:
        return None
    rejection = min(rejections, key=lambda rejection: rejection.record.offset)
    message = f"event {rejection.record.offset} of the request: {rejection.message}"
    return status_of(rejection.kind), error_document(rejection.kind, message)


def build_window_response(part: WindowChunk, result: BatchResult, encoder: PredictionEncoder) -> tuple[int, Any]:
    """Return the HTTP status and the document: one prediction, or the failure."""
    for failure in result.failures.values():
        return status_of(failure.kind), error_document(failure.kind, failure.message)
    (document,) = encoder.encode_windows(
        result, partition=part.partition, first_row=0, windows=[window_label(part.windows[0])], rows=None
    )
    prediction = orjson.loads(document)
    del prediction["source"], prediction["id"], prediction["window"]["key"]
    return 200, prediction
