"""Responses of the admin API: JSON documents, errors, and verdicts of probes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import orjson
from aiohttp import web

from forebay.stream.admin.health import Verdict
from forebay.stream.terminal.record_format import printable

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def json_response(document: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """Return a response with a JSON document, with a line end for terminals."""
    return web.Response(body=encode_json(document), status=status, content_type="application/json", headers=headers)


def encode_json(document: Any) -> bytes:
    """Return the document as `json_response` sends it."""
    return orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS)


def page_response(body: bytes, content_type: str) -> web.Response:
    """Return a response with a rendered page of metrics."""
    return web.Response(body=body, headers={"Content-Type": content_type})


def error_response(status: int, kind: str, message: str, *, headers: dict[str, str] | None = None) -> web.Response:
    """Return an error in the same form as those of `/predict`. message: may quote any bytes of the request."""
    return json_response({"error": {"kind": kind, "message": printable(message)}}, status=status, headers=headers)


def probe(check: Callable[[], Verdict]) -> Handler:
    """Return a handler that answers with a verdict: status 200, or 503 with the reasons."""

    async def handler(_request: web.Request) -> web.StreamResponse:
        verdict = check()
        return json_response(verdict.to_dict(), status=200 if verdict.ok else 503)

    return handler
