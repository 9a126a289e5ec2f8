"""The keys of a service: a JWK set (RFC 7517) of symmetric keys. One key is current. Pure.

All keys decrypt; the current one encrypts. A key is rotated by adding the new one everywhere, then making it current, and
removing the old one once no record needs it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

KEY_BYTES: Final = 32
MAX_KID_CHARS: Final = 200
MAX_KEYS: Final = 1_000


class KeyringInvalid(Exception):
    """A JWK set cannot be used. The message contains no key."""


@dataclass(frozen=True, slots=True)
class Keyring:
    """Keys of 256 bits by their ids. current: the id of the key that encrypts."""

    keys: Mapping[str, bytes] = field(repr=False)
    current: str

    @property
    def kids(self) -> tuple[str, ...]:
        """The ids of all keys, in the order of the set."""
        return tuple(self.keys)

    def with_key(self, kid: str, key: bytes, *, make_current: bool) -> Keyring:
        """Return the keyring with another key."""
        return Keyring({**self.keys, kid: key}, kid if make_current else self.current)

    def with_current(self, kid: str) -> Keyring:
        """Return the keyring with another current key, which it has."""
        return Keyring(self.keys, kid)


def parse_keyring(text: bytes) -> Keyring:
    """Return the keys of a JWK set. Raises KeyringInvalid, with the place and without any value of the set."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise KeyringInvalid("it is not JSON") from None
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not entries:
        raise KeyringInvalid('it is not a JWK set, {"keys": [...]} with at least one key')
    if len(entries) > MAX_KEYS:
        raise KeyringInvalid(f"it has {len(entries)} keys; at most {MAX_KEYS} are allowed")
    keys: dict[str, bytes] = {}
    for index, entry in enumerate(entries):
        kid, key = _parse_key(entry, f"keys[{index}]")
        if kid in keys:
            raise KeyringInvalid(f"keys[{index}] has the kid of an earlier key")
        if key in keys.values():
            raise KeyringInvalid(f"keys[{index}] is an earlier key with another kid")
        keys[kid] = key
    current = document.get("current")
    if current is None:
        if len(keys) > 1:
            raise KeyringInvalid(
                f'it has {len(keys)} keys and no member "current" with the kid of the key that encrypts'
            )
        current = next(iter(keys))
    if not isinstance(current, str) or current not in keys:
        raise KeyringInvalid('its member "current" is not the kid of one of its keys')
    return Keyring(keys, current)


def _parse_key(entry: object, place: str) -> tuple[str, bytes]:
    if not isinstance(entry, dict):
        raise KeyringInvalid(f"{place} is not an object")
    if entry.get("kty") != "oct":
        raise KeyringInvalid(f'{place} is not a symmetric key, "kty": "oct"')
    if entry.get("alg") not in (None, "dir", "A256GCM") or entry.get("use") not in (None, "enc"):
        raise KeyringInvalid(f'{place} is for another use: "alg" may be dir or A256GCM, "use" may be enc')
    operations = entry.get("key_ops")
    if operations is not None and (
        not isinstance(operations, list) or not {"encrypt", "decrypt"} & set(map(str, operations))
    ):
        raise KeyringInvalid(f'{place} is for another use: "key_ops" names neither encrypt nor decrypt')
    kid, text = entry.get("kid"), entry.get("k")
    if not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID_CHARS or not kid.isprintable():
        raise KeyringInvalid(f'{place} has no "kid" of 1 to {MAX_KID_CHARS} printable characters')
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise KeyringInvalid(f'{place} has no "k" in base64url') from None
    if len(key) != KEY_BYTES:
        raise KeyringInvalid(f"{place} has {len(key) * 8} bits; A256GCM needs {KEY_BYTES * 8}")
    return kid, key


def format_keyring(keyring: Keyring) -> bytes:
    """Return the keyring as a JWK set, which contains the keys."""
    entries = [
        {
            "kty": "oct",
            "kid": kid,
            "alg": "A256GCM",
            "use": "enc",
            "k": base64.urlsafe_b64encode(key).rstrip(b"=").decode(),
        }
        for kid, key in keyring.keys.items()
    ]
    return json.dumps({"current": keyring.current, "keys": entries}, indent=2).encode() + b"\n"
