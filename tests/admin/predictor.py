"""A predictor around a model for tests, on its own device thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import orjson

from forebay.models.backends.protocol import Scores
from forebay.stream.admin.predictor import Predictor
from forebay.stream.admin.served_model import ServedModel, WindowLane
from forebay.stream.admin.time_slices import TimeSlices
from forebay.stream.config.models_section import BatchSection
from forebay.stream.config.sections import Settings
from forebay.stream.core.backoff import Backoff
from forebay.stream.core.circuit_breaker import CircuitBreaker
from forebay.stream.core.records import FloatMatrix
from forebay.stream.decode import DecodedModel, Decoder
from forebay.stream.eventtime.plan import WindowPlan
from forebay.stream.inference.device_thread import DeviceThread
from forebay.stream.output.encoder import PredictionEncoder
from tests.core.build import MODEL, ManualClock, signature


class Limits(NamedTuple):
    """The limits of a request."""

    max_events: int
    max_bytes: int


LIMITS = Limits(max_events=4, max_bytes=3000)


class Model:
    """A model that doubles its features, raises if the first is 13, and waits while `gate` is not set.

    calls: number of rows of each call.
    """

    name, version = "m", 3

    def __init__(self) -> None:
        self.signature = signature(3)
        self.gate = threading.Event()
        self.gate.set()
        self.calls: list[int] = []
        self.broken = False

    def warm_up(self, batch_sizes: Sequence[int]) -> None:
        if self.broken:
            raise RuntimeError("gone")

    def prepare(self, x_BF: FloatMatrix) -> FloatMatrix:
        return x_BF * 2

    def forward(self, x_BG: FloatMatrix) -> Scores:
        assert self.gate.wait(10)
        if self.broken or (x_BG[:, 0] == 26).any():
            raise RuntimeError("no such row")
        self.calls.append(len(x_BG))
        return Scores(x_BG[:, :2].copy(), np.ones(len(x_BG), np.int64), np.full(len(x_BG), 0.5, np.float32))


@asynccontextmanager
async def running(
    model: Model, windows: WindowPlan | None = None, limits: Limits = LIMITS
) -> AsyncIterator[tuple[Predictor, DeviceThread, CircuitBreaker]]:
    clock = ManualClock()
    breaker = CircuitBreaker(failure_threshold=3, reset_timeout_s=30, on_change=lambda state, reason: None)

    def fatal(error: BaseException) -> None:
        raise error

    device = DeviceThread(
        model,
        clock=clock,
        loop=asyncio.get_running_loop(),
        breaker=breaker,
        backoff=Backoff(),
        on_fatal=fatal,
    )
    await device.start([1])
    decoder = Decoder([DecodedModel(MODEL, model.signature)], max_event_bytes=1000)
    encoder = PredictionEncoder(model="m", version=3, labels=("no", "yes"), num_classes=2)
    served = ServedModel(
        MODEL,
        model.signature,
        device="cpu",
        settings=replace(Settings().models_to_serve()[0], batch=BatchSection(max_batch_size=limits.max_events)),
        executor=device,
        breaker=breaker,
        encoder=encoder,
        windows=None if windows is None else WindowLane(windows, dict),
    )
    predictor = Predictor(decoder, [served], max_bytes=limits.max_bytes, clock=clock)
    try:
        yield predictor, device, breaker
    finally:
        model.gate.set()
        predictor.close()
        device.stop()


async def ask(predictor: Predictor, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    async def read() -> bytes:
        return body

    status, document = await predictor.predict(read, headers or {})
    return status, orjson.loads(document)


def time_slices() -> TimeSlices:
    return TimeSlices(ManualClock(), lambda _seconds: None)


async def predicted(body: bytes, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    async with running(Model()) as (predictor, *_):
        return await ask(predictor, body, headers)
