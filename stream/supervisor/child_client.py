"""HTTP to the children, over the Unix sockets in the supervisor's private folder."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec
from aiohttp import web

from forebay.stream.admin.guard import CALLER_HEADER, caller_headers
from forebay.stream.admin.responses import error_response
from forebay.stream.admin.service import REPORT_PATH
from forebay.stream.supervisor.child import socket_of
from forebay.stream.supervisor.child_process import ChildProcess, ChildReport, ChildVerdict

POLL_TIMEOUT_S: Final = 5.0
STATUS_TIMEOUT_S: Final = 2.0
MAX_CONNECTIONS: Final = 32
_NO_ANSWER: Final = (aiohttp.ClientError, TimeoutError, OSError)

# Neither the connection's own headers, nor what the supervisor has already checked.
_NOT_FORWARDED: Final = frozenset(
    (
        "host",
        "authorization",
        "origin",
        CALLER_HEADER.lower(),
        "connection",
        "content-length",
        "transfer-encoding",
        "expect",
        "upgrade",
    )
)
_NOT_RETURNED: Final = frozenset(("connection", "content-length", "transfer-encoding", "date", "server"))


class _Verdict(msgspec.Struct):
    status: str
    reasons: tuple[str, ...] = ()
    conditions: dict[str, msgspec.Raw] = {}

    def to_verdict(self) -> ChildVerdict:
        return ChildVerdict(self.status == "ok", self.reasons)


class _Report(msgspec.Struct):
    live: _Verdict
    ready: _Verdict
    started: _Verdict
    metrics: msgspec.Raw


_DECODER: Final = msgspec.json.Decoder(_Report)


class ChildClient:
    """Requests to the children. folder: the private folder with their sockets. Create it in an event loop."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sessions: dict[int, aiohttp.ClientSession] = {}

    async def report(self, child: ChildProcess) -> ChildReport | None:
        """Return the report of a child; None if it does not answer, or not with a report."""
        body = await self._get(child, REPORT_PATH, timeout_s=POLL_TIMEOUT_S)
        if body is None:
            return None
        try:
            report = _DECODER.decode(body)
        except msgspec.MsgspecError:
            return None
        return ChildReport(
            live=report.live.to_verdict(),
            ready=report.ready.to_verdict(),
            started=report.started.to_verdict(),
            paused=report.ready.conditions.get("paused") == b"true",
            metrics=bytes(report.metrics),
        )

    async def status(self, child: ChildProcess, *, since: int | None) -> dict[str, Any] | None:
        """Return the `/status` document of a child; None if it does not answer. since: as of the child's own."""
        path = "/status" if since is None else f"/status?history={since}"
        body = await self._get(child, path, timeout_s=STATUS_TIMEOUT_S)
        document = None if body is None else msgspec.json.decode(body)
        return document if isinstance(document, dict) else None

    async def set_paused(self, child: ChildProcess, paused: bool) -> None:
        """Let a child pause or resume reading. A child that does not answer gets the request again after its next report."""
        try:
            async with self._session(child.number).post(
                f"http://localhost/{'pause' if paused else 'resume'}",
                timeout=aiohttp.ClientTimeout(total=STATUS_TIMEOUT_S),
            ):
                pass
        except _NO_ANSWER:
            return

    async def forward(self, request: web.Request, child: ChildProcess, path: str) -> web.Response | None:
        """Return the answer of a child to a request; None if it cannot be reached.

        path: path and query of the request to the child.
        """
        body = await request.read()
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in _NOT_FORWARDED]
        headers += caller_headers(request).items()
        try:
            async with self._session(child.number).request(
                request.method, f"http://localhost{path}", headers=headers, data=body or None, allow_redirects=False
            ) as response:
                answer = web.Response(status=response.status, body=await response.read())
                for name, value in response.headers.items():
                    if name.lower() not in _NOT_RETURNED:
                        answer.headers[name] = value
                return answer
        except _NO_ANSWER:
            return None

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(*(session.close() for session in self._sessions.values()))

    async def _get(self, child: ChildProcess, path: str, *, timeout_s: float) -> bytes | None:
        try:
            timeout = aiohttp.ClientTimeout(total=timeout_s)
            async with self._session(child.number).get(f"http://localhost{path}", timeout=timeout) as response:
                return await response.read() if response.status == 200 else None
        except _NO_ANSWER:
            return None

    def _session(self, number: int) -> aiohttp.ClientSession:
        session = self._sessions.get(number)
        if session is None:
            connector = aiohttp.UnixConnector(str(socket_of(self._folder, number)), limit=MAX_CONNECTIONS)
            session = self._sessions[number] = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        return session


def unreachable() -> web.Response:
    """Return the answer where no child can be reached."""
    return error_response(503, "not_ready", "no process is ready", headers={"Retry-After": "1"})
