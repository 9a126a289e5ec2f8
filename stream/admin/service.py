"""The admin API of a worker: its routes, and the tasks that poll what it reports."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from pathlib import Path
from typing import Final, Protocol

import orjson
from aiohttp import web

from forebay.stream.admin.edge_receiver import EdgeReceiver, edge_receiver
from forebay.stream.admin.guard import ChildGuard, build_guard, caller_of, no_policy
from forebay.stream.admin.member_metadata import WorkerMetadata
from forebay.stream.admin.middleware import RequestGuard
from forebay.stream.admin.open_inference.routes import OpenInference
from forebay.stream.admin.predictor import NotReady, Predictor
from forebay.stream.admin.recorded_switch import ActionRecorder, refusal_unless_recorded
from forebay.stream.admin.response_cache import ResponseCache
from forebay.stream.admin.responses import encode_json, error_response, json_response, page_response, probe
from forebay.stream.admin.server import AdminServer, page_routes
from forebay.stream.admin.view import WorkerComponents, WorkerView
from forebay.stream.config.sections import AdminSection, Settings
from forebay.stream.core.cancellation import cancel_until_done
from forebay.stream.core.clock import Clock
from forebay.stream.decode import Decoder
from forebay.stream.terminal.record_format import printable

log = logging.getLogger("forebay.admin")

SAMPLE_INTERVAL_S: Final = 1.0
READY_POLL_S: Final = 0.1
EPOCH_POLL_S: Final = 2.0
MEMBERS_INTERVAL_S: Final = 15.0
MEMBERS_TIMEOUT_S: Final = 10.0
REPORT_PATH: Final = "/report"
LAST_METRICS_SUFFIX: Final = ".metrics"


class MetricsPage(Protocol):
    """The part of the worker's telemetry that `/metrics` needs (see `telemetry`)."""

    def page(self, *, accept: str) -> tuple[bytes, str]: ...
    def encoded_snapshot(self) -> bytes: ...


