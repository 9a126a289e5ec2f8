"""Decides who a request to the admin API comes from, and what that caller may do. Pure: the time is passed in."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from forebay.stream.access.roles import Role, RoleRules
from forebay.stream.access.rules import Rules
from forebay.stream.access.tokens import Denial, Verifier
from forebay.stream.core.model_ref import ModelRef

MESSAGES: Final = MappingProxyType(
    {
        Denial.MALFORMED: "the bearer token is neither admin.token nor a compact JWS, or is longer than access.max_token_bytes",
        Denial.ALGORITHM: "the token's algorithm is not one of access.algorithms, or not that of the key",
        Denial.UNKNOWN_KEY: "the token names no key of the issuer",
        Denial.SIGNATURE: "the token's signature is wrong",
        Denial.CLAIMS: "a claim of the token (iss, sub, exp or nbf, or aud, which must contain access.admin_audience) is "
        "missing or has another value than required",
        Denial.TIME: "the token has expired, or is not valid yet",
    }
)
"""Why a token is refused. The messages contain nothing of it."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a request comes from.

    principal: None for the holder of `admin.token`, and for everybody where nothing is required.
    rules: which models the principal may use; None for every model.
    """

    principal: str | None
    roles: frozenset[Role]
    rules: Rules | None = None

    def may_use(self, model: ModelRef) -> bool:
        """Return whether the caller may have events predicted by the model."""
        return self.rules is None or (self.principal is not None and self.rules.permits(self.principal, model))


TRUSTED: Final = Caller(None, frozenset(Role))
"""The holder of `admin.token`, and everybody where nothing is required."""


class AdminPolicy:
    """Identifies callers by their tokens. verifier: requires the audience of the admin API."""

    def __init__(self, verifier: Verifier, roles: RoleRules, rules: Rules) -> None:
        self._verifier = verifier
        self._roles = roles
        self._rules = rules

    def identify(self, token: bytes, *, now_ms: int) -> Caller | Denial:
        """Return who has sent a token, or why it is refused. Never raises for what a token contains."""
        verified = self._verifier.verify(token)
        if isinstance(verified, Denial):
            return verified
        if not verified.begins_ms <= now_ms < verified.ends_ms:
            return Denial.TIME
        return self.caller(verified.principal, self._roles.roles_of(verified.principal))

    def caller(self, principal: str, roles: frozenset[Role]) -> Caller:
        """Return a caller to whom the rules of this policy apply."""
        return Caller(principal, roles, self._rules)
