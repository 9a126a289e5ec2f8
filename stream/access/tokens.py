"""What a token says after its signature was verified, and why an event is denied. Pure."""

from __future__ import annotations

from enum import IntEnum
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol


class Denial(IntEnum):
    """Why an event is denied; `NONE` if it is not."""

    NONE = 0
    NO_TOKEN = 1
    SEVERAL_TOKENS = 2
    MALFORMED = 3
    ALGORITHM = 4
    UNKNOWN_KEY = 5
    SIGNATURE = 6
    CLAIMS = 7
    TIME = 8
    TOPIC = 9
    RULE = 10


MESSAGES: Final = MappingProxyType(
    {
        Denial.NO_TOKEN: "the record has no header forebay-principal",
        Denial.SEVERAL_TOKENS: "the record has more than one header forebay-principal",
        Denial.MALFORMED: "the header forebay-principal is not a compact JWS, or is longer than access.max_token_bytes",
        Denial.ALGORITHM: "the token's algorithm is not one of access.algorithms, or not that of the key",
        Denial.UNKNOWN_KEY: "the token names no key of the issuer",
        Denial.SIGNATURE: "the token's signature is wrong",
        Denial.CLAIMS: "a claim of the token (iss, aud, sub, exp, nbf or topics) is missing or has another value than required",
        Denial.TIME: "the token was not valid at the record's timestamp",
        Denial.TOPIC: "the token is for other topics",
        Denial.RULE: "no rule in access.rules permits this principal to use this model",
    }
)
"""The messages of denials. They contain nothing of the token or the principal."""


class Token(NamedTuple):
    """The claims of a verified token.

    begins_ms, ends_ms: the record timestamps at which it is valid, ms since the Unix epoch; `ends_ms` is excluded.
    topics: the topics that it is for; None for every topic.
    """

    principal: str
    begins_ms: int
    ends_ms: int
    topics: frozenset[str] | None


class Verifier(Protocol):
    """Verifies tokens."""

    def verify(self, token: bytes) -> Token | Denial:
        """Return the claims of a token, or why it is refused. Never raises for what a token contains."""
