"""Predictions on request, with the stream's own decoder, preprocessing and model, on the device thread."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple, TypeVar

from forebay.schemas.failures import FailureKind
from forebay.stream.admin.predict_requests import (
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
from forebay.stream.admin.time_slices import TimeSlices
from forebay.stream.core.circuit_breaker import BreakerState, CircuitBreaker
from forebay.stream.core.clock import Clock
from forebay.stream.core.records import BatchPart, BatchResult, Chunk, MicroBatch
from forebay.stream.decode import Decoder
from forebay.stream.eventtime.plan import WindowPlan
from forebay.stream.eventtime.window_chunk import WindowChunk
from forebay.stream.inference.bisect import ModelFault
from forebay.stream.inference.executor import Executor
from forebay.stream.output.encoder import PredictionEncoder

MAX_PENDING: Final = 8
"""Number of concurrent requests, counted from before their bodies are read; more are refused immediately."""

Result = TypeVar("Result")
Response = tuple[int, bytes]
"""HTTP status and JSON document."""


class NotReady(Exception):
    """The worker cannot predict now; it may later."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


class RequestLimits(NamedTuple):
    """The limits of a request: events, and bytes after decompression."""

    max_events: int
    max_bytes: int


class _Prepared(NamedTuple):
    """A request that is ready for the model. part: input of the model; None if no event of the request is valid."""

    request: PredictRequest
    chunk: Chunk
    part: BatchPart | None


class Predictor:
    """Answers requests to `/predict`.

    Their events are not events of the stream: they have no topic, position or outcome, and are not counted.

    Slow work is done outside the event loop, for one request at a time: parsing, decoding and encoding on a thread of its
    own, in time slices (see `TimeSlices`), and the model call on the device thread, queued behind the stream's micro-batches.

    windows: how to build windows if the model takes them; the events of a request are then one window.
    """

    def __init__(
        self,
        decoder: Decoder,
        device: Executor,
        encoder: PredictionEncoder,
        breaker: CircuitBreaker,
        *,
        limits: RequestLimits,
        windows: WindowPlan | None = None,
        clock: Clock,
    ) -> None:
        self._decoder = decoder
        self._device = device
        self._encoder = encoder
        self._breaker = breaker
        self._limits = limits
        self._windows = windows
        self._clock = clock
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="predict")
        self._num_pending = 0

    def close(self) -> None:
        """End the thread. A request in progress is not finished."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def predict(self, read_body: Callable[[], Awaitable[bytes]], headers: Mapping[str, str]) -> Response:
        """Answer a request. Raise NotReady if the worker cannot predict now.

        read_body: is called only if the request is admitted.
        """
        if self._breaker.state is BreakerState.OPEN:
            raise NotReady("breaker_open", "the model's circuit breaker is open")
        if self._num_pending >= MAX_PENDING:
            raise NotReady("busy", f"{MAX_PENDING} requests are already waiting for the model")
        self._num_pending += 1
        time_slices = TimeSlices(self._clock, time.sleep)
        try:
            body = await read_body()
            prepared = await self._run_on_thread(functools.partial(self._prepare, body, headers, time_slices))
            if not isinstance(prepared, _Prepared):
                return prepared
            result = None if prepared.part is None else await self._infer(prepared.part)
            return await self._run_on_thread(functools.partial(self._respond, prepared, result, time_slices))
        finally:
            time_slices.abandon()
            self._num_pending -= 1

    async def _run_on_thread(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _infer(self, part: BatchPart) -> BatchResult:
        try:
            return await self._device.submit_ad_hoc(MicroBatch(0, (part,), "request", self._clock.monotonic_s()))
        except ModelFault as fault:
            raise NotReady(FailureKind.MODEL_ERROR.value, f"the model fails on any input: {fault}") from None

    # ---- on the thread

    def _prepare(self, body: bytes, headers: Mapping[str, str], time_slices: TimeSlices) -> _Prepared | Response:
        max_events, max_bytes = self._limits
        try:
            plain = decompress(body, headers, max_bytes=max_bytes)
            request = read_request(plain, headers, time_slices, now_ms=self._clock.wall_ms(), max_events=max_events)
        except RequestError as error:
            return _response(status_of(error.kind), error_document(error.kind, error.message))
        chunk = decode_request(request, self._decoder, time_slices)
        if self._windows is None:
            return _Prepared(request, chunk, chunk if len(chunk.records) else None)
        if chunk.rejections:
            return _response(*build_rejection_response(chunk))
        return _Prepared(request, chunk, build_window(chunk, self._windows))

    def _respond(self, prepared: _Prepared, result: BatchResult | None, time_slices: TimeSlices) -> Response:
        request, chunk, part = prepared
        if isinstance(part, WindowChunk):
            assert result is not None
            return _response(*build_window_response(part, result, self._encoder))
        return _response(*build_response(request, chunk, result, self._encoder, time_slices=time_slices))


def _response(status: int, document: Any) -> Response:
    return status, encode_json(document)
