"""Tokens: compact JWE (RFC 7516) with the algorithms `dir` and `A256GCM` (RFC 7518, sections 4.5 and 5.3). Pure.

A token is five parts in base64url with dots between them: the protected header, an empty encrypted key, 12 bytes of nonce, the
encrypted text and 16 bytes of tag.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, Protocol

import orjson

from forebay.stream.encryption.keyring import Keyring
from forebay.stream.encryption.nonces import NonceSequence
from forebay.stream.encryption.scope import (
    HeaderTemplate,
    Scope,
    header_ending,
    header_prefix,
    header_template,
    own_template,
    to_base64url,
)

NONCE_CHARS: Final = 16
TAG_CHARS: Final = 22
TAG_BYTES: Final = 16
MAX_FOREIGN_TEMPLATES: Final = 64
"""Headers of other producers that are remembered for a field, before they are parsed each time."""
MAX_TEMPLATE_BYTES: Final = 1_024

_FROM_URL: Final = bytes.maketrans(b"-_+/", b"+/--")  # + and / are not in base64url: they become wrong in strict mode
_DOT: Final = ord(".")
_from_base64 = binascii.a2b_base64
_PADDING: Final = (b"", b"===", b"==", b"=")


class Reason(StrEnum):
    """Why a value cannot be decrypted. The words begin the messages of dead letters."""

    NOT_ENCRYPTED = "not encrypted"
    MALFORMED = "malformed"
    UNKNOWN_KEY = "unknown key"
    MOVED = "moved"
    DAMAGED = "damaged"


class CannotDecrypt(Exception):
    """A value cannot be decrypted. The message has neither the plain nor the encrypted text."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason


class Cipher(Protocol):
    """AES-GCM with one key, such as `cryptography`'s AESGCM."""

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes) -> bytes: ...
    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes) -> bytes: ...


MakeCipher = Callable[[bytes], Cipher]


class TokenOpener:
    """Decrypts the tokens of one field of one topic.

    ciphers: by the ids of the keys.
    """

    def __init__(self, topic: str, field: str, ciphers: Mapping[str, Cipher]) -> None:
        self._topic = topic
        self._field = field
        self._ciphers = ciphers
        self._by_prefix = {header_prefix(kid, topic, field): cipher for kid, cipher in ciphers.items()}
        self.templates = [(own_template(kid, topic, field), cipher) for kid, cipher in ciphers.items()]
        """The headers that are known, and what decrypts tokens that have them. Those of other producers are added."""
        self._num_own = len(self.templates)

    def open(self, token: bytes, ending: bytes) -> bytes:
        """Return the plain text of a token. ending: `header_ending` of the event's id. Raises CannotDecrypt."""
        header, _, rest = token.partition(b"..")
        rest = rest.translate(_FROM_URL)
        text, tag = rest[NONCE_CHARS + 1 : -TAG_CHARS - 1], rest[-TAG_CHARS:]
        is_short = len(rest) < NONCE_CHARS + TAG_CHARS + 2
        if is_short or rest.count(b".") != 2 or rest[NONCE_CHARS] != _DOT or rest[-TAG_CHARS - 1] != _DOT:
            raise CannotDecrypt(Reason.MALFORMED, "not a compact JWE with the parts of dir and A256GCM")
        cipher = self._by_prefix.get(header[: -len(ending)]) if header.endswith(ending) else None
        is_known = cipher is not None
        if cipher is None:
            cipher = self._cipher_by_header(header, ending)
        try:
            nonce = _from_base64(rest[:NONCE_CHARS], strict_mode=True)
            data = _from_base64(text + _PADDING[len(text) % 4], strict_mode=True) if text else b""
            data += _from_base64(tag + b"==", strict_mode=True)
        except ValueError:
            raise CannotDecrypt(Reason.MALFORMED, "a part is not in base64url") from None
        try:
            plain = cipher.decrypt(nonce, data, header)
        except Exception:  # InvalidTag of the library, without a message
            raise CannotDecrypt(
                Reason.DAMAGED, "its tag does not match: the token was changed, or has another key"
            ) from None
        if not is_known:
            self._add_template(header, cipher)
        return plain

    def _add_template(self, header: bytes, cipher: Cipher) -> None:
        """Remember how another producer writes its headers. header: of a token that could be decrypted."""
        if len(self.templates) >= self._num_own + MAX_FOREIGN_TEMPLATES:
            return
        template = find_template(_decode(header))
        if template is not None and (template, cipher) not in self.templates:
            self.templates.append((template, cipher))

    def _cipher_by_header(self, header: bytes, ending: bytes) -> Cipher:
        """Return the cipher for a header as another producer writes it."""
        content = parse_header(header)
        if content.get("alg") != "dir" or content.get("enc") != "A256GCM":
            raise CannotDecrypt(Reason.MALFORMED, "the algorithms are not dir and A256GCM")
        if "crit" in content or "zip" in content:
            raise CannotDecrypt(Reason.MALFORMED, "the header has crit or zip, which are not supported")
        scope = scope_of(content)
        if scope.topic != self._topic:
            raise CannotDecrypt(Reason.MOVED, "the token belongs to another topic")
        if scope.field != self._field:
            raise CannotDecrypt(Reason.MOVED, "the token belongs to another field")
        if header_ending(orjson.dumps(scope.id)) != ending:
            raise CannotDecrypt(Reason.MOVED, "the token belongs to another event")
        kid = content.get("kid")
        cipher = self._ciphers.get(kid) if isinstance(kid, str) else None
        if cipher is None:
            raise CannotDecrypt(Reason.UNKNOWN_KEY, "the keyring has no key with the token's kid")
        return cipher


