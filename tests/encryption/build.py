"""Keys for tests, and an independent implementation of JWE."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from joserfc import jwe
from joserfc.jwe import JWERegistry
from joserfc.jwk import OctKey

from forebay.stream.encryption.jwe import TokenSealer
from forebay.stream.encryption.keyring import Keyring
from forebay.stream.encryption.nonces import NonceSequence

KEY, OTHER_KEY = bytes(range(32)), bytes(range(32, 64))
KEYRING = Keyring({"a": KEY, "b": OTHER_KEY}, "a")
CIPHERS = {kid: AESGCM(key) for kid, key in KEYRING.keys.items()}

_REGISTRY = JWERegistry(strict_check_header=False)


def sealer(kid: str = "a") -> TokenSealer:
    return TokenSealer(KEYRING.with_current(kid), CIPHERS[kid], NonceSequence())


def foreign_token(text: bytes, scope: Mapping[str, str], key: bytes = KEY, **header: Any) -> str:
    """Return a token as joserfc writes it."""
    protected = {"enc": "A256GCM", "alg": "dir", "scope": dict(scope), "kid": "a", **header}
    return jwe.encrypt_compact(protected, text, OctKey.import_key(key), registry=_REGISTRY)


def read_by_other(token: str, key: bytes = KEY) -> tuple[dict[str, Any], bytes]:
    """Return the header and the text of a token as joserfc reads it."""
    found = jwe.decrypt_compact(token, OctKey.import_key(key), registry=_REGISTRY)
    assert found.plaintext is not None
    return dict(found.protected), found.plaintext
