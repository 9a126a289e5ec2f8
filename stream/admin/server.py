"""The HTTP server of the admin API: its address, its protection and its routes."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from forebay.schemas.errors import ConfigError
from forebay.stream.admin.advertised_url import build_advertised_url
from forebay.stream.admin.connections import Connection, ConnectionTable, Listener
from forebay.stream.admin.exposure import EXPOSURE_REMEDY, exposure_of
from forebay.stream.admin.hosts import AllowedHosts
from forebay.stream.admin.middleware import RequestGuard, admin_middleware
from forebay.stream.admin.responses import HEADERS
from forebay.stream.admin.route_roles import PAGE_PREFIX
from forebay.stream.config.sections import AdminSection

log = logging.getLogger("forebay.admin")

SHUTDOWN_S: Final = 1.0
ASSETS: Final = {
    "index.html": "text/html",
    "page.css": "text/css",
    "page.js": "text/javascript",
    "charts.js": "text/javascript",
    "models.js": "text/javascript",
    "outcomes.js": "text/javascript",
    "rollouts.js": "text/javascript",
    "scale.js": "text/javascript",
    "sections.js": "text/javascript",
    "summary.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}


class AdminServer:
    """Serves the routes as the section configures it.

    guard: identifies callers and refuses requests.
    bootstrap_servers: used to find the address at which other machines reach this one.
    socket_path: a Unix socket to listen on instead of the section's address, for a process behind another one. The folder of
        the socket is its protection.
    """

    def __init__(
        self,
        section: AdminSection,
        routes: Iterable[web.RouteDef],
        guard: RequestGuard,
        *,
        bootstrap_servers: str,
        socket_path: Path | None = None,
    ) -> None:
        self._section = section
        self._guard = guard
        self._socket_path = socket_path
        self._bootstrap_servers = bootstrap_servers
        self._hosts = AllowedHosts([section.host, *section.allowed_hosts])
        self.connections = ConnectionTable(section.max_connections)
        application = web.Application(
            client_max_size=section.max_body_bytes,
            middlewares=[admin_middleware(guard, self._hosts, timeout_s=section.request_timeout_ms / 1000)],
        )
        application.add_routes(routes)
        application.on_response_prepare.append(_add_headers)
        self._runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=SHUTDOWN_S)
        self._listener: Listener | None = None
        self.url: str | None = None
        """Advertised URL; None before `start`, or if none is configured for a Unix socket."""
        self.port: int | None = None
        """Port at which it listens; None before `start`, or at a Unix socket."""

    def routes(self) -> list[web.AbstractRoute]:
        """Return all routes."""
        return list(self._runner.app.router.routes())

    async def start(self) -> str | None:
        """Start listening and return `url`. Raise ConfigError if that is impossible."""
        if self._socket_path is not None:
            self.url = self._section.advertised_url
            await self._serve(_listen_at_socket(self._socket_path), None)
            return self.url
        section = self._section
        context = _make_tls_context(section)
        listening = await asyncio.to_thread(_listen, section)
        port = self.port = listening.getsockname()[1]
        if section.port and port != section.port:
            log.info("admin: port %d is in use, listening at port %d instead", section.port, port)
        self.url = section.advertised_url or build_advertised_url(
            section.host, port, tls=context is not None, bootstrap_servers=self._bootstrap_servers
        )
        self._hosts.add(urlsplit(self.url).hostname or "")
        if (exposure := exposure_of(section, has_roles=self._guard.has_roles)) is not None:
            log.warning("admin: %s: %s", exposure, EXPOSURE_REMEDY)
        await self._serve(listening, context)
        return self.url

    async def _serve(self, listening: socket.socket, context: ssl.SSLContext | None) -> None:
        await self._runner.setup()
        idle_timeout_s = self._section.idle_timeout_ms / 1000
        self._listener = Listener(
            listening, self._connection, tls=context, handshake_timeout_s=idle_timeout_s, table=self.connections
        )
        self._listener.start()

    async def stop(self) -> None:
        """Stop the server."""
        if self._listener is not None:
            await self._listener.stop()
        await self._runner.cleanup()
        # The runner does not know handshakes that have not ended, and responses that clients do not read.
        self.connections.close_all()

    def _connection(self) -> Connection:
        server = self._runner.server
        assert server is not None
        return Connection(server, self.connections, idle_timeout_s=self._section.idle_timeout_ms / 1000)


async def _add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)


def page_routes() -> list[web.RouteDef]:
    """Return the routes of the live page, whose files are part of the package."""
    folder = files("forebay.stream.admin") / "page"

    def route(name: str, content_type: str) -> web.RouteDef:
        body = (folder / name).read_bytes()

        async def serve(_request: web.Request) -> web.Response:
            return web.Response(body=body, content_type=content_type, charset="utf-8")

        return web.get("/" if name == "index.html" else f"{PAGE_PREFIX}{name}", serve)

    return [route(name, content_type) for name, content_type in ASSETS.items()]


def _listen(section: AdminSection) -> socket.socket:
    last = section.port + (section.port_retries if section.port else 0)
    family = socket.AF_INET6 if ":" in section.host else socket.AF_INET
    both = section.host == "::" and socket.has_dualstack_ipv6()
    for port in range(section.port, min(last, 65_535) + 1):
        try:
            return socket.create_server((section.host, port), family=family, dualstack_ipv6=both)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                continue
            raise ConfigError(
                f"cannot listen at {section.host}:{port}: {error.strerror or error}",
                kind="admin_address",
                remedy="set admin.host and admin.port to an address of this machine, or admin.enabled = false",
            ) from None
    ports = f"port {section.port} is" if last == section.port else f"all ports from {section.port} to {last} are"
    raise ConfigError(
        f"cannot listen at {section.host}: {ports} in use",
        kind="admin_port_taken",
        remedy="choose another admin.port, allow more admin.port_retries, or set admin.port = 0 for any free port",
    )


def _listen_at_socket(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)  # of a process that was killed
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen(socket.SOMAXCONN)
    return listening


def _make_tls_context(section: AdminSection) -> ssl.SSLContext | None:
    if section.tls_cert_file is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(section.tls_cert_file, section.tls_key_file, password=lambda: "")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"admin.tls_cert_file and admin.tls_key_file cannot be used: {getattr(error, 'reason', None) or error}",
            remedy="they must be a certificate and its key in PEM format, the key without a password",
        ) from None
    return context
