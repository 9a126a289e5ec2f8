"""The server over real sockets: access, limits and address."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from forebay.schemas.errors import ConfigError
from forebay.stream.admin.advertised_url import build_advertised_url
from forebay.stream.admin.guard import build_guard
from forebay.stream.admin.responses import json_response
from forebay.stream.admin.server import ASSETS, AdminServer, page_routes
from forebay.stream.admin.status_client import fetch_statuses
from forebay.stream.config.sections import AdminSection
from forebay.stream.core.clock import SystemClock
from tests.eventually import eventually

HERE = Path(__file__).parent
# Self-signed and without value: openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 36500
TLS = {"tls_cert_file": str(HERE / "admin.pem"), "tls_key_file": str(HERE / "admin-key.pem")}
TOKEN = "s3cret-token"

Ask = Callable[..., Any]


async def echo(request: web.Request) -> web.Response:
    health = {"live": True, "ready": True}
    return json_response({"worker": "w", "size": len(await request.read()), "health": health})


async def slow(_request: web.Request) -> web.Response:
    await asyncio.sleep(60)
    raise AssertionError


async def broken(_request: web.Request) -> web.Response:
    raise RuntimeError("a secret")


def section(**settings: object) -> AdminSection:
    return AdminSection.model_validate({"port": 0, "max_body_bytes": 2048, "request_timeout_ms": 200, **settings})


@asynccontextmanager
async def serving(**settings: object) -> AsyncIterator[str]:
    async with serving_server(**settings) as (_server, url):
        yield url


@asynccontextmanager
async def serving_server(**settings: object) -> AsyncIterator[tuple[AdminServer, str]]:
    routes = [
        *page_routes(),
        web.get("/healthz", echo),
        web.get("/status", echo),
        web.post("/predict", echo),
        web.get("/slow", slow),
        web.get("/broken", broken),
    ]
    guard = build_guard(section(**settings), clock=SystemClock())
    server = AdminServer(section(**settings), routes, guard, bootstrap_servers="localhost:9092")
    try:
        yield server, await server.start()
    finally:
        await server.stop()


async def send_request(url: str, method: str = "GET", **options: Any) -> tuple[int, Any, Any]:
    """Return status, document (or text) and headers of the response."""
    async with aiohttp.ClientSession() as session, session.request(method, url, **options) as response:
        is_json = response.content_type == "application/json"
        return response.status, await response.json() if is_json else await response.text(), response.headers


async def test_a_token_is_required_except_for_probes_and_the_page() -> None:
    async with serving(token=TOKEN) as url:
        for path in ("/", "/page/page.js", "/page/page.css", "/page/charts.js", "/page/icon.svg", "/healthz"):
            assert (await send_request(url + path))[0] == 200, path
        for authorization in (
            None,
            "",
            "Bearer",
            f"Basic {TOKEN}",
            f"Bearer {TOKEN}x",
            f"Bearer {TOKEN[:-1]}",
            "Bearer \xff",
        ):
            headers = {} if authorization is None else {"Authorization": authorization}
            status, document, response_headers = await send_request(f"{url}/status", headers=headers)
            assert (status, document["error"]["kind"]) == (401, "unauthorized"), authorization
            assert response_headers["WWW-Authenticate"] == "Bearer"
        assert (await send_request(f"{url}/predict", "POST"))[0] == 401
        assert (await send_request(f"{url}/nothing"))[0] == 401
        assert (await send_request(f"{url}/status", headers={"Authorization": f"bearer {TOKEN}"}))[0] == 200


async def test_without_a_token_everything_is_open() -> None:
    async with serving() as url:
        assert (await send_request(f"{url}/status"))[0] == 200


async def test_requests_that_are_too_large_too_slow_or_unknown_are_refused() -> None:
    async with serving() as url:
        assert (await send_request(f"{url}/predict", "POST", data=b"x" * 2048))[1]["size"] == 2048
        for path, method, options, status, kind in (
            ("/predict", "POST", {"data": b"x" * 4000}, 413, "too_large"),
            ("/slow", "GET", {}, 503, "timeout"),
            ("/nothing", "GET", {}, 404, "not_found"),
            ("/status", "POST", {}, 405, "method_not_allowed"),
            ("/broken", "GET", {}, 500, "internal"),
        ):
            actual_status, document, headers = await send_request(url + path, method, **options)
            assert (actual_status, document["error"]["kind"]) == (status, kind), path
            assert "secret" not in str(document)
            assert headers["Cache-Control"] == "no-store"


async def test_a_body_that_never_arrives_times_out() -> None:
    async with serving() as url:
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"POST /predict HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 100\r\n\r\n".encode())
        assert b"503" in await asyncio.wait_for(reader.readline(), 5)
        writer.close()


async def test_a_client_that_leaves_before_the_end_of_its_body_is_not_an_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving_server() as (server, url):
        host, port = url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"POST /predict HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 100\r\n\r\n{{".encode())
        await eventually(lambda: server.connections.num_busy, "a request in flight", every_s=0.01)
        writer.transport.abort()
        await eventually(lambda: len(server.connections), "no connection", until=lambda count: count == 0, every_s=0.01)
        assert (await send_request(f"{url}/healthz"))[0] == 200
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_pages_of_other_sites_are_refused() -> None:
    async with serving() as url:
        host = url.removeprefix("http://")
        for headers, status in (
            ({"Origin": "http://evil.example"}, 403),
            ({"Origin": "null"}, 403),
            ({"Origin": url}, 200),
            ({"Host": "evil.example"}, 403),  # a name that was pointed at the loopback
            ({"Host": f"localhost:{host.split(':')[1]}"}, 200),
        ):
            assert (await send_request(f"{url}/predict", "POST", headers=headers))[0] == status, headers


async def test_a_port_in_use_is_followed_by_the_next() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        async with serving(port=port) as url:
            assert port < int(url.rpartition(":")[2]) <= port + 20
        with pytest.raises(ConfigError, match=f"port {port} is in use") as error:
            async with serving(port=port, port_retries=0):
                pass
        assert "admin.port" in str(error.value.remedy)


async def test_an_address_of_another_machine_is_reported() -> None:
    with pytest.raises(ConfigError, match=r"cannot listen at 203\.0\.113\.9"):
        async with serving(host="203.0.113.9"):
            pass


async def test_the_status_is_fetched_over_tls() -> None:
    async with serving(token=TOKEN, **TLS) as url:
        assert url.startswith("https://")
        trust = ssl.create_default_context(cafile=TLS["tls_cert_file"])
        assert (await send_request(f"{url}/healthz", ssl=trust))[0] == 200
        with pytest.raises(aiohttp.ClientError):
            await send_request(url.replace("https", "http") + "/healthz")
        (known,) = await fetch_statuses(section(token=TOKEN, **TLS), [url])
        assert known.status is not None and known.status.worker == "w"
        (no_token,) = await fetch_statuses(section(**TLS), [url])
        assert no_token.reason == "the worker does not accept this admin.token"
        (no_trust,) = await fetch_statuses(section(token=TOKEN), [url])
        assert "not trusted" in str(no_trust.reason)


async def test_a_key_that_does_not_match_is_reported() -> None:
    with pytest.raises(ConfigError, match=r"admin\.tls_cert_file"):
        async with serving(**(TLS | {"tls_key_file": TLS["tls_cert_file"]})):
            pass


async def test_a_worker_that_does_not_answer_is_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        urls = ["http://127.0.0.1:1", f"http://127.0.0.1:{silent.getsockname()[1]}"]
        refused, quiet = await fetch_statuses(section(), urls)
    assert refused.status is None and "refused" in str(refused.reason).lower()
    assert quiet.reason == "no answer within 2 s"


async def test_the_page_needs_nothing_from_outside() -> None:
    async with serving() as url:
        policy = (await send_request(url))[2]["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    folder = files("forebay.stream.admin") / "page"
    for name in ASSETS:
        outside = set(re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]+", (folder / name).read_text()))
        assert outside <= {"http://www.w3.org"}, name  # the name of SVG, which no browser fetches
        assert "style=" not in (folder / name).read_text() and "onclick=" not in (folder / name).read_text()
    assert {entry.name for entry in folder.iterdir()} == set(ASSETS)


def test_the_advertised_url() -> None:
    assert build_advertised_url("10.1.2.3", 80, tls=False, bootstrap_servers="x:1") == "http://10.1.2.3:80"
    assert build_advertised_url("::1", 81, tls=True, bootstrap_servers="x:1") == "https://[::1]:81"
    assert (
        build_advertised_url("0.0.0.0", 82, tls=False, bootstrap_servers="127.0.0.1:9092,b:1") == "http://127.0.0.1:82"
    )
    assert build_advertised_url("0.0.0.0", 83, tls=False, bootstrap_servers="no-such-host.invalid:1").endswith(":83")
