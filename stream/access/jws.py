"""Verifies tokens: JWTs (RFC 7519) as compact JWS (RFC 7515), with the advice of RFC 8725.

Of a token's header only `alg`, `kid` and `crit` are read. A key that the token brings or points to (`jwk`, `jku`, `x5c`, `x5u`)
is ignored; `kid` is only looked up in the keys of the configuration.
"""

from __future__ import annotations

import re
import unicodedata
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

import orjson

from forebay.stream.access.key_set import VerificationKey, decode_base64url
from forebay.stream.access.tokens import Denial, Token

_COMPACT: Final = re.compile(rb"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_MAX_PRINCIPAL: Final = 256
_MAX_TOPICS: Final = 256
_LAST_S: Final = 253_402_300_800
"""The end of the year 9999, in seconds since the Unix epoch."""
MAX_CACHED_REFUSALS: Final = 1_024


@dataclass(frozen=True, slots=True)
class Requirements:
    """What a token must say.

    needs_topics: whether it must have the claim `topics`.
    skew_ms: by how much the clocks of the issuer and of the record's timestamp may differ.
    """

    issuer: str
    audience: str
    algorithms: Collection[str]
    needs_topics: bool
    skew_ms: int
    max_bytes: int


class JwsVerifier:
    """Verifies tokens, and remembers the last ones by their bytes.

    Refused tokens are remembered apart, so that they do not evict verified ones. max_cached: number of verified tokens.
    """

    def __init__(
        self, keys: Mapping[str, VerificationKey], requirements: Requirements, *, max_cached: int = 4_096
    ) -> None:
        self._keys = keys
        self._requirements = requirements
        self._max_cached = max_cached
        self._verified: OrderedDict[bytes, Token] = OrderedDict()
        self._refused: OrderedDict[bytes, Denial] = OrderedDict()
        self.num_unknown_keys = 0
        """How many distinct tokens, of those that are remembered, named an unknown key."""

    def verify(self, token: bytes) -> Token | Denial:
        """Return the claims of a token, or why it is refused. Never raises for what a token contains."""
        if (known := self._verified.get(token)) is not None:
            self._verified.move_to_end(token)
            return known
        if (refusal := self._refused.get(token)) is not None:
            return refusal
        if len(token) > self._requirements.max_bytes:
            return Denial.MALFORMED  # not remembered: it may be large
        result = self._verify(token)
        if isinstance(result, Token):
            self._verified[token] = result
            if len(self._verified) > self._max_cached:
                self._verified.popitem(last=False)
        else:
            self._refused[token] = result
            if len(self._refused) > MAX_CACHED_REFUSALS:
                self._refused.popitem(last=False)
        return result

    def _verify(self, token: bytes) -> Token | Denial:
        match = _COMPACT.fullmatch(token)
        if match is None:
            return Denial.MALFORMED
        header, claims = _object(match[1]), _object(match[2])
        if header is None or claims is None or "crit" in header:
            return Denial.MALFORMED
        algorithm, kid = header.get("alg"), header.get("kid")
        if algorithm == "Ed25519":  # its name since RFC 9864
            algorithm = "EdDSA"
        if not isinstance(algorithm, str) or algorithm not in self._requirements.algorithms:
            return Denial.ALGORITHM
        key = self._keys.get(kid) if isinstance(kid, str) else None
        if key is None:
            self.num_unknown_keys += 1
            return Denial.UNKNOWN_KEY
        if key.algorithm != algorithm:
            return Denial.ALGORITHM
        try:
            signature = decode_base64url(match[3])
        except ValueError:
            return Denial.MALFORMED
        if not key.verifies(signature, token[: match.end(2)]):
            return Denial.SIGNATURE
        return self._read_claims(claims) or Denial.CLAIMS

    def _read_claims(self, claims: Mapping[str, Any]) -> Token | None:
        required = self._requirements
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        if claims.get("iss") != required.issuer or required.audience not in audiences:
            return None
        principal, topics = claims.get("sub"), claims.get("topics")
        begin_ms, end_ms = _milliseconds(claims.get("nbf", 0)), _milliseconds(claims.get("exp"))
        if not is_principal(principal) or begin_ms is None or end_ms is None:
            return None
        if topics is None:
            if required.needs_topics or "topics" in claims:
                return None
        elif (
            not isinstance(topics, list)
            or len(topics) > _MAX_TOPICS
            or not all(isinstance(topic, str) for topic in topics)
        ):
            return None
        return Token(
            principal,
            max(0, begin_ms - required.skew_ms),
            end_ms + required.skew_ms,
            None if topics is None else frozenset(topics),
        )


def is_principal(name: object) -> TypeGuard[str]:
    """Return whether a name can be that of a principal: printable text in the normal form NFC, of at most 256 characters.

    Names are compared by code points. Invisible characters and several forms of one character are therefore refused.
    """
    return (
        isinstance(name, str)
        and 0 < len(name) <= _MAX_PRINCIPAL
        and name.isprintable()
        and unicodedata.is_normalized("NFC", name)
    )


def _object(text: bytes) -> Mapping[str, Any] | None:
    try:
        value = orjson.loads(decode_base64url(text))
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _milliseconds(value: object) -> int | None:
    """Return a NumericDate (seconds) as milliseconds; None if it is not one."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LAST_S:
        return None
    return int(value * 1000)
