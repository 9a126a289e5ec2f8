"""Predictions on request: the stream's own decoder, preparation and model, on the device's thread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from schemas.failures import FailureKind
from stream.admin.asked_window import answer_window, refuse_window, window_of
from stream.admin.requests import ASKED, RequestFault, answer, error_document, read_request, status_of
from stream.breaker import BreakerState, CircuitBreaker
from stream.clock import Clock
from stream.decode import Decoder
from stream.device import DeviceThread
from stream.encode import PredictionEncoder
from stream.eventtime.stage import WindowPlan
from stream.infer import ModelFault
from stream.records import BatchPart, Epoch, Finished, MicroBatch

MAX_WAITING: Final = 8
"""Requests that may wait for the device; more are refused at once."""

_NO_EPOCH: Final = Epoch(-1, "", None, 0)


class Unfit(Exception):
    """The worker cannot predict at the moment; it may later."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


class Predictor:
    """What it predicts is no event of the stream: no topic, no position, no outcome, no count.

    windows: where the model takes windows; the events of a request are then one.
    Requests wait behind the stream's micro-batches, one of them with the device at a time.
    """

    def __init__(
        self,
        decoder: Decoder,
        device: DeviceThread,
        encoder: PredictionEncoder,
        breaker: CircuitBreaker,
        *,
        max_events: int,
        windows: WindowPlan | None = None,
        clock: Clock,
    ) -> None:
        self._decoder = decoder
        self._device = device
        self._encoder = encoder
        self._breaker = breaker
        self._max_events = max_events
        self._windows = windows
        self._clock = clock
        self._waiting = 0

    async def predict(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, Any]:
        """HTTP status and document for a request. Raises Unfit."""
        if self._breaker.state is BreakerState.OPEN:
            raise Unfit("breaker_open", "the model's circuit breaker is open")
        if self._waiting >= MAX_WAITING:
            raise Unfit("busy", f"{MAX_WAITING} requests wait for the model already")
        try:
            asked = read_request(body, headers, now_ms=self._clock.wall_ms(), max_events=self._max_events)
        except RequestFault as fault:
            return status_of(fault.kind), error_document(fault.kind, fault.message)
        (chunk,) = self._decoder.decode({ASKED: asked.records}, _NO_EPOCH)
        if self._windows is not None:
            if chunk.rejections:
                return refuse_window(chunk)
            part = window_of(chunk, self._windows)
            return answer_window(part, await self._run(part), self._encoder)
        return answer(asked, chunk, await self._run(chunk) if len(chunk.records) else None, self._encoder)

    async def _run(self, part: BatchPart) -> Finished:
        self._waiting += 1
        try:
            return await self._device.run_aside(MicroBatch(0, (part,), "request", self._clock.monotonic_s()))
        except ModelFault as fault:
            raise Unfit(FailureKind.MODEL_ERROR.value, f"the model fails whatever it is given: {fault}") from None
        finally:
            self._waiting -= 1
