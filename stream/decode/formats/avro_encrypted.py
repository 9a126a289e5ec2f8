"""Avro payloads with fields that Confluent's rules encrypted: each encrypted field is replaced in the bytes of the payload."""

from __future__ import annotations

import binascii
import contextlib
import threading
from collections.abc import Mapping
from typing import Any, Final

from forebay.stream.decode.formats.avro_check import AvroChecker
from forebay.stream.decode.formats.avro_schema import AvroField, AvroType, parse_avro_schema
from forebay.stream.decode.formats.payload import InvalidPayload, invalid_payload
from forebay.stream.encryption.jwe import CannotDecrypt, Cipher, MakeCipher, Reason
from forebay.stream.schema_registry.schema import RegisteredSchema

NONCE_BYTES: Final = 12
_Span = tuple[int, int, int, bool]


class EncryptedAvroFields:
    """Decrypts the payloads of one writer schema. Raises InvalidPayload if the schema cannot be used.

    make_cipher: returns AES-GCM with a key.
    """

    def __init__(self, schema: RegisteredSchema, make_cipher: MakeCipher) -> None:
        root = parse_avro_schema(schema.text, [reference.text for reference in schema.references]).root
        # What was encrypted last is decrypted first.
        self._steps = [
            (_TaggedFields(root, keys.tags), {subject: make_cipher(key) for subject, key in keys.keys.items()})
            for keys in reversed(schema.field_keys)
        ]

    def open(self, payload: bytes, subject: str) -> bytes:
        """Return a payload without encryption. subject: whose key is tried first. Raises CannotDecrypt."""
        for fields, ciphers in self._steps:
            payload = self._open_step(payload, fields, _in_order(ciphers, subject))
        return payload

    def _open_step(self, payload: bytes, fields: _TaggedFields, ciphers: list[Cipher]) -> bytes:
        try:
            spans = fields.find(payload)
        except InvalidPayload:
            raise CannotDecrypt(Reason.MALFORMED, "the payload is not a value of its Avro schema") from None
        parts: list[bytes] = []
        at = 0
        for begin, content, end, is_text in spans:
            plain = _decrypted(payload[content:end], ciphers, is_text=is_text)
            parts += (payload[at:begin], _varint(len(plain)), plain)
            at = end
        return b"".join((*parts, payload[at:]))


def _in_order(ciphers: Mapping[str, Cipher], subject: str) -> list[Cipher]:
    """Return the cipher of the subject; all of them if it has none, as with another naming of subjects."""
    own = ciphers.get(subject)
    return list(ciphers.values()) if own is None else [own]


def _decrypted(data: bytes, ciphers: list[Cipher], *, is_text: bool) -> bytes:
    if is_text:
        try:
            data = binascii.a2b_base64(data, strict_mode=True)
        except ValueError:
            raise CannotDecrypt(Reason.NOT_ENCRYPTED, "a field under an ENCRYPT rule is not in Base64") from None
    for cipher in ciphers:
        # InvalidTag of the library, or ValueError if it is too short.
        with contextlib.suppress(Exception):
            return cipher.decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], b"")
    raise CannotDecrypt(
        Reason.DAMAGED, "a field under an ENCRYPT rule is not encrypted, was changed, or has another key"
    )


def _varint(size: int) -> bytes:
    """Return a length as Avro writes it: zigzag, seven bits a byte."""
    left, written = size << 1, bytearray()
    while left > 0x7F:
        written.append(left & 0x7F | 0x80)
        left >>= 7
    return bytes([*written, left])


class _TaggedFields(AvroChecker):
    """Finds the strings and bytes of fields with a tag, also within their unions, arrays and maps."""

    def __init__(self, root: AvroType, tags: frozenset[str]) -> None:
        self._tags = tags
        self._is_tagged = False
        self._spans: list[_Span] = []
        self._lock = threading.Lock()
        super().__init__(root)

    def find(self, payload: bytes) -> list[_Span]:
        """Return where each value and its content begin, where it ends, and whether it is a text. Raises InvalidPayload."""
        with self._lock:
            self._spans = []
            self.check(payload)
            return self._spans

    def _check_member(self, member: AvroField) -> Any:
        outer, self._is_tagged = self._is_tagged, not self._tags.isdisjoint(member.tags)
        try:
            return super()._check_member(member)
        finally:
            self._is_tagged = outer

    def _check(self, kind: AvroType) -> Any:
        check = super()._check(kind)
        if not self._is_tagged or kind.kind not in ("string", "bytes") or kind.logical is not None:
            return check
        is_text = kind.kind == "string"

        def note(payload: Any, position: int, depth: int) -> int:
            end: int = check(payload, position, depth)
            self._spans.append((position, payload.read_long(position)[1], end, is_text))
            return end

        return note

    def _check_blocks(self, kind: AvroType) -> Any:
        check = super()._check_blocks(kind)
        if not self._is_tagged:
            return check

        def refuse_sizes(payload: Any, position: int, depth: int) -> int:
            if payload.read_long(position)[0] < 0:  # the size of the block would change
                raise invalid_payload(f"a block of an encrypted {kind.kind} has a size in bytes")
            return int(check(payload, position, depth))

        return refuse_sizes
