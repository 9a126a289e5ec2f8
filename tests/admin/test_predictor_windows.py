"""`/predict` for a model that takes windows: the events of a request are one window."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson

from forebay.models.artefacts.window_input import Aggregate, WindowInput
from tests.admin.predictor import Model, ask, running
from tests.core.build import JULY, event, signature
from tests.eventtime.build import TUMBLING, plan


class WindowModel(Model):
    """Receives a window as the sum of the first feature, the number and the rate of its events."""

    def __init__(self) -> None:
        super().__init__()
        aggregates = (Aggregate("sum", 0), Aggregate("count"), Aggregate("rate"))
        self.signature = replace(signature(3), window=WindowInput(aggregates=aggregates))


async def predict_window(*events: bytes) -> tuple[int, Any]:
    model = WindowModel()
    assert model.signature.window is not None
    window_plan = replace(plan(replace(TUMBLING, size_ms=2000), model.signature.window), num_features=3)
    async with running(model, window_plan) as (predictor, *_):
        return await ask(predictor, b"[" + b",".join(events) + b"]")


async def test_the_events_of_a_request_are_one_window() -> None:
    events = (event("a", [1, 2, 3]), orjson.dumps({"timestamp": JULY + 500, "features": [4, 2, 3]}))
    status, document = await predict_window(*events)
    assert status == 200
    assert document == {
        "model": "m",
        "version": 3,
        "prediction": [10.0, 4.0],  # the model doubles
        "confidence": 0.5,
        "class": 1,
        "label": "yes",
        "window": {"start": JULY, "end": JULY + 2000, "events": 2, "dropped": 0},
    }


async def test_an_invalid_event_rejects_the_request() -> None:
    status, document = await predict_window(event("a", [1, 2, 3]), event("b", [1]), event("c", [1]))
    assert status == 400 and document["error"]["kind"] == "wrong_length"
    assert document["error"]["message"].startswith("event 1 of the request: ")


async def test_a_window_for_which_the_model_fails_is_reported() -> None:
    status, document = await predict_window(event("a", [6, 2, 3]), event("b", [7, 2, 3]))
    assert status == 422 and document["error"]["kind"] == "model_error"
