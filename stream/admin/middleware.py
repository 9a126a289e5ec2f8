"""The middleware before every handler: which hosts and sites are answered, the token, the time, and what goes wrong."""

from __future__ import annotations

import asyncio
import hmac
import logging
from typing import Any, Final

from aiohttp import web

from forebay.stream.admin.connections import Connection
from forebay.stream.admin.hosts import AllowedHosts, host_of
from forebay.stream.admin.responses import Handler, error_response

log = logging.getLogger("forebay.admin")

PAGE_PREFIX: Final = "/page/"
OPEN_PATHS: Final = frozenset(("/", "/healthz", "/readyz", "/startupz"))
"""Without a token: the probes, and the page (with the files under its prefix), which holds no data of its own."""


def admin_middleware(*, token: str | None, hosts: AllowedHosts, timeout_s: float) -> Any:
    """Return the middleware."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, Connection)
        with connection.busy():
            return _refused(request, token, hosts) or await _answer(request, handler, timeout_s)

    return middleware


def _refused(request: web.Request, token: str | None, hosts: AllowedHosts) -> web.Response | None:
    # A page of some other site, in the browser of somebody who may reach this port, must neither read (by a name that it
    # has pointed at our address) nor do anything.
    host = host_of(request.host)
    if host is None:
        return error_response(400, "bad_host", "the Host header is not a host name or an address with an optional port")
    if host not in hosts:
        return error_response(
            403, "forbidden_host", f"requests for {host} are not answered; admin.allowed_hosts would allow this name"
        )
    origin = request.headers.get("Origin")
    if origin is not None and request.method != "GET" and origin.lower() not in _origins(request.host):
        return error_response(403, "forbidden_origin", f"requests of {origin[:200]} are not taken here")
    is_open = request.path in OPEN_PATHS or request.path.startswith(PAGE_PREFIX)
    if token is not None and not is_open and not has_token(request.headers, token):
        return error_response(
            401, "unauthorized", "send Authorization: Bearer with admin.token", headers={"WWW-Authenticate": "Bearer"}
        )
    return None


def _origins(host: str) -> tuple[str, str]:
    """Return the origins of pages of this host; which of the two is ours a proxy that ends TLS does not say."""
    return f"http://{host.lower()}", f"https://{host.lower()}"


async def _answer(request: web.Request, handler: Handler, timeout_s: float) -> web.StreamResponse:
    try:
        async with asyncio.timeout(timeout_s):
            return await handler(request)
    except TimeoutError:
        return error_response(503, "timeout", f"not done within {timeout_s:g} s", headers={"Retry-After": "1"})
    except web.HTTPRequestEntityTooLarge as error:
        return error_response(413, "too_large", f"{error.text or 'the body is too large'} (admin.max_body_bytes)")
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted(error.allowed_methods))
        return error_response(
            405, "method_not_allowed", f"{request.path[:200]} takes {allowed}", headers={"Allow": allowed}
        )
    except web.HTTPNotFound:
        return error_response(404, "not_found", f"there is no {request.path[:200]}")
    except web.HTTPException as error:
        return error_response(error.status, "http", error.reason)
    except web.RequestPayloadError as error:
        return error_response(400, "bad_request", f"the body is malformed: {str(error)[:200]}")
    except Exception as error:
        if isinstance(error, ConnectionError) and request.transport is None:
            # The client closed the connection, before the end of its body for example: it reads no answer.
            return error_response(400, "bad_request", "the connection was closed before the end of the request")
        log.exception("admin: a request could not be answered")
        return error_response(500, "internal", "a bug; the worker's log has more")


def has_token(headers: Any, token: str) -> bool:
    """Return whether the Authorization header holds it; in constant time, so that tokens cannot be guessed bit by bit."""
    scheme, _, given = headers.get("Authorization", "").partition(" ")
    return hmac.compare_digest(given.strip().encode("utf-8", "replace"), token.encode()) and scheme.lower() == "bearer"
