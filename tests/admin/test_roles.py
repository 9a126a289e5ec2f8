"""Roles of the admin API: who is let in, what each role opens, and that every route needs one."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from forebay.stream.access.admin_policy import TRUSTED, AdminPolicy
from forebay.stream.access.roles import Role, RoleRules
from forebay.stream.access.rules import Rules
from forebay.stream.admin.guard import CALLER, CALLER_HEADER, ChildGuard, build_guard, caller_headers, caller_of
from forebay.stream.admin.responses import json_response
from forebay.stream.admin.route_roles import is_open, roles_for
from forebay.stream.admin.server import AdminServer, page_routes
from forebay.stream.admin.service import WorkerAdmin
from forebay.stream.aggregate.admin import AggregatorAdmin
from forebay.stream.config.edge_section import EdgeSection
from forebay.stream.config.sections import AdminSection, Settings
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.evaluate.admin import EvaluatorAdmin
from forebay.stream.supervisor.group_admin import GroupAdmin
from tests.access.issuer import JULY_S, sign, verifier
from tests.admin.test_server import send_request
from tests.core.build import ManualClock

AUDIENCE = "fb-admin"
POLICY = AdminPolicy(
    verifier(audience=AUDIENCE, needs_topics=False),
    RoleRules({"team-a/*": ["predict"], "team-a/ann": ["look"], "ops": ["look", "operate"], "device": ["report"]}),
    Rules({"team-a/*": ["m", "n:3"]}),
)


def token(sub: str, **claims: object) -> bytes:
    return sign("EdDSA", sub=sub, **{"aud": AUDIENCE, "topics": None, **claims})


def bearer(text: bytes) -> dict[str, str]:
    return {"Authorization": f"Bearer {text.decode()}"}


@asynccontextmanager
async def serving(**settings: object) -> AsyncIterator[str]:
    async def echo(request: web.Request) -> web.Response:
        return json_response({"principal": caller_of(request).principal})

    clock = ManualClock()
    clock.now_ms = JULY_S * 1000
    section = AdminSection.model_validate({"port": 0, **settings})
    paths = {"/status": "GET", "/predict": "POST", "/pause": "POST", "/edge/reports": "POST", "/secret": "GET"}
    routes = [*page_routes(), web.get("/healthz", echo), *(web.route(way, path, echo) for path, way in paths.items())]
    guard = build_guard(section, clock=clock, policy=lambda: POLICY)
    server = AdminServer(section, routes, guard, bootstrap_servers="localhost:9092")
    url = await server.start()
    assert url is not None
    try:
        yield url
    finally:
        await server.stop()


@pytest.mark.parametrize(
    ("principal", "opens"),
    [
        ("team-a/ann", {"/status", "/predict"}),
        ("team-a/bob", {"/predict"}),
        ("ops", {"/status", "/pause"}),
        ("device", {"/edge/reports"}),
        ("eve", set()),
    ],
)
async def test_each_role_opens_its_own_paths(principal: str, opens: set[str]) -> None:
    async with serving() as url:
        for path, method, role in (
            ("/status", "GET", "look"),
            ("/predict", "POST", "predict"),
            ("/pause", "POST", "operate"),
            ("/edge/reports", "POST", "report"),
        ):
            status, document, headers = await send_request(url + path, method, headers=bearer(token(principal)))
            if path in opens:
                assert (status, document["principal"]) == (200, principal)
            else:
                assert (status, document["error"]["kind"]) == (403, "missing_role")
                assert f"the role {role}" in document["error"]["message"]
                assert f'scope="{role}"' in headers["WWW-Authenticate"]
        assert (await send_request(f"{url}/secret", headers=bearer(token(principal))))[0] == 403
        assert (await send_request(f"{url}/nothing", headers=bearer(token(principal))))[0] == 404
        assert (await send_request(f"{url}/healthz"))[0] == 200


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "neither admin.token nor"),
        (b"s3cret-token2", "neither admin.token nor"),
        (sign("EdDSA", sub="ops"), "access.admin_audience"),  # the token of an event
        (token("ops", iss="https://other"), "iss"),
        (token("ops", exp=JULY_S - 1), "expired"),
        (token("ops", nbf=JULY_S + 1), "not valid yet"),
        (token("ops")[:-8] + b"AAAAAAAA", "signature"),
        (sign("ES256", header={"kid": "new"}, sub="ops", aud=AUDIENCE), "no key"),
    ],
)
async def test_other_tokens_are_refused(text: bytes, reason: str) -> None:
    async with serving(token="s3cret-token") as url:
        status, document, headers = await send_request(f"{url}/status", headers=bearer(text))
    assert (status, document["error"]["kind"]) == (401, "unauthorized")
    assert reason in document["error"]["message"] and headers["WWW-Authenticate"] == "Bearer"


async def test_the_token_of_the_configuration_has_all_roles_and_nothing_else_is_open() -> None:
    async with serving(token="s3cret-token") as url:
        for path, method in (("/status", "GET"), ("/pause", "POST"), ("/secret", "GET")):
            assert (await send_request(url + path, method, headers=bearer(b"s3cret-token")))[0] == 200
    async with serving() as url:  # without admin.token, too
        assert (await send_request(f"{url}/status"))[0] == 401
        assert (await send_request(f"{url}/status", headers={"Authorization": "Basic eA=="}))[0] == 401


# ---- every route


def routes_of(admin: Any) -> Iterator[tuple[str, str]]:
    """Return method and path of all routes. admin: the admin API of a process, or the part that has the server."""
    server: AdminServer = getattr(admin, "_admin", admin)._server
    for route in server.routes():
        assert route.resource is not None
        yield route.method, route.resource.canonical.replace("{name}", "m").replace("{version}", "3")


async def test_every_route_is_open_or_needs_a_role(tmp_path: Any) -> None:
    settings = Settings(admin=AdminSection(port=0))
    reports = settings.model_copy(
        update={"edge": EdgeSection(reports=True), "drift": settings.drift.model_copy(update={"enabled": True})}
    )
    unused: Any = SimpleNamespace(
        models=(), access=None, status_observer=SimpleNamespace(warnings=logging.NullHandler())
    )
    clock = ManualClock()
    worker = WorkerAdmin(reports, unused, unused, unused, worker="w", clock=clock)
    admins = [
        worker,
        AggregatorAdmin(reports, SimpleNamespace(counted=0, partitions=[0]), clock=clock),
        EvaluatorAdmin(settings, unused, clock=clock),
        GroupAdmin(settings, unused, unused, unused, instance="i", clock=clock),
    ]
    routes = {route for admin in admins for route in routes_of(admin)}
    assert len(routes) > 30
    # The supervisor passes these on; what is asked for decides.
    passed_on = {("*", "/v2{tail}"), ("*", "/processes/{number}/{tail}")}
    assert passed_on <= routes
    for method, path in routes - passed_on:
        assert is_open(path) or roles_for(method, path), (method, path)
    opened = {path for _, path in routes if is_open(path)}
    probes = {"/", "/healthz", "/readyz", "/startupz", "/v2/health/live", "/v2/health/ready"}
    assert {path for path in opened if not path.startswith("/page/")} == probes
    await worker.stop()


@pytest.mark.parametrize(
    "path",
    [
        "/page/../pause",
        "/page/x/../../pause",
        "/processes/0/page/../pause",
        "/v2/health/live/../../../pause",
        "/v2/models/../../pause",
        "//pause",
        "/pause/",
        "/processes/0/../pause",
        "/processes/0/report",
    ],
)
def test_no_path_around_the_roles_is_open(path: str) -> None:
    assert not is_open(path) and not roles_for("POST", path) and not roles_for("GET", path)


def test_a_path_of_a_process_needs_the_role_of_the_path() -> None:
    assert roles_for("POST", "/processes/3/pause") == {Role.OPERATE}
    assert roles_for("GET", "/processes/3/status") == roles_for("HEAD", "/status") == {Role.LOOK}
    assert not roles_for("POST", "/status")


# ---- behind a supervisor


def test_a_supervisor_passes_the_caller_on() -> None:
    request = make_mocked_request("POST", "/predict", headers={CALLER_HEADER: "operate root"})
    assert caller_headers(request) == {}, "what a client sends is not passed on"
    request[CALLER] = POLICY.caller("team-ä/Ann O'Hara, %20", frozenset((Role.PREDICT, Role.LOOK)))
    headers = caller_headers(request)
    assert headers[CALLER_HEADER].isascii()
    received = make_mocked_request("POST", "/predict", headers=headers)
    assert ChildGuard(lambda: POLICY).check(received) is None
    assert caller_of(received) == caller_of(request)


def test_a_child_trusts_its_supervisor_and_permits_no_model_without_rules() -> None:
    request = make_mocked_request("POST", "/pause")
    assert ChildGuard(lambda: POLICY).check(request) is None and caller_of(request) is TRUSTED
    request = make_mocked_request("POST", "/predict", headers={CALLER_HEADER: "predict team-a%2Fann"})
    assert ChildGuard(lambda: POLICY).check(request) is None and caller_of(request).may_use(ModelRef("m", 1))
    assert not caller_of(request).may_use(ModelRef("n", 1))
    assert ChildGuard(lambda: None).check(request) is None and not caller_of(request).may_use(ModelRef("m", 1))


def test_a_token_without_topics_is_enough() -> None:
    found = POLICY.identify(token("team-a/ann"), now_ms=JULY_S * 1000)
    assert getattr(found, "roles", None) == {Role.LOOK, Role.PREDICT}
