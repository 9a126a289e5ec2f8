"""An issuer of tokens for tests, which signs with joserfc: an implementation that Forebay does not use."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import orjson
from joserfc import jws
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, OKPKey, RSAKey

from forebay.stream.access.jws import JwsVerifier, Requirements
from forebay.stream.access.key_set import read_key_set
from tests.core.build import JULY

JULY_S = JULY // 1000
CLAIMS = {"iss": "https://id", "aud": "fb", "sub": "team-a/ann", "exp": JULY_S + 600, "topics": ["features"]}


@functools.cache
def keys() -> dict[str, Any]:
    """Return a private key for each algorithm; the algorithm is also the kid."""
    return {
        "ES256": ECKey.generate_key("P-256", {"kid": "ES256"}),
        "EdDSA": OKPKey.generate_key("Ed25519", {"kid": "EdDSA"}),
        "RS256": RSAKey.generate_key(2048, {"kid": "RS256"}),
    }


def key_set() -> bytes:
    """Return the public keys as a JWK set."""
    return orjson.dumps({"keys": [key.as_dict(private=False) for key in keys().values()]})


def sign(algorithm: str = "ES256", header: dict[str, Any] | None = None, key: Any = None, **claims: object) -> bytes:
    """Return a token. claims: override those of CLAIMS; None removes one."""
    content = {name: value for name, value in (CLAIMS | claims).items() if value is not None}
    protected = {"alg": algorithm, "kid": algorithm, **(header or {})}
    signing = jws.JWSRegistry(algorithms=["ES256", "EdDSA", "Ed25519", "RS256"], strict_check_header=False)
    with warnings.catch_warnings(action="ignore", category=SecurityWarning):  # EdDSA is now called Ed25519
        token = jws.serialize_compact(protected, orjson.dumps(content), key or keys()[algorithm], registry=signing)
    return token.encode()


def verifier(max_cached: int = 100, **others: object) -> JwsVerifier:
    """Return a verifier of this issuer's tokens. others: override requirements."""
    requirements: dict[str, Any] = {
        "issuer": "https://id",
        "audience": "fb",
        "algorithms": ("ES256", "EdDSA", "RS256"),
        "needs_topics": True,
        "skew_ms": 0,
        "max_bytes": 4096,
        **others,
    }
    return JwsVerifier(read_key_set(key_set()), Requirements(**requirements), max_cached=max_cached)