class WorkerAdmin:
    """The admin API of one worker.

    Call `start` before the worker joins the group, because it announces the address there, and `stop` after all else.
    """

    def __init__(
        self,
        settings: Settings,
        components: WorkerComponents,
        decoder: Decoder,
        metrics: MetricsPage,
        *,
        worker: str,
        clock: Clock,
        socket_path: Path | None = None,
        actions: ActionRecorder | None = None,
    ) -> None:
        """socket_path: the Unix socket at which to listen, for a worker with a supervisor. actions: None without the audit."""
        self._components = components
        self._clock = clock
        self._worker = worker
        self._metrics = metrics
        self._socket_path = socket_path
        self._actions = actions
        self._has_token = settings.admin.token is not None
        self._follows_rollouts = settings.rollouts.enabled
        self._view = WorkerView(settings, components, worker=worker, clock=clock)
        self._status_cache = ResponseCache(clock)
        self._predictor = Predictor(decoder, components.models, max_bytes=settings.admin.max_body_bytes, clock=clock)
        self._open_inference = OpenInference(
            self._predictor,
            components.models,
            startup=self._view.startup,
            liveness=self._view.liveness,
            readiness=self._view.readiness,
        )
        self._edge: EdgeReceiver | None = edge_receiver(settings, clock)
        self._server: AdminServer | None = None
        if settings.admin.enabled or socket_path is not None:
            self._server = AdminServer(
                settings.admin,
                [*self._routes(), web.get(REPORT_PATH, self._serve_report)] if socket_path else self._routes(),
                self._guard(settings.admin),
                bootstrap_servers=settings.kafka.bootstrap_servers,
                socket_path=socket_path,
            )

    async def start(self) -> None:
        """Start the HTTP server. Raise ConfigError if it cannot listen."""
        logging.getLogger("forebay").addHandler(self._components.status_observer.warnings)
        if self._server is not None:
            self._view.url = await self._server.start()
            if self._view.url is not None:
                log.info("admin page at %s", self._view.url)

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop()
        if self._socket_path is not None:
            # For the supervisor's sums: what was counted after its last poll.
            with contextlib.suppress(OSError):
                self._socket_path.with_suffix(LAST_METRICS_SUFFIX).write_bytes(self._metrics.encoded_snapshot())
        self._predictor.close()
        logging.getLogger("forebay").removeHandler(self._components.status_observer.warnings)

    def mark_warm(self) -> None:
        """Record that the models have been warmed up."""
        self._view.polled.warm = True

    def is_ready(self) -> bool:
        """Return the verdict of `/readyz`, which is also the metric `forebay.ready`."""
        return self._view.readiness().ok

    async def wait_until_ready(self) -> None:
        """Wait until the worker is ready."""
        while not self.is_ready():  # noqa: ASYNC110  # the verdict depends on times; nothing sets an event
            await asyncio.sleep(READY_POLL_S)

    def user_data(self) -> bytes:
        """Return the metadata that this worker announces to its group."""
        return WorkerMetadata(
            worker=self._worker,
            url=self._view.url,
            models=self._components.models.stable(),
            release=version("forebay"),
            follows_rollouts=self._follows_rollouts,
        ).encode()

    async def run(self) -> None:
        """Sample the worker once a second, and poll the members of its group, until cancelled."""
        members_task = asyncio.create_task(self._poll_members())
        try:
            while True:
                began_s = self._clock.monotonic_s()
                await asyncio.sleep(SAMPLE_INTERVAL_S)
                polled = self._view.polled
                delay_s = max(0.0, self._clock.monotonic_s() - began_s - SAMPLE_INTERVAL_S)
                polled.loop_delay_s = max(delay_s, 0.9 * polled.loop_delay_s)
                self._view.sample()
        finally:
            await cancel_until_done(members_task)

    async def _poll_members(self) -> None:
        polled_epoch, polled_s = None, -math.inf
        while True:
            epoch, now_s = self._components.source.epoch, self._clock.monotonic_s()
            if epoch != polled_epoch or now_s - polled_s >= MEMBERS_INTERVAL_S:
                polled_epoch, polled_s = epoch, now_s
                # The client raises many kinds of errors, and each only means that the members are not known now.
                with contextlib.suppress(Exception):
                    async with asyncio.timeout(MEMBERS_TIMEOUT_S):
                        self._view.polled.members = await self._components.source.members()
            await asyncio.sleep(EPOCH_POLL_S)

    def _guard(self, section: AdminSection) -> RequestGuard:
        access = self._components.access
        policy = access.admin if access is not None else no_policy
        if self._socket_path is not None:
            return ChildGuard(policy)
        return build_guard(section, clock=self._clock, policy=policy)

    # ---- handlers

    def _routes(self) -> list[web.RouteDef]:
        view = self._view
        return [
            *page_routes(),
            web.get("/healthz", probe(view.liveness)),
            web.get("/readyz", probe(view.readiness)),
            web.get("/startupz", probe(view.startup)),
            web.get("/metrics", self._serve_metrics),
            web.get("/status", self._serve_status),
            web.get("/models", self._serve_models),
            web.post("/predict", self._serve_predict),
            *self._open_inference.routes(),
            web.post("/pause", self._set_paused(True)),
            web.post("/resume", self._set_paused(False)),
            *([] if self._edge is None else [web.post("/edge/reports", self._edge.serve)]),
        ]

    async def _serve_metrics(self, request: web.Request) -> web.Response:
        return page_response(*self._metrics.page(accept=request.headers.get("Accept", "")))

    async def _serve_report(self, _request: web.Request) -> web.Response:
        """Serve what a supervisor polls: the verdicts of the probes and all metrics."""
        view = self._view
        verdicts = {
            name: check().to_dict()
            for name, check in (("live", view.liveness), ("ready", view.readiness), ("started", view.startup))
        }
        report = {**verdicts, "metrics": orjson.Fragment(self._metrics.encoded_snapshot())}
        return web.Response(body=encode_json(report), content_type="application/json")

    async def _serve_status(self, request: web.Request) -> web.Response:
        """Serve the status. `?history=SECONDS` adds the samples after that second since 1970; 0 adds the whole history."""
        history = request.query.get("history")
        if history is not None and not (history.isascii() and history.isdigit() and len(history) < 16):
            return error_response(400, "wrong_type", "history must be a number of seconds since 1970")
        since = None if history is None else int(history)
        body = self._status_cache.get(since, lambda: encode_json(self._view.status(since=since)))
        return web.Response(body=body, content_type="application/json")

    async def _serve_models(self, _request: web.Request) -> web.Response:
        return json_response({"models": self._view.models()})

    async def _serve_predict(self, request: web.Request) -> web.Response:
        """Serve predictions. `?model=NAME` selects the model for events that do not name one themselves."""
        if not (startup := self._view.startup()).ok:
            return error_response(503, "not_ready", "; ".join(startup.reasons), headers={"Retry-After": "1"})
        try:
            status, body = await self._predictor.predict(
                request.read, request.headers, model=request.query.get("model"), caller=caller_of(request)
            )
        except NotReady as error:
            return error_response(503, error.kind, error.message, headers={"Retry-After": "1"})
        return web.Response(body=body, status=status, content_type="application/json")

    def _set_paused(self, paused: bool) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handler(request: web.Request) -> web.Response:
            refusal = await refusal_unless_recorded(
                self._actions, request, paused=paused, worker=self._worker, has_token=self._has_token
            )
            if refusal is not None:
                return refusal
            pipeline = self._components.pipeline
            if pipeline.paused_by_operator != paused:
                principal = caller_of(request).principal
                who = "an operator" if principal is None else printable(principal)
                log.warning("reading is %s by %s", "paused" if paused else "resumed", who)
            pipeline.paused_by_operator = paused
            self._status_cache.clear()
            return json_response({"paused": paused, "worker": self._worker})

        return handler
