"""The routes of the Open Inference Protocol: health, metadata and inference."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version

from aiohttp import web

from forebay.stream.access.roles import Role
from forebay.stream.access.tokens import MESSAGES, Denial
from forebay.stream.admin.guard import caller_of
from forebay.stream.admin.health import Verdict
from forebay.stream.admin.open_inference.metadata import describe_server, describe_tensors
from forebay.stream.admin.open_inference.requests import HEADER_LENGTH, TensorRequest, encode_error
from forebay.stream.admin.predictor import NotReady, Predictor
from forebay.stream.admin.responses import Handler, json_response
from forebay.stream.admin.served_model import ServedModel, ServedModels
from forebay.stream.core.circuit_breaker import BreakerState
from forebay.stream.core.model_ref import ModelRef

_MODEL = "/v2/models/{name}"


class OpenInference:
    """Answers the requests of the protocol with the worker's predictor.

    startup: says whether the models have been warmed up.
    liveness, readiness: the verdicts of the worker's probes.
    """

    def __init__(
        self,
        predictor: Predictor,
        models: ServedModels,
        *,
        startup: Callable[[], Verdict],
        liveness: Callable[[], Verdict],
        readiness: Callable[[], Verdict],
    ) -> None:
        self._predictor = predictor
        self._models = models
        self._startup = startup
        self._liveness = liveness
        self._readiness = readiness

    def routes(self) -> list[web.RouteDef]:
        """Return the routes, each for a model and for a version of it."""
        return [
            web.get("/v2", self._server),
            web.get("/v2/health/live", self._health("live", self._liveness)),
            web.get("/v2/health/ready", self._health("ready", self._readiness)),
            *(
                route
                for place in (_MODEL, f"{_MODEL}/versions/{{version}}")
                for route in (
                    web.get(place, self._metadata),
                    web.get(f"{place}/ready", self._model_ready),
                    web.post(f"{place}/infer", self._infer),
                )
            ),
        ]

    async def _server(self, _request: web.Request) -> web.Response:
        return json_response(describe_server(version("forebay")))

    def _health(self, name: str, check: Callable[[], Verdict]) -> Handler:
        async def handler(_request: web.Request) -> web.StreamResponse:
            is_ok = check().ok
            return json_response({name: is_ok}, status=200 if is_ok else 503)

        return handler

    async def _metadata(self, request: web.Request) -> web.Response:
        served = self._served(request)
        if (refusal := _refusal(request, served, is_look=True)) is not None:
            return refusal
        return _unknown(request) if served is None else json_response(describe_tensors(served))

    async def _model_ready(self, request: web.Request) -> web.Response:
        served = self._served(request)
        if (refusal := _refusal(request, served, is_look=True)) is not None:
            return refusal
        if served is None:
            return _unknown(request)
        is_ready = self._startup().ok and served.breaker.state is not BreakerState.OPEN
        return json_response({"name": served.ref.name, "ready": is_ready}, status=200 if is_ready else 503)

    async def _infer(self, request: web.Request) -> web.Response:
        served = self._served(request)
        if (refusal := _refusal(request, served, is_look=False)) is not None:
            return refusal
        if served is None:
            return _unknown(request)
        if not (startup := self._startup()).ok:
            return _error(503, "; ".join(startup.reasons))
        tensors = TensorRequest(served)
        try:
            status, body = await self._predictor.predict(
                request.read, request.headers, model=served.ref.name, request_format=tensors, caller=caller_of(request)
            )
        except NotReady as error:
            return _error(503, error.message)
        if tensors.header_length is None:
            return web.Response(body=body, status=status, content_type="application/json")
        return web.Response(
            body=body,
            status=status,
            content_type="application/octet-stream",
            headers={HEADER_LENGTH: str(tensors.header_length)},
        )

    def _served(self, request: web.Request) -> ServedModel | None:
        """Return the stable version of the model in the path; None if it is not that of the path."""
        name, number = request.match_info["name"], request.match_info.get("version")
        for ref in self._models.stable():
            if ref.name == name and number in (None, "", str(ref.version)):
                return self._models[ref]
        return None


def _refusal(request: web.Request, served: ServedModel | None, *, is_look: bool) -> web.Response | None:
    """Return the response to a caller who may not use the model of the path, whether it is served or not.

    is_look: whether the role `look` suffices.
    """
    caller, name, number = caller_of(request), request.match_info["name"], request.match_info.get("version", "")
    if is_look and Role.LOOK in caller.roles:
        return None
    if served is None:
        ref = ModelRef(name, int(number) if number.isascii() and number.isdigit() and len(number) < 19 else 0)
    else:
        ref = served.ref
    return None if caller.may_use(ref) else _error(403, MESSAGES[Denial.RULE])


def _unknown(request: web.Request) -> web.Response:
    name, number = request.match_info["name"], request.match_info.get("version")
    which = f"version {number[:40]} of the model" if number else "the model"
    return _error(404, f"{which} {name[:80]!r} is not served; GET /models lists what is")


def _error(status: int, message: str) -> web.Response:
    headers = {"Retry-After": "1"} if status == 503 else None
    return web.Response(body=encode_error(message), status=status, content_type="application/json", headers=headers)
