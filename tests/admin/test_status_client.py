"""The status client: what servers may answer, and which of them are sent the token. With real servers."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from forebay.stream.admin.status_client import MAX_ANSWER_BYTES, fetch_statuses
from forebay.stream.config.sections import AdminSection

HERE = Path(__file__).parent
TLS = {"tls_cert_file": str(HERE / "admin.pem"), "tls_key_file": str(HERE / "admin-key.pem")}
OTHER_TLS = {"tls_cert_file": str(HERE / "other.pem"), "tls_key_file": str(HERE / "other-key.pem")}
TOKEN = "s3cret-token"
WELL = b'{"worker":"w","health":{"live":true,"ready":true}}'


class Listener:
    """A server that answers everything with `body` and keeps the Authorization headers it was sent."""

    def __init__(self, body: bytes = WELL, *, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.body, self.status, self.headers = body, status, headers
        self.authorizations: list[str | None] = []
        self.paths: list[str] = []
        self.port = 0

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.authorizations.append(request.headers.get("Authorization"))
        self.paths.append(request.path)
        return web.Response(body=self.body, status=self.status, headers=self.headers)

    @asynccontextmanager
    async def listening(self, tls: dict[str, str] | None = None) -> AsyncIterator[int]:
        context = None
        if tls is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(tls["tls_cert_file"], tls["tls_key_file"])
        runner = web.ServerRunner(web.Server(self.handle))
        await runner.setup()
        site = web.TCPSite(runner, "0.0.0.0", 0, ssl_context=context)
        await site.start()
        try:
            yield runner.addresses[0][1]
        finally:
            await runner.cleanup()


def section(**settings: object) -> AdminSection:
    return AdminSection.model_validate(settings)


async def test_the_token_is_not_sent_in_the_clear_to_another_machine() -> None:
    """0.0.0.0 leads to this machine, and is not an address of the loopback."""
    listener = Listener()
    async with listener.listening() as port:
        urls = [f"http://0.0.0.0:{port}", f"http://127.0.0.1:{port}", f"http://localhost:{port}/base/"]
        answers = await fetch_statuses(section(token=TOKEN), urls)
        assert [answer.status is not None for answer in answers] == [True] * 3
        assert sorted(map(str, listener.authorizations)) == [f"Bearer {TOKEN}", f"Bearer {TOKEN}", "None"]
        assert sorted(listener.paths) == ["/base/status", "/status", "/status"]
        listener.authorizations.clear()
        await fetch_statuses(section(token=TOKEN), urls[:1], token_over_http=True)
        assert listener.authorizations == [f"Bearer {TOKEN}"]


async def test_the_reason_names_the_remedy_if_the_token_was_withheld() -> None:
    async with Listener(status=401).listening() as port:
        (withheld,) = await fetch_statuses(section(token=TOKEN), [f"http://0.0.0.0:{port}"])
        (wrong,) = await fetch_statuses(section(token=TOKEN), [f"http://127.0.0.1:{port}"])
    assert "--token-over-http" in str(withheld.reason)
    assert wrong.reason == "the worker does not accept this admin.token"


async def test_the_token_does_not_follow_a_redirect() -> None:
    elsewhere = Listener()
    async with elsewhere.listening() as port:
        redirecting = Listener(status=307, headers={"Location": f"http://127.0.0.1:{port}/status"})
        async with redirecting.listening() as other:
            (answer,) = await fetch_statuses(section(token=TOKEN), [f"http://127.0.0.1:{other}"])
    assert answer.status is None and elsewhere.authorizations == []


async def test_only_the_workers_own_certificate_is_trusted_without_its_name() -> None:
    own, foreign = Listener(), Listener()
    async with own.listening(TLS) as port, foreign.listening(OTHER_TLS) as other:
        urls = [f"https://127.0.0.1:{port}", f"https://127.0.0.1:{other}"]
        known, unknown = await fetch_statuses(section(token=TOKEN, **TLS), urls)
    assert known.status is not None
    assert "not trusted" in str(unknown.reason)
    assert foreign.authorizations == []


async def test_with_a_certificate_of_any_authority_the_token_goes_only_to_known_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Any member of the group can own a name, have it certified, and announce it."""
    monkeypatch.setenv("SSL_CERT_FILE", OTHER_TLS["tls_cert_file"])  # an authority that the system trusts
    listener = Listener(status=401)
    async with listener.listening(OTHER_TLS) as port:
        urls = [f"https://0.0.0.0:{port}"]
        (withheld,) = await fetch_statuses(section(token=TOKEN), urls, token_over_http=True)
        (also_withheld,) = await fetch_statuses(section(token=TOKEN, **TLS), urls)
        assert listener.authorizations == [None, None]
        assert "admin.allowed_hosts" in str(withheld.reason) and withheld == also_withheld
        await fetch_statuses(section(token=TOKEN, allowed_hosts=("0.0.0.0",)), urls)
        await fetch_statuses(section(token=TOKEN, advertised_url="https://0.0.0.0/"), urls)
        assert listener.authorizations[2:] == [f"Bearer {TOKEN}"] * 2


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"[" * 100_000, None),
        (b'{"worker":"w"}', None),
        (WELL + b" " * MAX_ANSWER_BYTES, None),
        (b"\x1f\x8b\x08", {"Content-Encoding": "gzip"}),
        (b"x", {"Content-Length": "100"}),
    ],
)
async def test_an_answer_that_is_not_a_workers_is_reported(body: bytes, headers: dict[str, str] | None) -> None:
    async with Listener(body, headers=headers).listening() as port:
        (answer,) = await fetch_statuses(section(), [f"http://127.0.0.1:{port}"])
    assert answer.status is None and answer.reason


async def test_a_long_answer_is_read_whole() -> None:
    long = WELL[:-1] + b',"history":"' + b"x" * 1_000_000 + b'"}'
    async with Listener(long).listening() as port:
        (answer,) = await fetch_statuses(section(), [f"http://127.0.0.1:{port}"])
    assert answer.status is not None and answer.status.worker == "w"


async def test_an_invalid_address_is_reported() -> None:
    (answer,) = await fetch_statuses(section(), ["http://["])
    assert answer.status is None and answer.reason


async def test_a_host_name_that_does_not_exist_is_reported() -> None:
    (answer,) = await fetch_statuses(section(), ["http://no-such-host.invalid:8080"])
    assert str(answer.reason).startswith("its host name cannot be resolved: ")
