"""Identifies the caller of a request to the admin API, and refuses what its roles do not include."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping, Set
from typing import Final
from urllib.parse import quote, unquote

from aiohttp import web

from forebay.stream.access.admin_policy import MESSAGES, TRUSTED, AdminPolicy, Caller
from forebay.stream.access.roles import Role
from forebay.stream.access.rules import Rules
from forebay.stream.access.tokens import Denial
from forebay.stream.admin.responses import error_response
from forebay.stream.admin.route_roles import is_open, roles_for
from forebay.stream.config.sections import AdminSection
from forebay.stream.core.clock import Clock

CALLER: Final = web.RequestKey("caller", Caller)
CALLER_HEADER: Final = "Forebay-Caller"
"""From a supervisor to its children: roles and principal of the caller. From everybody else it is ignored."""


class Guard:
    """Identifies callers.

    token: `admin.token`, which has all roles; None if there is none.
    policy: returns the policy that identifies principals; None if the admin API needs no roles.
    """

    def __init__(self, token: str | None, policy: Callable[[], AdminPolicy | None], *, clock: Clock) -> None:
        self._token = token
        self._policy = policy
        self._clock = clock

    @property
    def has_roles(self) -> bool:
        """Whether every request needs a role."""
        return self._policy() is not None

    def check(self, request: web.Request) -> web.Response | None:
        """Return the response to a request that is refused; None for others, which then have their `CALLER`."""
        if is_open(request.path):
            return None
        caller = self._identify(request)
        if isinstance(caller, str):
            return error_response(401, "unauthorized", caller, headers={"WWW-Authenticate": "Bearer"})
        request[CALLER] = caller
        # There is no handler for what does not exist, and no principal without a policy.
        if caller.principal is None or request.match_info.http_exception is not None:
            return None
        needed = roles_for(request.method, request.path)
        return None if caller.roles & needed else _missing_role(needed)

    def _identify(self, request: web.Request) -> Caller | str:
        """Return who sends a request, or why that is not known."""
        policy = self._policy()
        if self._token is None and policy is None:
            return TRUSTED
        if self._token is not None and has_token(request.headers, self._token):
            return TRUSTED
        if policy is None:
            return "send Authorization: Bearer with admin.token"
        token = _bearer_token(request.headers)
        if token is None:
            return "send Authorization: Bearer with a token (JWT) of the issuer of access.issuer, or with admin.token"
        found = policy.identify(token, now_ms=self._clock.wall_ms())
        return MESSAGES[found] if isinstance(found, Denial) else found


class ChildGuard:
    """Takes the caller from the header of a supervisor, which has checked the request. For Unix sockets only.

    policy: returns the policy whose rules apply to the caller.
    """

    def __init__(self, policy: Callable[[], AdminPolicy | None]) -> None:
        self._policy = policy

    @property
    def has_roles(self) -> bool:
        """Whether every request needs a role."""
        return True

    def check(self, request: web.Request) -> web.Response | None:
        """Add the `CALLER` to a request. Refuses nothing."""
        request[CALLER] = self._caller(request.headers.get(CALLER_HEADER))
        return None

    def _caller(self, header: str | None) -> Caller:
        if header is None:
            return TRUSTED
        names, _, principal = header.partition(" ")
        roles = frozenset(map(Role, names.split(",")))
        policy = self._policy()
        if policy is None:  # the supervisor has other settings: permit no model
            return Caller(unquote(principal), roles, Rules({}))
        return policy.caller(unquote(principal), roles)


def no_policy() -> None:
    """Return the policy of an admin API that needs no roles."""


def build_guard(section: AdminSection, *, clock: Clock, policy: Callable[[], AdminPolicy | None] = no_policy) -> Guard:
    """Return the guard with the token of the section."""
    return Guard(None if section.token is None else section.token.get_secret_value(), policy, clock=clock)


def caller_headers(request: web.Request) -> dict[str, str]:
    """Return the headers with which a supervisor passes on the caller of a request."""
    caller = caller_of(request)
    if caller.principal is None:
        return {}
    return {CALLER_HEADER: f"{','.join(sorted(caller.roles))} {quote(caller.principal, safe='')}"}


def caller_of(request: web.Request) -> Caller:
    """Return the caller of a request that passed a guard."""
    found: Caller = request.get(CALLER, TRUSTED)
    return found


def has_token(headers: Mapping[str, str], token: str) -> bool:
    """Return whether the Authorization header has the token. Takes constant time, so that it cannot be guessed bit by bit."""
    scheme, _, credentials = headers.get("Authorization", "").partition(" ")
    return (
        hmac.compare_digest(credentials.strip().encode("utf-8", "replace"), token.encode())
        and scheme.lower() == "bearer"
    )


def _bearer_token(headers: Mapping[str, str]) -> bytes | None:
    scheme, _, credentials = headers.get("Authorization", "").partition(" ")
    return credentials.strip().encode("utf-8", "replace") if scheme.lower() == "bearer" else None


def _missing_role(needed: Set[Role]) -> web.Response:
    names = sorted(needed)
    if not names:
        return error_response(403, "forbidden_path", "no role opens this path to a principal")
    challenge = f'Bearer error="insufficient_scope", scope="{" ".join(names)}"'
    missing = " or ".join(names)
    return error_response(
        403,
        "missing_role",
        f"the principal of the token does not have the role {missing}; access.roles gives it",
        headers={"WWW-Authenticate": challenge},
    )
