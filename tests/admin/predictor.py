"""A predictor around a model for tests, on its own device thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import orjson

from forebay.models.backends.protocol import Scores
from forebay.stream.admin.predictor import Predictor
from forebay.stream.admin.served_model import ServedModel, ServedModels, WindowLane
from forebay.stream.admin.time_slices import TimeSlices
from forebay.stream.config.models_section import BatchSection
from forebay.stream.config.sections import Settings
from forebay.stream.core.backoff import Backoff
from forebay.stream.core.circuit_breaker import CircuitBreaker
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import FloatMatrix
from forebay.stream.decode import DecodedModel, Decoder
from forebay.stream.decode.event_formats import EventFormats
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


class Running(NamedTuple):
    """A predictor with the parts of its only or default model."""

    predictor: Predictor
    device: DeviceThread
    breaker: CircuitBreaker


@asynccontextmanager
async def running(
    model: Model, windows: WindowPlan | None = None, limits: Limits = LIMITS, formats: EventFormats | None = None
) -> AsyncIterator[Running]:
    by_model = {} if windows is None else {MODEL: windows}
    async with running_models({MODEL: model}, by_model, limits=limits, formats=formats) as (predictor, served):
        device = served[MODEL].executor
        assert isinstance(device, DeviceThread)
        yield Running(predictor, device, served[MODEL].breaker)


@asynccontextmanager
async def running_models(
    models: Mapping[ModelRef, Model],
    windows: Mapping[ModelRef, WindowPlan] = MappingProxyType({}),
    *,
    limits: Limits = LIMITS,
    max_events: Mapping[ModelRef, int] = MappingProxyType({}),
    formats: EventFormats | None = None,
) -> AsyncIterator[tuple[Predictor, Mapping[ModelRef, ServedModel]]]:
    """Run several models; the first is the default model. max_events: of models with another limit."""
    clock = ManualClock()
    served = {
        ref: _served(ref, model, clock, windows=windows.get(ref), max_events=max_events.get(ref, limits.max_events))
        for ref, model in models.items()
    }
    devices = [one.executor for one in served.values()]
    for device in devices:
        await device.start([1])
    decoder = Decoder(
        [DecodedModel(ref, model.signature) for ref, model in models.items()], max_event_bytes=1000, formats=formats
    )
    predictor = Predictor(decoder, ServedModels(served.values()), max_bytes=limits.max_bytes, clock=clock)
    try:
        yield predictor, served
    finally:
        for model in models.values():
            model.gate.set()
        predictor.close()
        for device in devices:
            device.stop()


def _served(
    ref: ModelRef, model: Model, clock: ManualClock, *, windows: WindowPlan | None, max_events: int
) -> ServedModel:
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
    return ServedModel(
        ref,
        model.signature,
        device="cpu",
        settings=replace(Settings().models_to_serve()[0], batch=BatchSection(max_batch_size=max_events)),
        executor=device,
        breaker=breaker,
        encoder=PredictionEncoder(model=ref.name, version=3, labels=("no", "yes"), num_classes=2),
        windows=None if windows is None else WindowLane(windows, dict),
    )


async def ask(
    predictor: Predictor, body: bytes, headers: dict[str, str] | None = None, *, model: str | None = None
) -> tuple[int, Any]:
    async def read() -> bytes:
        return body

    status, document = await predictor.predict(read, headers or {}, model=model)
    return status, orjson.loads(document)


def time_slices() -> TimeSlices:
    return TimeSlices(ManualClock(), lambda _seconds: None)


async def predicted(body: bytes, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    async with running(Model()) as (predictor, *_):
        return await ask(predictor, body, headers)
