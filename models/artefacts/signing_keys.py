"""Keys that sign models: elliptic curve keys in PEM files, and their fingerprints."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from forebay.schemas.errors import ModelError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.hashes import HashAlgorithm

    PrivateKey: TypeAlias = EllipticCurvePrivateKey
    """The private key of a signature."""

_MAX_PEM_BYTES: Final = 1 << 18
_CURVES: Final = ("secp256r1", "secp384r1", "secp521r1")
_PREFIX: Final = "sha256:"

ReadPassword = Callable[[], str]
"""Returns the password of an encrypted private key."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key that the trust policy knows, or an authority that certifies keys.

    name: for rules and messages.
    file: its public key, in PEM; empty if only the fingerprint is known, which is enough to revoke it.
    fingerprint: as `fingerprint_of` gives it; empty to take that of the file.
    authority: certificates of an authority, in PEM, instead of a file: every key that it has certified counts.
    subject: the owner of certificates that counts, as RFC 4514 writes it; empty for each that the authority has certified.
    not_after: from when on its signatures no longer count; None for no limit.
    revoked: why none of its signatures count; empty if they do.
    """

    name: str
    file: str = ""
    fingerprint: str = ""
    authority: str = ""
    subject: str = ""
    not_after: datetime | None = None
    revoked: str = ""


def read_public_key(file: str) -> EllipticCurvePublicKey:
    """Return the public key in a PEM file. Raises ModelError(kind="signing_key") that names the file and the remedy."""
    require_cryptography()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(read_pem(file))
    except (ValueError, UnsupportedAlgorithm):
        raise _error(f"{file}: this is not a public key in PEM", "openssl ec -in KEY -pubout -out FILE") from None
    return signing_public_key(key, file)


def signing_public_key(key: object, place: str) -> EllipticCurvePublicKey:
    """Return a public key that can verify signatures of models. place: for the message of the ModelError."""
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

    if not isinstance(key, EllipticCurvePublicKey) or key.curve.name not in _CURVES:
        raise _wrong_kind(place)
    return key


def read_private_key(file: str, read_password: ReadPassword) -> EllipticCurvePrivateKey:
    """Return the private key in a PEM file. Raises ModelError(kind="signing_key") that names the file and the remedy.

    read_password: called only if the key is encrypted.
    """
    require_cryptography()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    data = read_pem(file)
    try:
        try:
            key = load_pem_private_key(data, None)
        except TypeError:  # it is encrypted
            key = load_pem_private_key(data, read_password().encode())
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise _error(
            f"{file}: this is not a private key in PEM, or its password is wrong",
            "openssl ecparam -name prime256v1 -genkey -noout -out FILE",
        ) from None
    if not isinstance(key, EllipticCurvePrivateKey):
        raise _wrong_kind(file)
    signing_public_key(key.public_key(), file)
    return key


def fingerprint_of(key: EllipticCurvePublicKey) -> str:
    """Return the SHA-256 of the key's PEM text, in hexadecimal digits, as OpenSSF Model Signing identifies keys."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return hashlib.sha256(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def hash_of(key: EllipticCurvePublicKey) -> HashAlgorithm:
    """Return the hash that signatures with the key use. Only the key decides about it, never the signature."""
    from cryptography.hazmat.primitives import hashes

    algorithms: Mapping[str, HashAlgorithm] = dict(
        zip(_CURVES, (hashes.SHA256(), hashes.SHA384(), hashes.SHA512()), strict=True)
    )
    return algorithms[key.curve.name]


def normalise_fingerprint(text: str) -> str:
    """Return a fingerprint in lower case and without the prefix "sha256:"."""
    return text.lower().removeprefix(_PREFIX)


def require_cryptography() -> None:
    """Raise ModelError if the package that verifies signatures is not installed."""
    try:
        import cryptography  # noqa: F401
    except ImportError:
        raise _error(
            "signed models need the package cryptography, which is not installed", "pip install 'forebay[security]'"
        ) from None


def read_pem(file: str) -> bytes:
    """Return the content of a file with keys or certificates. Raises ModelError(kind="signing_key") if it cannot be read."""
    try:
        with Path(file).open("rb") as stream:
            return stream.read(_MAX_PEM_BYTES)
    except OSError as error:
        raise _error(
            f"{file}: cannot be read: {error.strerror or error}", "check the path and its permissions"
        ) from None


def _wrong_kind(file: str) -> ModelError:
    return _error(
        f"{file}: this key cannot sign models",
        "use an elliptic curve key on P-256, P-384 or P-521: openssl ecparam -name prime256v1 -genkey -noout -out FILE",
    )


def _error(message: str, remedy: str) -> ModelError:
    return ModelError(message, kind="signing_key", remedy=remedy)
