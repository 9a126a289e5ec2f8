"""The worker's admin side: its routes, what it looks at by itself, and what it is told."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Final, Protocol

from aiohttp import web

from forebay.stream.admin.member_metadata import WorkerMetadata
from forebay.stream.admin.predictor import Limits, NotReady, Predictor
from forebay.stream.admin.response_cache import ResponseCache
from forebay.stream.admin.responses import encode_json, error_response, json_response, page_response, probe
from forebay.stream.admin.server import AdminServer, page_routes
from forebay.stream.admin.view import WorkerComponents, WorkerView
from forebay.stream.config.sections import Settings
from forebay.stream.core.cancellation import cancel_until_done
from forebay.stream.core.clock import Clock
from forebay.stream.decode import Decoder
from forebay.stream.eventtime.plan import WindowPlan
from forebay.stream.output.encoder import PredictionEncoder

log = logging.getLogger("forebay.admin")

LOOK_S: Final = 1.0
READY_LOOK_S: Final = 0.1
ASK_S: Final = 2.0
ASK_MEMBERS_S: Final = 15.0
ASK_TIMEOUT_S: Final = 10.0


class Metrics(Protocol):
    """What is needed of the worker's telemetry (see `stream.telemetry`)."""

    def page(self, *, accept: str) -> tuple[bytes, str]: ...


class WorkerAdmin:
    """`start` before the group is joined, since what is told there is the address; `stop` last of all."""

    def __init__(
        self,
        settings: Settings,
        parts: WorkerComponents,
        decoder: Decoder,
        encoder: PredictionEncoder,
        metrics: Metrics,
        *,
        windows: WindowPlan | None,
        worker: str,
        clock: Clock,
    ) -> None:
        self._parts = parts
        self._clock = clock
        self._worker = worker
        self._metrics = metrics
        self._view = WorkerView(settings, parts, worker=worker, clock=clock)
        self._answers = ResponseCache(clock)
        self._predictor = Predictor(
            decoder,
            parts.device,
            encoder,
            parts.breakers.model,
            limits=Limits(settings.batch.max_batch_size, settings.admin.max_body_bytes),
            windows=windows,
            clock=clock,
        )
        self._server: AdminServer | None = None
        if settings.admin.enabled:
            self._server = AdminServer(
                settings.admin, self._routes(), bootstrap_servers=settings.kafka.bootstrap_servers
            )

    async def start(self) -> None:
        """Listen. Raises ConfigError where it cannot."""
        logging.getLogger("forebay").addHandler(self._parts.status_observer.warnings)
        if self._server is not None:
            self._view.url = await self._server.start()
            log.info("admin page at %s", self._view.url)

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop()
        self._predictor.close()
        logging.getLogger("forebay").removeHandler(self._parts.status_observer.warnings)

    def mark_warm(self) -> None:
        """Record that the model has been warmed up."""
        self._view.seen.warm = True

    def is_ready(self) -> bool:
        """Return the verdict of `/readyz`, which is also the metric `forebay.ready`."""
        return self._view.readiness().ok

    async def wait_until_ready(self) -> None:
        """Return as soon as `is_ready` holds."""
        while True:
            if self.is_ready():
                return
            await asyncio.sleep(READY_LOOK_S)

    def user_data(self) -> bytes:
        """What the group is told of this worker."""
        model = self._parts.model
        return WorkerMetadata(
            worker=self._worker, url=self._view.url, model=model.name, version=model.version, release=version("forebay")
        ).encode()

    async def watch(self) -> None:
        """Look at the worker once a second, and at the members of its group, until cancelled."""
        asking = asyncio.create_task(self._follow_members())
        try:
            while True:
                began_s = self._clock.monotonic_s()
                await asyncio.sleep(LOOK_S)
                seen = self._view.seen
                delay_s = max(0.0, self._clock.monotonic_s() - began_s - LOOK_S)
                seen.loop_delay_s = max(delay_s, 0.9 * seen.loop_delay_s)
                self._view.look()
        finally:
            await cancel_until_done(asking)

    async def _follow_members(self) -> None:
        members_of, members_asked_s = None, -math.inf
        while True:
            epoch, now_s = self._parts.source.epoch, self._clock.monotonic_s()
            if epoch != members_of or now_s - members_asked_s >= ASK_MEMBERS_S:
                members_of, members_asked_s = epoch, now_s
                # Errors of the client are of many kinds, and each only means that there was no answer.
                with contextlib.suppress(Exception):
                    async with asyncio.timeout(ASK_TIMEOUT_S):
                        self._view.seen.members = await self._parts.source.members()
            await asyncio.sleep(ASK_S)

    # ---- what it answers

    def _routes(self) -> list[web.RouteDef]:
        view = self._view
        return [
            *page_routes(),
            web.get("/healthz", probe(view.liveness)),
            web.get("/readyz", probe(view.readiness)),
            web.get("/startupz", probe(view.startup)),
            web.get("/metrics", self._serve_metrics),
            web.get("/status", self._status),
            web.get("/models", self._models),
            web.post("/predict", self._predict),
            web.post("/pause", self._hold(True)),
            web.post("/resume", self._hold(False)),
        ]

    async def _serve_metrics(self, request: web.Request) -> web.Response:
        return page_response(*self._metrics.page(accept=request.headers.get("Accept", "")))

    async def _status(self, request: web.Request) -> web.Response:
        """`?history=SECONDS` adds the samples after that second since 1970; 0: all that are kept."""
        asked = request.query.get("history")
        if asked is not None and not (asked.isascii() and asked.isdigit() and len(asked) < 16):
            return error_response(400, "wrong_type", "history is a number of seconds since 1970")
        since = None if asked is None else int(asked)
        body = self._answers.get(since, lambda: encode_json(self._view.status(since=since)))
        return web.Response(body=body, content_type="application/json")

    async def _models(self, _request: web.Request) -> web.Response:
        return json_response({"models": self._view.models()})

    async def _predict(self, request: web.Request) -> web.Response:
        if not (startup := self._view.startup()).ok:
            return error_response(503, "not_ready", "; ".join(startup.reasons), headers={"Retry-After": "1"})
        try:
            status, body = await self._predictor.predict(request.read, request.headers)
        except NotReady as error:
            return error_response(503, error.kind, error.message, headers={"Retry-After": "1"})
        return web.Response(body=body, status=status, content_type="application/json")

    def _hold(self, wanted: bool) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handler(_request: web.Request) -> web.Response:
            pipeline = self._parts.pipeline
            if pipeline.paused_by_operator != wanted:
                log.warning("reading is %s by hand", "paused" if wanted else "resumed")
            pipeline.paused_by_operator = wanted
            self._answers.clear()
            return json_response({"paused": wanted, "worker": self._worker})

        return handler
