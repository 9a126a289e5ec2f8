"""Keys from a URL: what is fetched, what is refused, and that the last keys are used while no others can be had."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from aiohttp import web

from forebay.schemas.errors import ConfigError
from forebay.stream.access.admin_policy import Caller
from forebay.stream.access.tokens import Denial
from forebay.stream.authorization.key_fetcher import KeyFetcher, KeysUnavailable
from forebay.stream.authorization.policy_keeper import PolicyKeeper, open_policies
from forebay.stream.authorization.sources import MAX_FILE_BYTES
from forebay.stream.config.access_section import AccessSection
from forebay.stream.config.load import load_settings
from tests.access.issuer import JULY_S, key_set, keys, sign
from tests.core.build import ManualClock

PUBLIC = {name: key.as_dict(private=False) for name, key in keys().items()}


class Issuer:
    """An issuer whose answers can be changed. url: its address, which is also its name."""

    def __init__(self) -> None:
        self.url = ""
        self.names = self.url
        self.keys: web.Response | bytes = key_set()
        self.num_requests = 0

    async def serve_keys(self, _request: web.Request) -> web.Response:
        self.num_requests += 1
        if isinstance(self.keys, bytes):
            return web.Response(body=self.keys, content_type="application/json")
        return self.keys

    async def serve_configuration(self, _request: web.Request) -> web.Response:
        return web.json_response({"issuer": self.names, "jwks_uri": f"{self.url}/keys"})

    def section(self, **others: object) -> AccessSection:
        settings = {"admin": True, "issuer": "https://id", "admin_audience": "fb", "keys_url": f"{self.url}/keys"}
        return AccessSection.model_validate(settings | {"roles": {"team-a/*": ("look",)}, **others})


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    issuer = Issuer()
    application = web.Application()
    application.add_routes(
        [
            web.get("/keys", issuer.serve_keys),
            web.get("/.well-known/openid-configuration", issuer.serve_configuration),
        ]
    )
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server: Any = site._server
    issuer.url = issuer.names = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield issuer
    await runner.cleanup()


def identify(keeper: PolicyKeeper, kid: str) -> Caller | Denial:
    policy = keeper.admin()
    assert policy is not None
    return policy.identify(sign(kid), now_ms=JULY_S * 1000)


async def test_the_url_may_come_from_the_issuer(issuer: Issuer) -> None:
    section = issuer.section(keys_url=None, discover_keys=True, issuer=issuer.url)
    assert await KeyFetcher(section).fetch() == key_set()
    issuer.names = "https://other"
    with pytest.raises(KeysUnavailable, match="does not name the issuer"):
        await KeyFetcher(section).fetch()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (web.Response(status=503), "HTTP status 503"),
        (web.Response(status=302, headers={"Location": "http://127.0.0.1/keys"}), "HTTP status 302"),
        (web.Response(body=b" " * (MAX_FILE_BYTES + 1)), "more than"),
    ],
)
async def test_other_answers_are_refused(issuer: Issuer, answer: web.Response, reason: str) -> None:
    issuer.keys = answer
    with pytest.raises(KeysUnavailable, match=reason):
        await KeyFetcher(issuer.section()).fetch()


async def test_new_keys_take_effect_and_the_last_ones_stay_while_there_are_no_others(issuer: Issuer) -> None:
    issuer.keys = orjson.dumps({"keys": [PUBLIC["ES256"]]})
    clock = ManualClock()
    keeper = await open_policies(issuer.section(), clock=clock)
    assert keeper is not None and isinstance(identify(keeper, "ES256"), Caller)
    for broken in (web.Response(status=500), b"junk", b'{"keys": [{"kty": "oct", "kid": "1", "k": "c2VjcmV0"}]}'):
        issuer.keys = broken
        clock.advance(300)
        await keeper.refresh()
        assert isinstance(identify(keeper, "ES256"), Caller)
        assert keeper.status.error is not None and "access.keys_url" in keeper.status.error
    issuer.keys = orjson.dumps({"keys": [PUBLIC["ES256"], PUBLIC["RS256"]]})
    clock.advance(299)
    await keeper.refresh()
    assert keeper.status.error is not None, "not before access.keys_refresh_ms"
    clock.advance(1)
    await keeper.refresh()
    assert keeper.status.error is None and keeper.status.num_changes == 1
    assert isinstance(identify(keeper, "ES256"), Caller) and isinstance(identify(keeper, "RS256"), Caller)
    issuer.keys = orjson.dumps({"keys": [PUBLIC["RS256"]]})
    clock.advance(300)
    await keeper.refresh()
    assert identify(keeper, "ES256") is Denial.UNKNOWN_KEY


async def test_a_token_with_an_unknown_key_makes_the_keys_be_fetched_soon_but_not_often(issuer: Issuer) -> None:
    issuer.keys = orjson.dumps({"keys": [PUBLIC["ES256"]]})
    clock = ManualClock()
    keeper = await open_policies(issuer.section(), clock=clock)
    assert keeper is not None and identify(keeper, "RS256") is Denial.UNKNOWN_KEY
    issuer.keys = key_set()
    clock.advance(29)
    await keeper.refresh()
    assert issuer.num_requests == 1
    clock.advance(1)
    await keeper.refresh()
    assert issuer.num_requests == 2 and isinstance(identify(keeper, "RS256"), Caller)
    clock.advance(60)
    await keeper.refresh()
    assert issuer.num_requests == 2


async def test_keys_of_other_kinds_are_left_out(issuer: Issuer) -> None:
    others = [{"kty": "RSA", "kid": "enc", "use": "enc"}, {"kty": "EC", "crv": "P-384", "kid": "384"}, {"kty": "oct"}]
    issuer.keys = orjson.dumps({"keys": [*others, PUBLIC["EdDSA"]]})
    keeper = await open_policies(issuer.section(), clock=ManualClock())
    assert keeper is not None and keeper.policies.num_keys == 1


async def test_an_issuer_that_does_not_answer_is_an_error_at_the_start(issuer: Issuer) -> None:
    section = issuer.section(keys_url="http://127.0.0.1:1/keys")
    with pytest.raises(ConfigError, match=r"access\.keys_url, http://127\.0\.0\.1:1/keys: "):
        await open_policies(section, clock=ManualClock(), attempts=1)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({}, "access.keys_file"),
        ({"access.keys_url": "http://id.example/keys"}, "must begin with https://"),
        ({"access.discover_keys": True, "access.issuer": "http://id"}, "must begin with https://"),
        ({"access.keys_url": "https://id/keys", "access.keys_file": "/k"}, "keys have one source"),
    ],
)
def test_keys_have_one_source_that_nobody_can_replace(settings: dict[str, object], reason: str) -> None:
    good = {"access.enabled": True, "access.issuer": "https://id", "access.audience": "fb"}
    with pytest.raises(ConfigError) as raised:
        load_settings(None, {}, {**good, **settings})
    assert any(reason in problem for problem in raised.value.problems), raised.value.problems
