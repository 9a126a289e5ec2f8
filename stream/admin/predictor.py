"""Predictions on request, with the stream's own decoder, preprocessing and model, on the device thread."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from forebay.schemas.failures import FailureKind
from forebay.stream.access.admin_policy import TRUSTED, Caller
from forebay.stream.access.tokens import Denial
from forebay.stream.admin.predict_requests import (
    AnsweredPart,
    PredictRequest,
    RequestError,
    build_response,
    decode_request,
    decompress,
    error_document,
    read_request,
    status_of,
)
from forebay.stream.admin.predict_window import build_rejection_response, build_window, build_window_response
from forebay.stream.admin.responses import encode_json
from forebay.stream.admin.served_model import ServedModel, ServedModels
from forebay.stream.admin.time_slices import TimeSlices
from forebay.stream.core.circuit_breaker import BreakerState
from forebay.stream.core.clock import Clock
from forebay.stream.core.records import BatchPart, BatchResult, Chunk, MicroBatch
from forebay.stream.decode import Decoder
from forebay.stream.decode.access_filter import deny_all
from forebay.stream.eventtime.window_chunk import WindowChunk
from forebay.stream.inference.bisect import ModelFault

MAX_PENDING: Final = 8
"""Number of concurrent requests, counted from before their bodies are read; more are refused immediately."""

Result = TypeVar("Result")
Response = tuple[int, bytes]
"""HTTP status and JSON document."""


class RequestFormat(Protocol):
    """Says how the events of a request are written, and its response."""

    def read(
        self, body: bytes, headers: Mapping[str, str], time_slices: TimeSlices, *, now_ms: int, max_events: int
    ) -> PredictRequest:
        """Return the events of a body without its content encoding. Raise RequestError if there are none."""

    def finish(self, status: int, document: Any) -> Response:
        """Return the response for a status and the document of `/predict`: of one event, or a list of them."""


class EventFormat:
    """Reads events as on the topics, and answers with JSON.

    model: name of the model for events that do not name one themselves.
    """

    def __init__(self, model: str | None) -> None:
        self._model = model

    def read(
        self, body: bytes, headers: Mapping[str, str], time_slices: TimeSlices, *, now_ms: int, max_events: int
    ) -> PredictRequest:
        """Return the events of a body. See `read_request`."""
        return read_request(body, headers, time_slices, now_ms=now_ms, max_events=max_events, model=self._model)

    def finish(self, status: int, document: Any) -> Response:
        """Return the document as JSON."""
        return status, encode_json(document)


class NotReady(Exception):
    """The worker cannot predict now; it may later."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


class _Part(NamedTuple):
    """The events of a request for one model. input: of the model; None if none of the events is valid."""

    served: ServedModel
    chunk: Chunk
    input: BatchPart | None


class _Prepared(NamedTuple):
    """A request that is ready for its models."""

    request: PredictRequest
    parts: list[_Part]


class _Work(NamedTuple):
    """What a request needs on the thread."""

    format: RequestFormat
    headers: Mapping[str, str]
    time_slices: TimeSlices
    caller: Caller


