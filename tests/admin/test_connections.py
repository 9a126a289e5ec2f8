"""Clients that are slow, many, or do not speak HTTP, over real sockets: others are still answered."""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import aiohttp
import pytest

from forebay.stream.admin.connections import ConnectionTable
from forebay.stream.admin.server import AdminServer
from tests.admin.test_server import TLS, send_request, serving, serving_server
from tests.eventually import eventually

HALF = b"GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "


class Slot:
    """A connection of a table."""

    def __init__(self) -> None:
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True


def test_the_longest_idle_connection_is_evicted() -> None:
    table, slots = ConnectionTable(3), [Slot() for _ in range(5)]
    for slot in slots[:3]:
        table.add(slot)
    with table.busy(slots[0]):
        table.add(slots[3])
        assert [slot.aborted for slot in slots] == [False, True, False, False, False]
    table.add(slots[4])  # the first became idle after the third
    assert [slot.aborted for slot in slots] == [False, True, True, False, False]
    assert (len(table), table.evicted) == (3, 2)


def test_the_oldest_connection_is_evicted_if_all_are_busy() -> None:
    table, slots = ConnectionTable(2), [Slot() for _ in range(3)]
    with ExitStack() as stack:
        for slot in slots:
            table.add(slot)
            stack.enter_context(table.busy(slot))
        assert [slot.aborted for slot in slots] == [True, False, False]
    assert len(table) == 2  # the evicted one does not come back at its end


def test_an_empty_table_evicts_nothing() -> None:
    table, slot = ConnectionTable(1), Slot()
    assert not table.evict()
    table.add(slot)
    table.discard(slot)
    table.discard(slot)
    assert not table.evict() and not slot.aborted


@contextmanager
def connected(url: str, count: int, sent: bytes) -> Iterator[list[socket.socket]]:
    """Open `count` connections that have sent these bytes and nothing more."""
    host, port = url.rpartition("/")[2].split(":")
    with ExitStack() as stack:
        clients = []
        for _ in range(count):
            client = stack.enter_context(socket.create_connection((host, int(port))))
            client.setblocking(False)
            client.sendall(sent)
            clients.append(client)
        yield clients


async def ended(client: socket.socket) -> bytes:
    """Return the bytes until the server closes the connection; if it never does, the pytest timeout fails the test."""
    received = b""
    loop = asyncio.get_running_loop()
    try:
        while part := await loop.sock_recv(client, 65_536):
            received += part
    except ConnectionResetError:
        pass
    return received


@pytest.mark.parametrize("sent", [b"", HALF])
async def test_connections_without_a_request_do_not_block_others(sent: bytes) -> None:
    async with serving_server(max_connections=16, idle_timeout_ms=600_000) as (server, url):
        with connected(url, 100, sent) as clients:
            for client in clients[:84]:
                assert await ended(client) == b""
            assert (await send_request(f"{url}/healthz"))[0] == 200
            assert len(server.connections) <= 16


async def test_handshakes_that_never_end_do_not_block_others() -> None:
    trust = ssl.create_default_context(cafile=TLS["tls_cert_file"])
    async with serving_server(max_connections=16, idle_timeout_ms=600_000, **TLS) as (server, url):
        with connected(url, 60, b"\x16\x03\x01") as clients:
            for client in clients[:44]:
                assert await ended(client) == b""
            assert (await send_request(f"{url}/healthz", ssl=trust))[0] == 200
            assert len(server.connections) <= 16


@pytest.mark.parametrize("tls", [{}, TLS])
async def test_a_connection_without_a_request_is_closed_in_time(tls: dict[str, str]) -> None:
    async with serving_server(idle_timeout_ms=50, **tls) as (server, url):
        with connected(url, 3, HALF if not tls else b"\x16\x03\x01") as clients:
            for client in clients:
                assert await ended(client) == b""
        assert server.connections.evicted == 0


