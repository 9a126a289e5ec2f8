"""Predictions on request: the stream's own decoder, preparation and model, on the device's thread."""

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
    answer,
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
from forebay.stream.inference.device_thread import DeviceThread
from forebay.stream.output.encoder import PredictionEncoder

MAX_PENDING: Final = 8
"""Requests that may be in hand at once, from before their bodies are read; more are refused at once."""

Result = TypeVar("Result")
Response = tuple[int, bytes]
"""HTTP status, and the JSON document."""


class NotReady(Exception):
    """The worker cannot predict at the moment; it may later."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


class RequestLimits(NamedTuple):
    """What a request may hold: events, and bytes after decompression."""

    max_events: int
    max_bytes: int


class _Prepared(NamedTuple):
    """A request that is ready for the model. part: what the model is given; None where no event of it is one."""

    asked: PredictRequest
    chunk: Chunk
    part: BatchPart | None


class Predictor:
    """What it predicts is no event of the stream: no topic, no position, no outcome, no count.

    windows: where the model takes windows; the events of a request are then one.

    All that takes long is done away from the event loop, for one request at a time: parsing, decoding and encoding on a
    thread of its own, in turns with the stream's (see `TimeSlices`), and the model's call behind the stream's micro-batches.
    """

    def __init__(
        self,
        decoder: Decoder,
        device: DeviceThread,
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
        self._waiting = 0

    def close(self) -> None:
        """End the thread; a request that is in hand is not finished."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def predict(self, read_body: Callable[[], Awaitable[bytes]], headers: Mapping[str, str]) -> Response:
        """Answer a request. read_body: called only once there is a place for the request. Raises Unfit."""
        if self._breaker.state is BreakerState.OPEN:
            raise NotReady("breaker_open", "the model's circuit breaker is open")
        if self._waiting >= MAX_PENDING:
            raise NotReady("busy", f"{MAX_PENDING} requests wait for the model already")
        self._waiting += 1
        time_slices = TimeSlices(self._clock, time.sleep)
        try:
            body = await read_body()
            prepared = await self._aside(functools.partial(self._prepare, body, headers, time_slices))
            if not isinstance(prepared, _Prepared):
                return prepared
            finished = None if prepared.part is None else await self._run(prepared.part)
            return await self._aside(functools.partial(self._answer, prepared, finished, time_slices))
        finally:
            time_slices.abandon()
            self._waiting -= 1

    async def _aside(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _run(self, part: BatchPart) -> BatchResult:
        try:
            return await self._device.submit_ad_hoc(MicroBatch(0, (part,), "request", self._clock.monotonic_s()))
        except ModelFault as fault:
            raise NotReady(FailureKind.MODEL_ERROR.value, f"the model fails whatever it is given: {fault}") from None

    # ---- on the thread

    def _prepare(self, body: bytes, headers: Mapping[str, str], time_slices: TimeSlices) -> _Prepared | Response:
        max_events, max_bytes = self._limits
        try:
            plain = decompress(body, headers, max_bytes=max_bytes)
            asked = read_request(plain, headers, time_slices, now_ms=self._clock.wall_ms(), max_events=max_events)
        except RequestError as fault:
            return _response(status_of(fault.kind), error_document(fault.kind, fault.message))
        chunk = decode_request(asked, self._decoder, time_slices)
        if self._windows is None:
            return _Prepared(asked, chunk, chunk if len(chunk.records) else None)
        if chunk.rejections:
            return _response(*build_rejection_response(chunk))
        return _Prepared(asked, chunk, build_window(chunk, self._windows))

    def _answer(self, prepared: _Prepared, finished: BatchResult | None, time_slices: TimeSlices) -> Response:
        asked, chunk, part = prepared
        if isinstance(part, WindowChunk):
            assert finished is not None
            return _response(*build_window_response(part, finished, self._encoder))
        return _response(*answer(asked, chunk, finished, self._encoder, time_slices=time_slices))


def _response(status: int, document: Any) -> Response:
    return status, encode_json(document)