class Predictor:
    """Answers requests to `/predict`.

    Their events are not events of the stream: they have no topic, position or outcome, and are not counted.

    Slow work is done outside the event loop, for one request at a time: parsing, decoding and encoding on a thread of its
    own, in time slices (see `TimeSlices`), and the model calls on the device threads, queued behind the stream's micro-batches.

    For a model that takes windows, the events of a request are one window.

    models: the loaded versions. Those that the decoder decodes for answer.
    max_bytes: limit of a request after decompression.
    """

    def __init__(self, decoder: Decoder, models: ServedModels, *, max_bytes: int, clock: Clock) -> None:
        self._decoder = decoder
        self._models = models
        self._max_bytes = max_bytes
        self._clock = clock
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="predict")
        self._num_pending = 0

    def close(self) -> None:
        """End the thread. A request in progress is not finished."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def predict(
        self,
        read_body: Callable[[], Awaitable[bytes]],
        headers: Mapping[str, str],
        *,
        model: str | None = None,
        request_format: RequestFormat | None = None,
        caller: Caller = TRUSTED,
    ) -> Response:
        """Answer a request. Raise NotReady if the worker cannot predict now.

        read_body: is called only if the request is admitted.
        model: name of the model for events that do not name one themselves.
        request_format: of body and response; None for events as on the topics.
        caller: events for models that it may not use are denied.
        """
        named = [served for served in self._models if served.ref.name == model]
        candidates = named or list(self._models)
        if all(served.breaker.state is BreakerState.OPEN for served in candidates):
            raise self._breaker_open(candidates[0])
        if self._num_pending >= MAX_PENDING:
            raise NotReady("busy", f"{MAX_PENDING} requests are already waiting for the model")
        self._num_pending += 1
        time_slices = TimeSlices(self._clock, time.sleep)
        work = _Work(request_format or EventFormat(model), headers, time_slices, caller)
        try:
            body = await read_body()
            prepared = await self._run_on_thread(functools.partial(self._prepare, body, work))
            if not isinstance(prepared, _Prepared):
                return prepared
            results = [
                None if part.input is None else await self._infer(part.served, part.input) for part in prepared.parts
            ]
            return await self._run_on_thread(functools.partial(self._respond, prepared, results, work))
        finally:
            time_slices.abandon()
            self._num_pending -= 1

    async def _run_on_thread(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _infer(self, served: ServedModel, part: BatchPart) -> BatchResult:
        if served.breaker.state is BreakerState.OPEN:
            raise self._breaker_open(served)
        try:
            return await served.executor.submit_ad_hoc(MicroBatch(0, (part,), "request", self._clock.monotonic_s()))
        except ModelFault as fault:
            raise NotReady(FailureKind.MODEL_ERROR.value, f"the model fails on any input: {fault}") from None

    def _breaker_open(self, served: ServedModel) -> NotReady:
        name = "the model" if len(self._models.stable()) == 1 else f"the model {served.ref.name!r}"
        return NotReady("breaker_open", f"the circuit breaker of {name} is open")

    # ---- on the thread

    def _prepare(self, body: bytes, work: _Work) -> _Prepared | Response:
        finish = work.format.finish
        try:
            plain = decompress(body, work.headers, max_bytes=self._max_bytes)
            request = work.format.read(
                plain,
                work.headers,
                work.time_slices,
                now_ms=self._clock.wall_ms(),
                max_events=max(served.max_batch_size for served in self._models),
            )
            chunks = [
                chunk if work.caller.may_use(chunk.model) else deny_all(chunk, Denial.RULE)
                for chunk in decode_request(request, self._decoder, work.time_slices)
            ]
            for chunk in chunks:
                _check_size(chunk, self._models[chunk.model])
        except RequestError as error:
            return finish(status_of(error.kind), error_document(error.kind, error.message))
        parts = [_Part(self._models[chunk.model], chunk, chunk if len(chunk.records) else None) for chunk in chunks]
        windowed = next((part for part in parts if part.served.windows is not None), None)
        if windowed is None:
            return _Prepared(request, parts)
        prepared = _prepare_window(request, parts, windowed.served)
        return prepared if isinstance(prepared, _Prepared) else finish(*prepared)

    def _respond(self, prepared: _Prepared, results: Sequence[BatchResult | None], work: _Work) -> Response:
        request, parts = prepared
        if isinstance(parts[0].input, WindowChunk):
            (part,), (result,) = parts, results
            assert result is not None and isinstance(part.input, WindowChunk)
            return work.format.finish(*build_window_response(part.input, result, part.served.encoder))
        answered = [
            AnsweredPart(part.chunk, result, part.served.encoder) for part, result in zip(parts, results, strict=True)
        ]
        return work.format.finish(*build_response(request, answered, time_slices=work.time_slices))


def _check_size(chunk: Chunk, served: ServedModel) -> None:
    """Raise RequestError if there are more events than the model takes at once."""
    if chunk.num_rows > served.max_batch_size:
        raise RequestError(
            FailureKind.TOO_LARGE,
            f"{chunk.num_rows} events for the model {served.ref.name!r}; its batch.max_batch_size allows "
            f"{served.max_batch_size} in one request",
        )


def _prepare_window(
    request: PredictRequest, parts: Sequence[_Part], served: ServedModel
) -> _Prepared | tuple[int, Any]:
    """Build the window of a request; if it has none, return status and document.

    All of its events must be valid and for the same model.
    """
    rejection = build_rejection_response([part.chunk for part in parts])
    if rejection is not None:
        return rejection
    if len(parts) > 1:
        message = (
            f"the events name several models, and for {served.ref.name!r} all events of a request are one window; "
            "send one request for each model"
        )
        return 400, {"error": {"kind": "several_models", "message": message}}
    assert served.windows is not None
    chunk = parts[0].chunk
    return _Prepared(request, [_Part(served, chunk, build_window(chunk, served.windows.plan))])
