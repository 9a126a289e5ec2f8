"""`/predict` of a worker with several models: the event chooses, else the request, else it is the default model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from forebay.models.artefacts.window_input import Aggregate, WindowInput
from forebay.stream.admin.predictor import NotReady
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.eventtime.plan import WindowPlan
from tests.admin.predictor import Limits, Model, ask, running_models
from tests.core.build import MODEL, event, signature
from tests.eventtime.build import TUMBLING, plan

WIDE = ModelRef("wide", 2)
NARROW, ROW = [1, 2, 3], [1, 2, 3, 4]


class WideModel(Model):
    """Takes four features."""

    def __init__(self) -> None:
        super().__init__()
        self.signature = signature(4)


async def predicted(body: bytes, headers: dict[str, str] | None = None, *, model: str | None = None) -> tuple[int, Any]:
    async with running_models({MODEL: Model(), WIDE: WideModel()}) as (predictor, _):
        return await ask(predictor, body, headers, model=model)


@pytest.mark.parametrize(
    ("body", "headers", "model", "answering"),
    [
        (event("a", NARROW), {}, None, "m"),
        (event("a", ROW, model="wide"), {}, None, "wide"),
        (event("a", ROW), {}, "wide", "wide"),
        (event("a", ROW), {"forebay-model": "wide"}, None, "wide"),
        (event("a", NARROW, model="m"), {"forebay-model": "wide"}, "wide", "m"),
        (event("a", ROW), {"forebay-model": "m"}, "wide", "wide"),
        (event("a", NARROW), {}, "m", "m"),
    ],
)
async def test_the_event_chooses_the_model_or_else_the_request(
    body: bytes, headers: dict[str, str], model: str | None, answering: str
) -> None:
    for whole in (body, b"[" + body + b"]"):
        status, document = await predicted(whole, headers, model=model)
        (document,) = document if isinstance(document, list) else [document]
        assert (status, document["model"], document["id"]) == (200, answering, "a")


async def test_a_raw_row_is_for_the_model_that_the_request_names() -> None:
    row, headers = np.array(ROW, dtype="<f4").tobytes(), {"Content-Type": "application/x-forebay-f32"}
    assert (await predicted(row, headers, model="wide"))[1]["model"] == "wide"
    assert (await predicted(row, headers | {"forebay-model": "wide"}))[1]["model"] == "wide"
    assert (await predicted(row, headers))[1]["error"]["kind"] == "wrong_length"


async def test_a_list_for_several_models_has_its_entries_in_order() -> None:
    events = [
        event("a", ROW, model="wide"),
        event("b", NARROW),
        b'{"features": 5}',
        event("d", [13, 0, 0, 0], model="wide"),
        event("e", NARROW, model="other"),
        event("f", NARROW, model="m"),
        event("g", ROW, model="wide"),
    ]
    async with running_models({MODEL: Model(), WIDE: WideModel()}, limits=Limits(10, 3000)) as (predictor, _):
        status, documents = await ask(predictor, b"[" + b",".join(events) + b"]")
    assert status == 200
    assert [document.get("id") for document in documents] == ["a", "b", None, "d", None, "f", "g"]
    assert [document.get("model") for document in documents] == ["wide", "m", None, None, None, "m", "wide"]
    kinds = [document["error"]["kind"] for document in documents if "error" in document]
    assert kinds == ["wrong_type", "model_error", "unknown_model"]


async def test_an_unknown_model_gets_a_list_of_those_that_are_served() -> None:
    for status, document in (
        await predicted(event("a", NARROW), model="other"),
        await predicted(event("a", NARROW, model="other")),
    ):
        assert (status, document["error"]["kind"]) == (404, "unknown_model")
        assert "'other' is not served here; 'm' and 'wide' are" in document["error"]["message"]


async def test_an_open_breaker_stops_the_requests_of_its_own_model_only() -> None:
    async with running_models({MODEL: Model(), WIDE: WideModel()}) as (predictor, served):
        served[MODEL].breaker.trip(0.0, "for this test")
        assert (await ask(predictor, event("a", ROW), model="wide"))[0] == 200
        assert (await ask(predictor, event("a", ROW, model="wide")))[0] == 200
        for body, model in ((event("a", NARROW), None), (event("a", NARROW), "m")):
            with pytest.raises(NotReady, match="breaker of the model 'm' is open"):
                await ask(predictor, body, model=model)


async def test_the_number_of_events_is_limited_for_each_model() -> None:
    models = {MODEL: Model(), WIDE: WideModel()}
    async with running_models(models, limits=Limits(3, 3000), max_events={WIDE: 1}) as (predictor, _):
        wide = event("a", ROW, model="wide")
        assert (await ask(predictor, b"[%b,%b]" % (wide, event("b", NARROW))))[0] == 200
        status, document = await ask(predictor, b"[%b,%b]" % (wide, wide))
    assert (status, document["error"]["kind"]) == (413, "too_large")
    assert "2 events for the model 'wide'" in document["error"]["message"]


# ---- a model that takes windows beside one that does not


def window_plan_of(window_input: WindowInput) -> WindowPlan:
    return replace(plan(replace(TUMBLING, size_ms=2000), window_input), num_features=3)


async def predict_windowed(*events: bytes, model: str | None = None) -> tuple[int, Any]:
    window_input = WindowInput(aggregates=(Aggregate("sum", 0), Aggregate("count"), Aggregate("rate")))
    windowed = Model()
    windowed.signature = replace(signature(3), window=window_input)
    models = {MODEL: Model(), WIDE: windowed}
    async with running_models(models, {WIDE: window_plan_of(window_input)}) as (predictor, _):
        return await ask(predictor, b"[" + b",".join(events) + b"]", model=model)


async def test_the_events_for_a_model_with_windows_are_one_window() -> None:
    status, document = await predict_windowed(event("a", NARROW), event("b", [4, 2, 3]), model="wide")
    assert (status, document["model"], document["prediction"]) == (200, "wide", [10.0, 4.0])
    status, documents = await predict_windowed(event("a", NARROW), event("b", NARROW))
    assert (status, len(documents)) == (200, 2), "the default model takes single events"


async def test_a_window_cannot_have_events_of_other_models() -> None:
    status, document = await predict_windowed(event("a", NARROW), event("b", NARROW, model="wide"))
    assert (status, document["error"]["kind"]) == (400, "several_models")
    assert "'wide'" in document["error"]["message"]


async def test_an_event_without_a_model_rejects_the_window_of_a_request() -> None:
    status, document = await predict_windowed(event("a", NARROW, model="wide"), b"5")
    assert (status, document["error"]["kind"]) == (400, "not_an_object")
    assert document["error"]["message"].startswith("event 1 of the request: ")
