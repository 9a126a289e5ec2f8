"""A faulty network: a TCP proxy in front of a Kafka broker, which loses, holds or delays its requests and responses.

A frame is its length (int32) and its body. A request begins with api key (int16), version (int16) and correlation id (int32),
a response with the correlation id of the request that it answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Self

_LENGTH = struct.Struct(">i")
_REQUEST = struct.Struct(">hhi")
_CORRELATION = struct.Struct(">i")
_MAX_FRAME = 256 << 20


class ApiKey(IntEnum):
    """The API keys of requests in tests."""

    PRODUCE = 0
    FETCH = 1
    METADATA = 3
    HEARTBEAT = 12
    INIT_PRODUCER_ID = 22
    ADD_PARTITIONS_TO_TXN = 24
    ADD_OFFSETS_TO_TXN = 25
    END_TXN = 26
    TXN_OFFSET_COMMIT = 28


def proxied_listeners(direct: int, proxied: int) -> dict[str, str]:
    """Return settings of an `ApacheKafka` with one node: a second listener on the port `direct`, advertised as `proxied`."""
    return {
        "listeners": "PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port},"
        f"PROXIED://127.0.0.1:{direct}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{{port}},PROXIED://127.0.0.1:{proxied}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT",
    }


def request_of(body: bytes) -> tuple[int, int]:
    """Return API key and correlation id of a request."""
    api_key, _version, correlation_id = _REQUEST.unpack_from(body)
    return int(api_key), int(correlation_id)


def correlation_of(body: bytes) -> int:
    """Return the correlation id of a response."""
    return int(_CORRELATION.unpack_from(body)[0])


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    """Return the body of the next frame. Raises IncompleteReadError at the end, OSError for a broken connection."""
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    if not 0 <= length <= _MAX_FRAME:
        raise OSError(f"a frame of {length} bytes: this is not Kafka")
    return await reader.readexactly(length)


async def write_frame(writer: asyncio.StreamWriter, body: bytes) -> None:
    writer.write(_LENGTH.pack(len(body)) + body)
    await writer.drain()


@dataclass(slots=True)
class Loss:
    """A response that will be lost, once. closes: whether its connection is closed; done: set when it was lost."""

    api_key: int
    closes: bool
    done: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class Hold:
    """A request that will be held, once, with all that follows on its connection, which stays open.

    reached: set when it is held. `release` forwards it, even if the client has gone meanwhile.
    """

    api_key: int
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)

    def release(self) -> None:
        self.released.set()


@dataclass(slots=True, eq=False)
class _Connection:
    """A client's connection. requested: API keys by correlation id; seen: API keys so far; dead: nothing is forwarded."""

    client: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    broker: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    requested: dict[int, int] = field(default_factory=dict)
    seen: set[int] = field(default_factory=set)
    dead: bool = False


class Proxy:
    """A proxy from one port of this machine to another. Clients use it for all connections if the broker advertises `port`.

    requests, responses: the numbers of forwarded requests and responses by API key.
    delays: the seconds by which requests are delayed, by API key.
    """

    def __init__(self, port: int, broker_port: int) -> None:
        self._port = port
        self._broker_port = broker_port
        self._losses: list[Loss] = []
        self._holds: list[Hold] = []
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_cut = False
        self.requests: Counter[int] = Counter()
        self.responses: Counter[int] = Counter()
        self.delays: dict[int, float] = {}

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self._port}"

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Self]:
        """Listen within the block; close every connection at its end."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await server.wait_closed()

    # ---- faults

    def lose_response(self, api_key: int, *, closes: bool) -> Loss:
        """Lose the next response to such a request. closes: whether to close its connection."""
        self._losses.append(loss := Loss(api_key, closes))
        return loss

    def hold_request(self, api_key: int) -> Hold:
        """Hold the next such request."""
        self._holds.append(hold := Hold(api_key))
        return hold

    def cut(self) -> None:
        """Close every connection and accept none until `restore`."""
        self._is_cut = True
        for connection in self._connections:
            for _, writer in (connection.client, connection.broker):
                writer.transport.abort()

    def restore(self) -> None:
        """Accept connections again."""
        self._is_cut = False

    def half_open(self, api_key: int | None = None) -> int:
        """Forward nothing on current connections, without closing them; return their number. New connections work.

        api_key: only connections with such a request so far; None for all.
        """
        dead = [connection for connection in self._connections if api_key is None or api_key in connection.seen]
        for connection in dead:
            connection.dead = True
        return len(dead)

    # ---- the connections

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(OSError):  # the broker is unreachable
                if self._is_cut:
                    return
                broker = await asyncio.open_connection("127.0.0.1", self._broker_port)
                await self._serve(_Connection((reader, writer), broker))
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _serve(self, connection: _Connection) -> None:
        self._connections.add(connection)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_until_end(self._pass_requests(connection), connection.broker[1]))
                group.create_task(_until_end(self._pass_responses(connection), connection.client[1]))
        finally:
            self._connections.discard(connection)
            for _, writer in (connection.client, connection.broker):
                writer.transport.abort()

    async def _pass_requests(self, connection: _Connection) -> None:
        while True:
            body = await read_frame(connection.client[0])
            api_key, correlation_id = request_of(body)
            connection.requested[correlation_id] = api_key
            connection.seen.add(api_key)
            if delay_s := self.delays.get(api_key, 0.0):
                await asyncio.sleep(delay_s)
            if hold := next((hold for hold in self._holds if hold.api_key == api_key), None):
                self._holds.remove(hold)
                hold.reached.set()
                await hold.released.wait()
            if connection.dead:
                await _wait_forever()
            self.requests[api_key] += 1
            await write_frame(connection.broker[1], body)

    async def _pass_responses(self, connection: _Connection) -> None:
        while True:
            body = await read_frame(connection.broker[0])
            api_key = connection.requested.pop(correlation_of(body))
            if connection.dead:
                await _wait_forever()
            if loss := next((loss for loss in self._losses if loss.api_key == api_key), None):
                self._losses.remove(loss)
                loss.done.set()
                if loss.closes:
                    connection.client[1].transport.abort()
                    return
                continue
            self.responses[api_key] += 1
            with contextlib.suppress(OSError):  # the client has gone; the response still counts
                await write_frame(connection.client[1], body)


async def _until_end(passing: Coroutine[Any, Any, None], onwards: asyncio.StreamWriter) -> None:
    """Forward until one side ends, and then forward the end, so that everything sent before arrives."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        await passing
    with contextlib.suppress(OSError):
        onwards.write_eof()


async def _wait_forever() -> None:
    await asyncio.Event().wait()
