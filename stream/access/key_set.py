"""Public keys that verify tokens, from a JWK set (RFC 7517).

The key determines the algorithm, so a token cannot choose another one for it. Secrets for HMAC and private keys are refused:
who can verify must not be able to sign.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey

MAX_KEYS: Final = 1_000
_MAX_KID: Final = 200
_MIN_RSA_BITS: Final = 2_048
_MAX_RSA_BITS: Final = 8_192
_COORDINATE_BYTES: Final = 32
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]+")


class KeyProblem(ValueError):
    """A JWK set that cannot be used, with the reason."""


class VerificationKey(NamedTuple):
    """A public key and its only algorithm."""

    algorithm: str
    key: PublicKey

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Return whether the signature is that of the message."""
        try:
            if isinstance(self.key, ed25519.Ed25519PublicKey):
                self.key.verify(signature, message)
            elif isinstance(self.key, rsa.RSAPublicKey):
                self.key.verify(signature, message, padding.PKCS1v15(), SHA256())
            else:
                if len(signature) != 2 * _COORDINATE_BYTES:
                    return False
                r, s = (int.from_bytes(part) for part in (signature[:32], signature[32:]))
                self.key.verify(encode_dss_signature(r, s), message, ec.ECDSA(SHA256()))
        except (InvalidSignature, ValueError):
            return False
        return True


def read_key_set(text: bytes, *, is_published: bool = False) -> Mapping[str, VerificationKey]:
    """Return the keys of a JWK set by their `kid`. Raises KeyProblem.

    is_published: whether it comes from the issuer, whose other keys, such as those for encryption, are left out, as RFC 7517
        says. In a file of the user they are an error.
    """
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise KeyProblem(f"it is not JSON: {error}") from None
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not entries:
        raise KeyProblem('it is not a JWK set: an object with a list "keys" that is not empty')
    if len(entries) > MAX_KEYS:
        raise KeyProblem(f"it has {len(entries)} keys, more than {MAX_KEYS}")
    keys: dict[str, VerificationKey] = {}
    problem: KeyProblem | None = None
    for index, entry in enumerate(entries):
        try:
            kid, key = _read_key(entry, f"keys[{index}]")
            if kid in keys:
                raise KeyProblem(f"keys[{index}] has the same kid as an earlier key")
        except KeyProblem as error:
            if not is_published:
                raise
            problem = error
        else:
            keys[kid] = key
    if not keys:
        raise KeyProblem(f"it has no key that can be used: {problem}")
    return keys


def _read_key(entry: Any, place: str) -> tuple[str, VerificationKey]:
    if not isinstance(entry, dict):
        raise KeyProblem(f"{place} is not an object")
    kid = entry.get("kid")
    if not isinstance(kid, str) or not 0 < len(kid) <= _MAX_KID:
        raise KeyProblem(f"{place} has no kid of 1 to {_MAX_KID} characters")
    if "d" in entry or "k" in entry:
        raise KeyProblem(f"{place} holds a secret or private key; the file must only hold public keys")
    operations = entry.get("key_ops", ["verify"])
    if entry.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        raise KeyProblem(f"{place} is not for verifying signatures (use, key_ops)")
    try:
        key = _public_key(entry, place)
    except (TypeError, ValueError) as error:
        raise error if isinstance(error, KeyProblem) else KeyProblem(f"{place} is not a valid key: {error}") from None
    if entry.get("alg", key.algorithm) not in (key.algorithm, "Ed25519" if key.algorithm == "EdDSA" else None):
        raise KeyProblem(f"{place} has another alg than {key.algorithm}, that of its kind of key")
    return kid, key


def _public_key(entry: Mapping[str, Any], place: str) -> VerificationKey:
    kind = (entry.get("kty"), entry.get("crv"))
    if kind == ("EC", "P-256"):
        x, y = _number(entry, "x"), _number(entry, "y")
        return VerificationKey("ES256", ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key())
    if kind == ("OKP", "Ed25519"):
        return VerificationKey("EdDSA", ed25519.Ed25519PublicKey.from_public_bytes(_bytes(entry, "x")))
    if kind == ("RSA", None):
        key = rsa.RSAPublicNumbers(_number(entry, "e"), _number(entry, "n")).public_key()
        if not _MIN_RSA_BITS <= key.key_size <= _MAX_RSA_BITS:
            raise KeyProblem(f"{place} has {key.key_size} bits; {_MIN_RSA_BITS} to {_MAX_RSA_BITS} are allowed")
        return VerificationKey("RS256", key)
    raise KeyProblem(f"{place} is not an EC key on P-256, an OKP key on Ed25519 or an RSA key")


def _number(entry: Mapping[str, Any], name: str) -> int:
    return int.from_bytes(_bytes(entry, name))


def _bytes(entry: Mapping[str, Any], name: str) -> bytes:
    text = entry.get(name)
    if not isinstance(text, str) or not _BASE64URL.fullmatch(text):
        raise ValueError(f"{name} is not base64url")
    return decode_base64url(text.encode())


def decode_base64url(text: bytes) -> bytes:
    """Decode base64url without padding. text: only characters of its alphabet. Raises ValueError."""
    return base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))
