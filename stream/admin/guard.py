"""What stands before every handler: the token, where a request may come from, its size and its time."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import urlsplit

import orjson
from aiohttp import web

from stream.admin.health import Verdict
from stream.admin.hosts import is_loopback

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

PAGE_PREFIX: Final = "/page/"
OPEN_PATHS: Final = frozenset(("/", "/healthz", "/readyz", "/startupz"))
"""Without a token: the probes, and the page (with the files under its prefix), which holds no data of its own."""

HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def json_response(document: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """A JSON document, with a line end for terminals."""
    body = orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS)
    return web.Response(body=body, status=status, content_type="application/json", headers=headers)


def refusal(status: int, kind: str, message: str, *, headers: dict[str, str] | None = None) -> web.Response:
    """An error of the same form as those of `/predict`."""
    return json_response({"error": {"kind": kind, "message": message}}, status=status, headers=headers)


def probe(judge: Callable[[], Verdict]) -> Handler:
    """A handler that answers with a verdict: 200, or 503 with the reasons."""

    async def handler(_request: web.Request) -> web.StreamResponse:
        verdict = judge()
        return json_response(verdict.to_dict(), status=200 if verdict.ok else 503)

    return handler


def guard(*, token: str | None, bound_to_loopback: bool, timeout_s: float) -> Any:
    """The middleware."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = _refused(request, token, bound_to_loopback) or await _answer(request, handler, timeout_s)
        if not response.prepared:
            response.headers.update(HEADERS)
        return response

    return middleware


def _refused(request: web.Request, token: str | None, bound_to_loopback: bool) -> web.Response | None:
    # A page of some other site, in the browser of somebody who may reach this port, must neither read (by a name that it
    # has pointed at the loopback) nor do anything.
    if bound_to_loopback and not is_loopback(request.url.host or ""):
        return refusal(403, "forbidden_host", "this listens on the loopback only; ask for localhost or 127.0.0.1")
    origin = request.headers.get("Origin")
    if origin is not None and request.method != "GET" and urlsplit(origin).netloc != request.host:
        return refusal(403, "forbidden_origin", f"requests of {origin[:200]} are not taken here")
    is_open = request.path in OPEN_PATHS or request.path.startswith(PAGE_PREFIX)
    if token is not None and not is_open and not has_token(request.headers, token):
        return refusal(
            401, "unauthorized", "send Authorization: Bearer with admin.token", headers={"WWW-Authenticate": "Bearer"}
        )
    return None


async def _answer(request: web.Request, handler: Handler, timeout_s: float) -> web.StreamResponse:
    try:
        async with asyncio.timeout(timeout_s):
            return await handler(request)
    except TimeoutError:
        return refusal(503, "timeout", f"not done within {timeout_s:g} s", headers={"Retry-After": "1"})
    except web.HTTPRequestEntityTooLarge as error:
        return refusal(413, "too_large", f"{error.text or 'the body is too large'} (admin.max_body_bytes)")
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted(error.allowed_methods))
        return refusal(405, "method_not_allowed", f"{request.path} takes {allowed}", headers={"Allow": allowed})
    except web.HTTPNotFound:
        return refusal(404, "not_found", f"there is no {request.path[:200]}")
    except web.HTTPException as error:
        return refusal(error.status, "http", error.reason)
    except Exception:
        log.exception("admin: %s %s", request.method, request.path)
        return refusal(500, "internal", "a bug; the worker's log has more")


def has_token(headers: Any, token: str) -> bool:
    """Whether the Authorization header holds it; takes as long for a token that is nearly right as for one that is not."""
    scheme, _, given = headers.get("Authorization", "").partition(" ")
    return hmac.compare_digest(given.strip().encode("utf-8", "replace"), token.encode()) and scheme.lower() == "bearer"
