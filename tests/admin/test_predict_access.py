"""Predictions on request for a principal: only by the models that the rules permit."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from aiohttp.test_utils import make_mocked_request

from forebay.stream.access.admin_policy import Caller
from forebay.stream.access.roles import Role
from forebay.stream.access.rules import Rules
from forebay.stream.admin.guard import CALLER
from forebay.stream.admin.health import Verdict
from forebay.stream.admin.open_inference.routes import OpenInference
from forebay.stream.admin.served_model import ServedModels
from forebay.stream.core.model_ref import ModelRef
from tests.admin.predictor import Limits, Model, running_models
from tests.core.build import MODEL

OTHER = ModelRef("other", 3)
ANN = Caller("ann", frozenset((Role.PREDICT,)), Rules({"ann": ["m"]}))


def event(name: str, model: str) -> bytes:
    return orjson.dumps({"id": name, "timestamp": 1, "features": [1.0, 2.0, 3.0], "model": model})


async def ask(body: bytes, caller: Caller = ANN) -> tuple[int, Any]:
    async def read() -> bytes:
        return body

    async with running_models({MODEL: Model(), OTHER: Model()}, limits=Limits(10, 3000)) as (predictor, _):
        status, document = await predictor.predict(read, {}, caller=caller)
    return status, orjson.loads(document)


async def test_events_for_other_models_are_denied() -> None:
    status, document = await ask(event("a", "other"))
    assert (status, document["error"]["kind"]) == (403, "denied")
    assert "ann" not in document["error"]["message"]
    status, documents = await ask(
        b"[%b,%b,%b]" % (event("a", "m"), event("b", "other"), b'{"model": "other", "features": "junk"}')
    )
    assert status == 200
    assert [document.get("error", {}).get("kind") for document in documents] == [None, "denied", "denied"]


async def test_without_rules_everything_is_denied() -> None:
    nothing = Caller("ann", frozenset((Role.PREDICT,)), Rules({}))
    for body in (event("a", "m"), event("a", "unknown"), b"{}"):
        status, document = await ask(body, nothing)
        assert (status, document["error"]["kind"]) == (403, "denied")


@pytest.mark.parametrize(
    ("roles", "way", "name", "status"),
    [
        ({Role.PREDICT}, "GET", "m", 200),
        ({Role.PREDICT}, "GET", "other", 403),
        ({Role.PREDICT}, "GET", "unknown", 403),
        ({Role.LOOK}, "GET", "other", 200),
        ({Role.LOOK}, "GET", "unknown", 404),
        ({Role.PREDICT}, "POST", "other", 403),
        ({Role.PREDICT}, "POST", "unknown", 403),
    ],
)
async def test_the_open_inference_protocol_does_not_say_which_other_models_exist(
    roles: set[Role], way: str, name: str, status: int
) -> None:
    async with running_models({MODEL: Model(), OTHER: Model()}) as (predictor, served):

        def good() -> Verdict:
            return Verdict(True)

        models = ServedModels(served.values())
        routes = OpenInference(predictor, models, startup=good, liveness=good, readiness=good).routes()
        path = "/v2/models/{name}" + ("" if way == "GET" else "/infer")
        handler: Any = next(route.handler for route in routes if (route.method, route.path) == (way, path))
        request = make_mocked_request(way, path.replace("{name}", name), match_info={"name": name})
        request[CALLER] = Caller("ann", frozenset(roles), Rules({"ann": ["m"]}))
        response = await handler(request)
    assert response.status == status
