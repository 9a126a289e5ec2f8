"""The middleware of the admin API: it checks host, origin and caller, limits the time, and turns errors into responses."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Protocol

from aiohttp import web

from forebay.stream.admin.connections import Connection
from forebay.stream.admin.hosts import AllowedHosts, host_of
from forebay.stream.admin.responses import Handler, error_response

log = logging.getLogger("forebay.admin")


class RequestGuard(Protocol):
    """Decides which requests are handled (see `guard`)."""

    @property
    def has_roles(self) -> bool:
        """Whether every request needs a role."""

    def check(self, request: web.Request) -> web.Response | None:
        """Return the response to a request that is refused; None for others."""


def admin_middleware(guard: RequestGuard, hosts: AllowedHosts, *, timeout_s: float) -> Any:
    """Return the middleware. timeout_s: limit of the time that a handler takes."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, Connection)
        with connection.busy():
            return _refused(request, guard, hosts) or await _answer(request, handler, timeout_s)

    return middleware


def _refused(request: web.Request, guard: RequestGuard, hosts: AllowedHosts) -> web.Response | None:
    # A page of another site, in the browser of a user who can reach this port, must neither read data (by a host name that
    # its owner points at our address) nor change anything.
    host = host_of(request.host)
    if host is None:
        return error_response(400, "bad_host", "the Host header is not a host name or an address with an optional port")
    if host not in hosts:
        return error_response(403, "forbidden_host", f"the host {host} is not allowed; add it to admin.allowed_hosts")
    origin = request.headers.get("Origin")
    if origin is not None and request.method != "GET" and origin.lower() not in _origins(request.host):
        return error_response(403, "forbidden_origin", f"requests from pages of {origin[:200]} are not allowed")
    return guard.check(request)


def _origins(host: str) -> tuple[str, str]:
    """Return both possible origins of our pages: behind a proxy that terminates TLS we do not know which one is right."""
    return f"http://{host.lower()}", f"https://{host.lower()}"


async def _answer(request: web.Request, handler: Handler, timeout_s: float) -> web.StreamResponse:
    try:
        async with asyncio.timeout(timeout_s):
            return await handler(request)
    except TimeoutError:
        return error_response(503, "timeout", f"not finished within {timeout_s:g} s", headers={"Retry-After": "1"})
    except web.HTTPRequestEntityTooLarge as error:
        return error_response(413, "too_large", f"{error.text or 'the body is too large'} (admin.max_body_bytes)")
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted(error.allowed_methods))
        return error_response(
            405, "method_not_allowed", f"{request.path[:200]} allows {allowed} only", headers={"Allow": allowed}
        )
    except web.HTTPNotFound:
        return error_response(404, "not_found", f"{request.path[:200]} does not exist")
    except web.HTTPException as error:
        return error_response(error.status, "http", error.reason)
    except web.RequestPayloadError as error:
        return error_response(400, "bad_request", f"the body is malformed: {str(error)[:200]}")
    except Exception as error:
        if isinstance(error, ConnectionError) and request.transport is None:
            # The client closed the connection, for example before the end of its body: it does not read the response.
            return error_response(400, "bad_request", "the connection was closed before the end of the request")
        log.exception("admin: unexpected error while handling a request")
        return error_response(500, "internal", "this is a bug; see the worker's log")
