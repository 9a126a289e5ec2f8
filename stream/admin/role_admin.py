"""The admin API of a process that is no worker: probes, metrics, and the pages of its role."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aiohttp import web

from forebay.stream.admin.admin_access import AdminAccess
from forebay.stream.admin.health import Verdict
from forebay.stream.admin.responses import page_response, probe
from forebay.stream.admin.server import AdminServer
from forebay.stream.config.sections import Settings
from forebay.stream.core.clock import Clock


class RoleAdmin:
    """Serves `/healthz`, `/readyz`, `/startupz`, `/metrics` and further routes; nothing if the admin API is disabled.

    liveness, readiness: return the verdicts.
    metrics: returns a page of metrics and its content type for an Accept header.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        liveness: Callable[[], Verdict],
        readiness: Callable[[], Verdict],
        metrics: Callable[[str], tuple[bytes, str]],
        routes: Sequence[web.RouteDef],
        clock: Clock,
    ) -> None:
        self._page = metrics
        self._access = AdminAccess(settings, clock=clock)
        self._server: AdminServer | None = None
        if settings.admin.enabled:
            common = [
                web.get("/healthz", probe(liveness)),
                web.get("/readyz", probe(readiness)),
                web.get("/startupz", probe(lambda: Verdict(True))),
                web.get("/metrics", self._metrics),
            ]
            servers = settings.kafka.bootstrap_servers
            self._server = AdminServer(
                settings.admin, [*common, *routes], self._access.guard, bootstrap_servers=servers
            )

    async def start(self) -> str | None:
        """Start to listen and return the URL; None if the admin API is disabled. Raises ConfigError."""
        if self._server is None:
            return None
        await self._access.start()
        return await self._server.start()

    async def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            await self._server.stop()
        await self._access.stop()

    async def _metrics(self, request: web.Request) -> web.Response:
        return page_response(*self._page(request.headers.get("Accept", "")))
