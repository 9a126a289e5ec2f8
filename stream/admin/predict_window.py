"""The events of a request as one window, for models that take windows. Pure."""

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
    """All events of the chunk, whatever their keys and times: from the first on, as long as windows of the plan are."""
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
        windows=[window],
        window_input=plan.window_input,
        num_features=plan.num_features,
        next_offset=chunk.next_offset,
        metadata="",
        record_timestamp=times[-1],
    )


def build_rejection_response(chunk: Chunk) -> tuple[int, Any]:
    """HTTP status and document where an event of it is none: of the first."""
    rejection = chunk.rejections[0]
    where = f"event {rejection.index} of the request: {rejection.message}"
    return status_of(rejection.kind), error_document(rejection.kind, where)


def build_window_response(part: WindowChunk, finished: BatchResult, encoder: PredictionEncoder) -> tuple[int, Any]:
    """HTTP status and document: one prediction, or why the model has none."""
    for failure in finished.failures.values():
        return status_of(failure.kind), error_document(failure.kind, failure.message)
    (document,) = encoder.encode_windows(
        finished, partition=part.partition, first_row=0, windows=[window_label(part.windows[0])], rows=None
    )
    prediction = orjson.loads(document)
    del prediction["source"], prediction["id"], prediction["window"]["key"]
    return 200, prediction
