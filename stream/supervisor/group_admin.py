"""The admin API of a supervisor: one address for all children, with their sums."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import version
from typing import Any, Final

from aiohttp import web

from forebay.stream.admin.admin_access import AdminAccess
from forebay.stream.admin.health import Verdict
from forebay.stream.admin.recorded_switch import ActionRecorder, refusal_unless_recorded
from forebay.stream.admin.responses import error_response, json_response, page_response, probe
from forebay.stream.admin.server import AdminServer, page_routes
from forebay.stream.admin.service import REPORT_PATH
from forebay.stream.admin.view import STATUS_FORMAT
from forebay.stream.config.sections import Settings
from forebay.stream.core.clock import Clock
from forebay.stream.supervisor.child_client import ChildClient, unreachable
from forebay.stream.supervisor.child_process import ChildProcess, ChildState
from forebay.stream.supervisor.child_settings import PROCESSES_PATH
from forebay.stream.supervisor.group_health import liveness, readiness, startup, warnings_of
from forebay.stream.supervisor.group_metrics import GroupMetrics
from forebay.stream.supervisor.status_merging import merge_conditions, merge_documents
from forebay.stream.supervisor.supervisor import Supervisor

NO_RATES: Final = (
    "latency_p50_ms",
    "latency_p95_ms",
    "latency_p99_ms",
    "model_p50_ms",
    "model_p99_ms",
    "batch_mean",
    "batch_max",
)


class GroupAdmin:
    """Serves the probes, metrics and status of the whole, and passes requests for predictions to a child that is ready.

    instance: instance id of the whole. actions: None without the audit.
    """

    def __init__(
        self,
        settings: Settings,
        supervisor: Supervisor,
        client: ChildClient,
        metrics: GroupMetrics,
        *,
        instance: str,
        clock: Clock,
        actions: ActionRecorder | None = None,
    ) -> None:
        self._actions = actions
        self._settings = settings
        self._supervisor = supervisor
        self._client = client
        self._metrics = metrics
        self._instance = instance
        self._clock = clock
        self._started_ms = clock.wall_ms()
        self._turns = itertools.count()
        self.url: str | None = None
        self._access = AdminAccess(settings, clock=clock)
        self._server: AdminServer | None = None
        if settings.admin.enabled:
            self._server = AdminServer(
                settings.admin,
                self._routes(),
                self._access.guard,
                bootstrap_servers=settings.kafka.bootstrap_servers,
            )

    async def start(self) -> None:
        """Start to listen; sets `url`. Raises ConfigError."""
        if self._server is not None:
            await self._access.start()
            self.url = await self._server.start()

    async def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            await self._server.stop()
        await self._access.stop()

    # ---- verdicts

    @property
    def _children(self) -> Sequence[ChildProcess]:
        return self._supervisor.children

    def liveness(self) -> Verdict:
        return liveness(self._children, now_s=self._clock.monotonic_s())

    def readiness(self) -> Verdict:
        return readiness(self._children, stopping=self._supervisor.stopping)

    def startup(self) -> Verdict:
        return startup(self._children)

    # ---- handlers

    def _routes(self) -> list[web.RouteDef]:
        return [
            *page_routes(),
            web.get("/healthz", probe(self.liveness)),
            web.get("/readyz", probe(self.readiness)),
            web.get("/startupz", probe(self.startup)),
            web.get("/metrics", self._serve_metrics),
            web.get("/status", self._serve_status),
            web.get("/models", self._pass_on),
            web.post("/predict", self._pass_on),
            web.route("*", "/v2{tail:(/.*)?}", self._pass_on),
            web.post("/pause", self._set_paused(True)),
            web.post("/resume", self._set_paused(False)),
            web.route("*", PROCESSES_PATH + "{number:[0-9]{1,4}}/{tail:.*}", self._pass_to_one),
        ]

    async def _serve_metrics(self, request: web.Request) -> web.Response:
        await self._metrics.refresh(self._children)
        accept = request.headers.get("Accept", "")
        return page_response(*self._metrics.page(self._children, is_ready=self.readiness().ok, accept=accept))

    async def _serve_status(self, request: web.Request) -> web.Response:
        history = request.query.get("history")
        if history is not None and not (history.isascii() and history.isdigit() and len(history) < 16):
            return error_response(400, "wrong_type", "history must be a number of seconds since 1970")
        return json_response(await self.status(since=None if history is None else int(history)))

    def _set_paused(self, paused: bool) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handler(request: web.Request) -> web.Response:
            has_token = self._settings.admin.token is not None
            refusal = await refusal_unless_recorded(
                self._actions, request, paused=paused, worker=self._instance, has_token=has_token
            )
            if refusal is not None:
                return refusal
            await self._supervisor.pause(paused)
            return json_response({"paused": paused, "worker": self._instance})

        return handler

    async def _pass_on(self, request: web.Request) -> web.Response:
        """Pass a request to the next ready child; to another one if it cannot be reached."""
        ready = [child for child in self._children if child.state is ChildState.READY]
        # Before it is ready, a child answers requests for predictions as soon as its models are warm.
        candidates = ready or [
            child for child in self._children if child.report is not None and child.report.started.ok
        ]
        turn = next(self._turns)
        for attempt in range(len(candidates)):
            child = candidates[(turn + attempt) % len(candidates)]
            answer = await self._client.forward(request, child, request.path_qs)
            if answer is not None:
                return answer
        return unreachable()

    async def _pass_to_one(self, request: web.Request) -> web.Response:
        number = int(request.match_info["number"])
        if number >= len(self._children):
            return error_response(404, "not_found", f"there are {len(self._children)} processes, numbered from 0")
        path = request.path_qs.removeprefix(f"{PROCESSES_PATH}{request.match_info['number']}")
        if request.match_info["tail"] == REPORT_PATH.removeprefix("/"):
            return error_response(404, "not_found", "/report does not exist")
        return await self._client.forward(request, self._children[number], path) or unreachable()

    # ---- the status

    async def status(self, *, since: int | None) -> dict[str, Any]:
        """Return the `/status` document: that of a worker, for all of them, with an entry for each process."""
        running = [child for child in self._children if child.is_running]
        answers = await asyncio.gather(*(self._client.status(child, since=since) for child in running))
        documents = {child.number: answer for child, answer in zip(running, answers, strict=True) if answer is not None}
        now_ms, now_s = self._clock.wall_ms(), self._clock.monotonic_s()
        live, ready = self.liveness(), self.readiness()
        merged = merge_documents(documents) if documents else self._empty(has_history=since is not None)
        conditions = merge_conditions(list(documents.values())) if documents else _NO_CONDITIONS
        reasons = [*live.reasons, *ready.reasons, *warnings_of(self._children, now_s=now_s)]
        return {
            "format": STATUS_FORMAT,
            "at": now_ms,
            "worker": self._instance,
            "url": self.url,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "release": version("forebay"),
            "started": self._started_ms,
            "uptime_s": round((now_ms - self._started_ms) / 1000, 1),
            "health": {
                "live": live.ok,
                "ready": ready.ok,
                "started": self.startup().ok,
                "reasons": reasons,
                **conditions,
            },
            "processes": [
                child.to_dict(
                    now_s=now_s, url=None if self.url is None else f"{self.url}{PROCESSES_PATH}{child.number}"
                )
                for child in self._children
            ],
            **merged,
        }

    def _empty(self, *, has_history: bool) -> dict[str, Any]:
        """Return the fields that the workers report, while none of them answers."""
        settings = self._settings
        served = settings.models_to_serve()[0]
        batch = served.batch
        no_group = {
            "id": settings.kafka.group_id,
            "joined": False,
            "gate": "closed",
            "generation": None,
            "member_id": None,
            "group_instance_id": None,
            "members": [],
        }
        return {
            "model": {"name": served.model.name, "version": served.model.version},
            "models": [],
            "processing_guarantee": settings.delivery.processing_guarantee,
            "group": no_group,
            "input_topics": [],
            "partitions": [],
            "lag": None,
            "in_flight": {"events": 0, "bytes": 0, "batches": 0, "max_events": 0, "reading": "on"},
            "window": {
                "kind": "none",
                "max_batch_size": batch.max_batch_size,
                "max_queue_delay_ms": batch.max_queue_delay_ms,
            },
            "breakers": {},
            "totals": {"outcomes": {}, "kinds": {}, "batches": 0, "commits": 0, "rewinds": 0},
            "now": {"span_s": 0, "events_per_s": 0, **dict.fromkeys(NO_RATES)},
            "errors": [],
            "last_warnings": [],
            **({"history": {"at": []}} if has_history else {}),
        }


_NO_CONDITIONS: Final = {
    "breakers": {},
    "cluster": "unknown",
    "paused": False,
    "still_for_s": 0.0,
    "cluster_answered_ago_s": None,
    "loop_delay_ms": 0.0,
}