def _decode(text: bytes) -> bytes:
    return binascii.a2b_base64(text.translate(_FROM_URL) + _PADDING[len(text) % 4], strict_mode=True) if text else b""


def parse_header(header: bytes) -> dict[str, Any]:
    """Return the content of a protected header. Raises CannotDecrypt."""
    try:
        content = orjson.loads(_decode(header))
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise CannotDecrypt(Reason.MALFORMED, "the protected header is not a JSON object in base64url")
    return content


def find_template(header: bytes) -> HeaderTemplate | None:
    """Return the template of a header that is valid; None if its id is not written as a plain JSON string.

    A place where the id occurs is the id only if another id there changes the scope, and nothing else.
    """
    content = orjson.loads(header)
    scope = content["scope"]
    if not scope.get("id") or len(header) > MAX_TEMPLATE_BYTES:
        return None
    json_id = orjson.dumps(scope["id"])
    probe = scope["id"] + "?"
    changed = content | {"scope": scope | {"id": probe}}
    at = header.find(json_id)
    while at >= 0:
        before, after = header[:at], header[at + len(json_id) :]
        try:
            if orjson.loads(before + orjson.dumps(probe) + after) == changed:
                return header_template(before, after)
        except ValueError:
            pass
        at = header.find(json_id, at + 1)
    return None


def scope_of(content: Mapping[str, Any]) -> Scope:
    """Return the scope in a protected header. Raises CannotDecrypt."""
    scope = content.get("scope")
    if not isinstance(scope, dict):
        raise CannotDecrypt(Reason.MALFORMED, "the protected header has no scope")
    topic, field, event_id = scope.get("topic"), scope.get("field"), scope.get("id", "")
    if not isinstance(topic, str) or not isinstance(field, str) or not isinstance(event_id, str):
        raise CannotDecrypt(Reason.MALFORMED, "the scope has not the strings topic, field and id")
    return Scope(topic, field, event_id)


def resembles_token(text: bytes) -> bool:
    """Return whether text is like a token, so that opening it says what is wrong with it. It may be any plain text."""
    return text.startswith(b"eyJ") and text.count(b".") == 4


def is_token(text: bytes) -> bool:
    """Return whether text has the parts of a token, all in Base64, and a header with the algorithms and a scope.

    This says nothing about whether it can be decrypted.
    """
    parts = text.split(b".")
    if len(parts) != 5 or parts[1] or len(parts[2]) != NONCE_CHARS or len(parts[4]) != TAG_CHARS:
        return False
    try:
        for part in parts[2:]:
            _decode(part)
        content = parse_header(parts[0])
        scope_of(content)
    except (ValueError, CannotDecrypt):
        return False
    return content.get("alg") == "dir" and content.get("enc") == "A256GCM"


class TokenSealer:
    """Encrypts with the current key of a keyring. nonces: shared by all sealers of a process that use the same keys."""

    def __init__(self, keyring: Keyring, cipher: Cipher, nonces: NonceSequence) -> None:
        self._kid = keyring.current
        self._cipher = cipher
        self._nonces = nonces
        self._templates: dict[tuple[str, str], HeaderTemplate] = {}

    def template(self, topic: str, field: str) -> HeaderTemplate:
        """Return the template of the headers of a field's tokens."""
        template = self._templates.get((topic, field))
        if template is None:
            template = self._templates[topic, field] = own_template(self._kid, topic, field)
        return template

    def encrypt(self, texts: Sequence[bytes], headers: Sequence[bytes]) -> tuple[list[bytes], list[bytes]]:
        """Return for each text its nonce, and the encrypted text with its tag. headers: the protected headers in Base64."""
        nonces = self._nonces.take(len(texts))
        return nonces, list(map(self._cipher.encrypt, nonces, texts, headers))

    def seal(self, topic: str, field: str, texts: Sequence[bytes], endings: Iterable[bytes]) -> list[bytes]:
        """Return a token for each plain text. endings: `header_ending` of the id of each event."""
        prefix = self.template(topic, field).fixed
        headers = [prefix + ending for ending in endings]
        tokens = []
        for header, nonce, data in zip(headers, *self.encrypt(texts, headers), strict=True):
            parts = to_base64url(nonce), to_base64url(data[:-TAG_BYTES]), to_base64url(data[-TAG_BYTES:])
            tokens.append(b"%b..%b.%b.%b" % (header, *parts))
        return tokens
