"""Keys of checkpoints: Ed25519, or ECDSA with SHA-256 over a curve of NIST, from files in PEM."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from forebay.schemas.errors import ConfigError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    PublicKey = Ed25519PublicKey | EllipticCurvePublicKey

_CONTEXT: Final = b"forebay-audit1\0"
"""What is signed begins with it, so that a signature of something else is not valid for a block."""
_MAKE_KEY: Final = "openssl genpkey -algorithm ed25519 -out audit.pem"


class Signer:
    """Signs digests of blocks with a private key. key_id: identifies the public key."""

    def __init__(self, private_key: Any) -> None:
        self._private_key = private_key
        self.key_id = _key_id(private_key.public_key())

    def sign(self, digest: str) -> bytes:
        """Return the signature of a block. digest: of its value, in hexadecimal."""
        message = _CONTEXT + bytes.fromhex(digest)
        if _is_edwards(self._private_key.public_key()):
            signature: bytes = self._private_key.sign(message)
            return signature
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
        from cryptography.hazmat.primitives.hashes import SHA256

        signature = self._private_key.sign(message, ECDSA(SHA256()))
        return signature


class TrustedKeys:
    """The public keys whose signatures count, by their ids."""

    def __init__(self, keys: Mapping[str, PublicKey]) -> None:
        self._keys = dict(keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key_id: str) -> bool:
        return key_id in self._keys

    def verifies(self, key_id: str, digest: str, signature: bytes) -> bool:
        """Return whether a signature of a block is valid. key_id: of a key that is among these."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
        from cryptography.hazmat.primitives.hashes import SHA256

        key, message = self._keys[key_id], _CONTEXT + bytes.fromhex(digest)
        try:
            if isinstance(key, EllipticCurvePublicKey):
                key.verify(signature, message, ECDSA(SHA256()))
            else:
                key.verify(signature, message)
        except InvalidSignature:
            return False
        return True


def load_signer(path: str) -> Signer:
    """Return the signer of a private key in PEM. Raises ConfigError."""
    _require_cryptography()
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    setting = "audit.signing_key"
    try:
        key = load_pem_private_key(_read(path, setting), password=None)
    except (TypeError, ValueError) as error:
        raise _unusable(path, setting, str(error), f"a private key in PEM without a password: {_MAKE_KEY}") from None
    _require_usable(key.public_key(), path, setting)
    return Signer(key)


def load_trusted_keys(paths: Sequence[str], signing_key: str | None = None) -> TrustedKeys:
    """Return the public keys in these files, each one key in PEM, and that of the signing key. Raises ConfigError."""
    keys: dict[str, PublicKey] = {}
    if paths or signing_key is not None:
        _require_cryptography()
        from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

        for path, setting in [*((path, "audit.public_keys") for path in paths), (signing_key, "audit.signing_key")]:
            if path is None:
                continue
            data = _read(path, setting)
            try:
                key: Any = (
                    load_pem_private_key(data, password=None).public_key()
                    if b"PRIVATE KEY-----" in data
                    else load_pem_public_key(data)
                )
            except (TypeError, ValueError) as error:
                remedy = f"a public key in PEM: openssl pkey -in audit.pem -pubout -out {path}"
                raise _unusable(path, setting, str(error), remedy) from None
            _require_usable(key, path, setting)
            keys[_key_id(key)] = key
    return TrustedKeys(keys)


def _read(path: str, setting: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise _unusable(path, setting, error.strerror or str(error), f"a key in PEM: {_MAKE_KEY}") from None


def _key_id(key: Any) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()[:16]


def _is_edwards(key: object) -> bool:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    return isinstance(key, Ed25519PublicKey)


def _require_usable(key: object, path: str, setting: str) -> None:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

    if not (_is_edwards(key) or isinstance(key, EllipticCurvePublicKey)):
        raise _unusable(path, setting, "it is of another algorithm", f"a key for Ed25519 or ECDSA: {_MAKE_KEY}")


def _require_cryptography() -> None:
    try:
        import cryptography  # noqa: F401
    except ImportError:
        raise ConfigError(
            "keys for the audit need the package cryptography",
            kind="missing_extra",
            remedy="pip install 'forebay[security]'",
        ) from None


def _unusable(path: str, setting: str, reason: str, wanted: str) -> ConfigError:
    return ConfigError(f"{setting}: {path} cannot be used: {reason}", kind="audit_key", remedy=f"it must hold {wanted}")
