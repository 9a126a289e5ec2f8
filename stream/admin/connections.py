"""The connections of the admin API: a limit of their number, and the choice of the one to close for a new one.

asyncio's own server accepts without a limit, so that a thousand clients that never send a request use up all descriptors of
the process: neither probes nor connections to brokers work then. Here a new connection is always accepted, and if there are
too many, the one that has been idle the longest is closed. So a client that sends a request, such as a probe, is answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol

from aiohttp import web

from forebay.stream.admin.responses import HEADERS, error_response
from forebay.stream.terminal.record_format import printable, shortened

log = logging.getLogger("forebay.admin")

ACCEPT_RETRY_S: Final = 0.2
LINGER_S: Final = 2.0
"""How long the rest of an already answered request is read, so that the client can read the response."""

_OUT_OF_RESOURCES: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))


class Closable(Protocol):
    """A connection as the table needs it."""

    def abort(self) -> None: ...


class ConnectionTable:
    """Holds at most `max_connections` connections, in the order in which they became idle. Pure."""

    def __init__(self, max_connections: int) -> None:
        self._max_connections = max_connections
        self._idle: dict[Closable, None] = {}
        self._busy: dict[Closable, None] = {}
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._idle) + len(self._busy)

    @property
    def num_busy(self) -> int:
        """Return the number of connections with a request in progress."""
        return len(self._busy)

    def add(self, connection: Closable) -> None:
        """Add a connection, idle until its first request is complete. Close others if there are too many."""
        while len(self) >= self._max_connections:
            self.evict()
        self._idle[connection] = None

    def discard(self, connection: Closable) -> None:
        """Remove a closed connection."""
        self._idle.pop(connection, None)
        self._busy.pop(connection, None)

    def close_all(self) -> None:
        """Close all connections immediately."""
        for connection in [*self._idle, *self._busy]:
            self.discard(connection)
            connection.abort()

    def evict(self) -> bool:
        """Close the longest idle connection, else the longest busy one; False if there is none."""
        connection = next(iter(self._idle), None) or next(iter(self._busy), None)
        if connection is None:
            return False
        self.discard(connection)
        self.evicted += 1
        connection.abort()
        return True

    @contextlib.contextmanager
    def busy(self, connection: Closable) -> Iterator[None]:
        """Count the connection as busy in the context, which is the time of a request."""
        if connection in self._idle:
            self._busy[connection] = self._idle.pop(connection)
        try:
            yield
        finally:
            if connection in self._busy:
                self._idle[connection] = self._busy.pop(connection)


class Connection(web.RequestHandler):
    """One connection from its acceptance to its end, including the TLS handshake.

    idle_timeout_s: limit of the time from acceptance, or the last response, to the end of the next request's headers.
    """

    def __init__(self, server: web.Server, table: ConnectionTable, *, idle_timeout_s: float) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # as web.AppRunner documents it
            keepalive_timeout=idle_timeout_s,
            lingering_time=LINGER_S,
            auto_decompress=False,
        )
        self._table = table
        self._peer: asyncio.BaseTransport | None = None
        self._handshake: asyncio.Task[None] | None = None

    def accept(self, accepted: socket.socket, context: ssl.SSLContext | None, *, timeout_s: float) -> None:
        """Take ownership of an accepted socket."""

        def attached(_task: asyncio.Task[None]) -> None:
            self._handshake = None
            if self._peer is None:
                accepted.close()
                self._table.discard(self)

        self._table.add(self)
        self._handshake = asyncio.create_task(self._attach(accepted, context, timeout_s))
        self._handshake.add_done_callback(attached)

    async def _attach(self, accepted: socket.socket, context: ssl.SSLContext | None, timeout_s: float) -> None:
        # A client that has gone, or does not speak TLS, is not worth a log line.
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: self, accepted, ssl=context, ssl_handshake_timeout=timeout_s if context else None
            )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._peer = transport
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._table.discard(self)
        super().connection_lost(exc)

    def abort(self) -> None:
        """Close the connection immediately, even with unsent data."""
        if isinstance(self._peer, asyncio.Transport):
            self._peer.abort()
        elif self._handshake is not None:
            self._handshake.cancel()

    def busy(self) -> contextlib.AbstractContextManager[None]:
        """Return a context in which this connection counts as busy."""
        return self._table.busy(self)

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer malformed HTTP in the same form as other errors, without a traceback: it is the client's mistake."""
        if request.writer.output_size > 0:
            raise ConnectionError("the response has begun already")
        if status >= 500:
            log.error("admin: unexpected error while handling a request", exc_info=exc)
            response = error_response(status, "internal", "this is a bug; see the worker's log")
        else:
            text = shortened(printable(" ".join((message or "").split())), 200)
            log.info("admin: refused a malformed request: %s", text)
            response = error_response(status, "bad_request", text or "the request is malformed")
        response.headers.update(HEADERS)
        response.force_close()
        return response


class Listener:
    """Accepts at a listening socket, one connection per iteration of the event loop, and passes each to a new `Connection`."""

    def __init__(
        self,
        listening: socket.socket,
        make_connection: Callable[[], Connection],
        *,
        tls: ssl.SSLContext | None,
        handshake_timeout_s: float,
        table: ConnectionTable,
    ) -> None:
        listening.setblocking(False)
        self._listening = listening
        self._make_connection = make_connection
        self._tls = tls
        self._handshake_timeout_s = handshake_timeout_s
        self._table = table
        self._task: asyncio.Task[Any] | None = None

    def start(self) -> None:
        """Start accepting connections."""
        self._task = asyncio.create_task(self._accept_forever(), name="admin-accept")

    async def stop(self) -> None:
        """Stop accepting connections. Those that exist stay open."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._listening.close()

    async def _accept_forever(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, _address = await loop.sock_accept(self._listening)
            except OSError as error:
                # Otherwise the client has already gone.
                if error.errno in _OUT_OF_RESOURCES:
                    log.warning("admin: a connection cannot be accepted: %s", error.strerror)
                    self._table.evict()
                await asyncio.sleep(ACCEPT_RETRY_S)
            else:
                self._make_connection().accept(accepted, self._tls, timeout_s=self._handshake_timeout_s)
            # With many clients waiting, the call above never blocks, and nothing else would run.
            await asyncio.sleep(0)
