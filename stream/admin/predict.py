"""Predictions on request: the stream's own decoder, preparation and model, on the device's thread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from schemas.failures import FailureKind
from stream.admin.requests import ASKED, RequestFault, answer, error_document, read_request, status_of
from stream.breaker import BreakerState, CircuitBreaker
from stream.clock import Clock
from stream.decode import Decoder
from stream.device import DeviceThread
from stream.encode import PredictionEncoder
from stream.infer import ModelFault
from stream.records import Epoch, MicroBatch

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
        takes_windows: bool = False,
        clock: Clock,
    ) -> None:
        self._decoder = decoder
        self._device = device
        self._encoder = encoder
        self._breaker = breaker
        self._max_events = max_events
        self._takes_windows = takes_windows
        self._clock = clock
        self._waiting = 0

    async def predict(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, Any]:
        """HTTP status and document for a request. Raises Unfit."""
        if self._takes_windows:
            raise Unfit("takes_windows", "the model takes windows of events, which only the stream gathers")
        if self._breaker.state is BreakerState.OPEN:
            raise Unfit("breaker_open", "the model's circuit breaker is open")
        if self._waiting >= MAX_WAITING:
            raise Unfit("busy", f"{MAX_WAITING} requests wait for the model already")
        try:
            asked = read_request(body, headers, now_ms=self._clock.wall_ms(), max_events=self._max_events)
        except RequestFault as fault:
            return status_of(fault.kind), error_document(fault.kind, fault.message)
        (chunk,) = self._decoder.decode({ASKED: asked.records}, _NO_EPOCH)
        finished = None
        if len(chunk.records):
            self._waiting += 1
            try:
                batch = MicroBatch(0, (chunk,), "request", self._clock.monotonic_s())
                finished = await self._device.run_aside(batch)
            except ModelFault as fault:
                raise Unfit(FailureKind.MODEL_ERROR.value, f"the model fails whatever it is given: {fault}") from None
            finally:
                self._waiting -= 1
        return answer(asked, chunk, finished, self._encoder)