async def test_an_idle_connection_is_closed_in_time() -> None:
    async with serving(idle_timeout_ms=50) as url:
        with connected(url, 1, b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n") as (client,):
            assert (await ended(client)).startswith(b"HTTP/1.1 200")


async def test_a_header_sent_byte_by_byte_does_not_extend_the_time_limit() -> None:
    async with serving(idle_timeout_ms=200) as url:
        with connected(url, 1, HALF) as (client,):
            closing = asyncio.create_task(ended(client))
            loop = asyncio.get_running_loop()
            while not closing.done():
                try:
                    await loop.sock_sendall(client, b"x")
                except (ConnectionResetError, BrokenPipeError):
                    break
                await asyncio.sleep(0.01)
            assert await closing == b""


async def test_clients_that_do_not_read_their_responses_are_evicted() -> None:
    """They send many requests at once, with many more bytes of responses than the socket can buffer."""
    requests = b"GET /page/page.js HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 2000
    async with serving_server(max_connections=8, request_timeout_ms=600_000) as (server, url):
        host, port = url.rpartition("/")[2].split(":")
        clients = []
        for _ in range(8):
            client = socket.create_connection((host, int(port)))
            client.setblocking(False)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            clients.append((client, asyncio.create_task(asyncio.get_running_loop().sock_sendall(client, requests))))
        for _ in range(8):
            assert (await send_request(f"{url}/healthz"))[0] == 200
        assert server.connections.evicted > 0
        for client, sending in clients:
            sending.cancel()
            client.close()


async def test_a_process_without_descriptors_logs_it_and_continues(caplog: pytest.LogCaptureFixture) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with serving_server() as (_server, url):
        host, port = url.rpartition("/")[2].split(":")
        with ExitStack() as stack:
            clients = [stack.enter_context(socket.socket()) for _ in range(3)]
            lowest_free = stack.enter_context(socket.socket()).fileno() + 1
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
            try:
                for client in clients:
                    client.connect((host, int(port)))
                await eventually(lambda: caplog.records, "a log line", every_s=0)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert (await send_request(f"{url}/healthz"))[0] == 200
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert all("cannot be accepted" in line for line in lines) and len(lines) < 5


@pytest.mark.parametrize(("tls", "sent"), [({}, b""), ({}, HALF), (TLS, b""), (TLS, b"\x16\x03\x01")])
async def test_no_connection_outlives_the_server(tls: dict[str, str], sent: bytes) -> None:
    async with serving_server(idle_timeout_ms=600_000, **tls) as (server, url):
        with connected(url, 3, sent) as clients:
            await eventually(lambda: len(server.connections), "three connections", until=lambda n: n == 3, every_s=0)
            await server.stop()
            assert len(server.connections) == 0
            for client in clients:
                assert await ended(client) == b""


MALFORMED = [
    b"\x16\x03\x01\x02\x00",
    b"nonsense\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET http://[ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET //[ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET /\xff HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET /%ff%00 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET /status?%ff=%zz HTTP/1.1\r\nHost: [\r\n\r\n",
    b"GET /status HTTP/1.1\r\nHost: a b\r\n\r\n",
    b"GET /status HTTP/1.1\r\nHost: \xff\r\n\r\n",
    b"GET /status HTTP/1.1\r\nHost: 127.0.0.1:port\r\n\r\n",
    b"GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil\r\n\r\n",
    b"GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
    b"GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X-Y: z\r\n" * 500 + b"\r\n",
    b"GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"y" * 20_000 + b"\r\n\r\n",
    b"GET /" + b"y" * 20_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\nExpect: the worst\r\n\r\n",
    b"BREW /status HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"POST /status HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n",
    b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://[\r\nContent-Length: 0\r\n\r\n",
    b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: \xff\xfe\r\nContent-Length: 0\r\n\r\n",
    b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",
]


@pytest.mark.parametrize("sent", MALFORMED, ids=range(len(MALFORMED)))
async def test_malformed_http_is_the_clients_mistake(sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(idle_timeout_ms=200) as url:
        with connected(url, 1, sent) as (client,):
            answer = await ended(client)
    assert answer.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4")), answer
    assert b"Content-Security-Policy: default-src 'none'" in answer
    assert b'{"error":' in answer or b" 417 " in answer
    assert not [record for record in caplog.records if record.exc_info or record.levelno >= logging.WARNING]


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1"])
async def test_an_unknown_host_name_is_refused_at_any_address(host: str) -> None:
    """A page of another site whose name its owner points at our address (DNS rebinding)."""
    settings = {
        "host": host,
        "allowed_hosts": ("Forebay.svc", ".cluster.local"),
        "advertised_url": "https://pods.example:8443/base",
    }
    async with serving_server(**settings) as (server, _url):
        port = port_of(server)
        for name, status in (
            ("10.1.2.3:8080", 200),
            ("[::1]:8080", 200),
            ("127.0.0.1", 200),
            ("LOCALHOST:1", 200),
            ("localhost.", 200),
            ("forebay.svc:8080", 200),
            ("pods.example", 200),
            ("a.b.cluster.local:80", 200),
            ("cluster.local", 403),
            ("evilcluster.local", 403),
            ("evil.example", 403),
            ("evil.example:8080", 403),
            ("127.0.0.1.evil.example", 403),
            ("localhost.evil.example", 403),
            ("2130706433", 403),
            ("worker", 403),
        ):
            for method, path in (("GET", "/status"), ("POST", "/predict"), ("GET", "/"), ("GET", "/healthz")):
                response = await send_request(f"http://127.0.0.1:{port}{path}", method, headers={"Host": name})
                assert response[0] == status, (name, path)


def port_of(server: AdminServer) -> int:
    assert server.port is not None
    return server.port


async def test_requests_in_flight_are_finished_at_the_end() -> None:
    async with serving_server() as (server, url), aiohttp.ClientSession() as session:
        asking = asyncio.create_task(session.get(f"{url}/slow"))
        await eventually(lambda: server.connections.num_busy, "a request in flight", every_s=0.01)
        await server.stop()
        assert (await asking).status == 503
