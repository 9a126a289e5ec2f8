"""Encrypted fields of JSON documents. Pure.

Nearly all documents have each declared field once, as a token without escapes. The compiled part reads a whole poll of them,
and each token is replaced in the bytes of its document. Its twin finds the fields by a parser for these and the id alone. All
other documents are parsed and written again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import orjson

from forebay.stream.core.field_path import parse_field_path
from forebay.stream.encryption.field_places import (
    Absent,
    compiled_reader,
    find,
    id_of,
    parser_of,
    places_of,
    raw_of,
)
from forebay.stream.encryption.json_text import MAX_NESTING, from_json, may_repeat_names, to_json
from forebay.stream.encryption.jwe import (
    CannotDecrypt,
    Cipher,
    Reason,
    TokenOpener,
    TokenSealer,
    is_token,
    resembles_token,
)
from forebay.stream.encryption.scope import WHOLE_VALUE, header_ending

_NO_OBJECT: Final = "the value is not a JSON object, in which alone fields can be encrypted"
_BEGIN: Final = b'"eyJ'
"""The beginning of a token in a document: the Base64 of the beginning of its header."""
_MAX_INTEGER_ID: Final = 18
"""Digits of an integer id that is not parsed."""

_PLAIN_NAME: Final = re.compile(rb'"[^\\/\x7f-\xff]*"')
"""A name that can be written in another way with escapes of ASCII characters only."""
_ASCII_ESCAPE: Final = re.compile(rb"\\u00[2-7]")
_ESCAPE: Final = re.compile(rb"\\")


class Opened(NamedTuple):
    """A document without encryption. has_plain: whether a declared field was not encrypted, or may be there twice."""

    value: bytes
    has_plain: bool


class DocumentOpener:
    """Decrypts the declared fields of the documents of a topic.

    fields: paths. id_field: the path of the event's id.
    accepts_plain: whether declared fields may be plain values.
    """

    def __init__(
        self,
        topic: str,
        fields: Sequence[str],
        ciphers: Mapping[str, Cipher],
        *,
        id_field: str,
        accepts_plain: bool,
    ) -> None:
        self._places = places_of(fields)
        self._id_path = parse_field_path(id_field)
        self._accepts_plain = accepts_plain
        self._openers = {name: TokenOpener(topic, name, ciphers) for name in fields}
        paths = [self._id_path, *(place.path for place in self._places)]
        self._parse, leaves = parser_of(paths)
        self._id_of, self._leaves = leaves[0], leaves[1:]
        self._fast = [
            (leaf, place.name, self._openers[place.name].open)
            for leaf, place in zip(self._leaves, self._places, strict=True)
        ]
        self._names = {orjson.dumps(name) for path in paths for name in path}
        self._escapes = _ASCII_ESCAPE if all(map(_PLAIN_NAME.fullmatch, self._names)) else _ESCAPE
        self._reader = compiled_reader(self._places, self._id_path)

    def open_all(self, values: Sequence[bytes | None]) -> tuple[list[bytes | None], Sequence[int]]:
        """Return the documents of a poll with their fields decrypted, and the indices of those that `open` has to decrypt.

        values: a sequence, or a `ByteColumn`. Nothing is read without the compiled part.
        """
        if self._reader is None:
            return [None] * len(values), range(len(values))
        templates, decrypts = [], []
        for index, place in enumerate(self._places):
            for template, cipher in self._openers[place.name].templates:
                templates.append((index, *template))
                decrypts.append(cipher.decrypt)
        tokens = self._reader.tokens(values, templates, decrypts)
        plains: list[bytes | None] = []
        for decrypt, nonce, text, header in zip(
            tokens.decrypts, tokens.nonces, tokens.texts, tokens.headers, strict=True
        ):
            try:
                plains.append(decrypt(nonce, text, header))
            except Exception:  # InvalidTag; `open` finds the reason
                plains.append(None)
        opened: tuple[list[bytes | None], Sequence[int]] = tokens.document_values(plains)
        return opened

    def open(self, value: bytes) -> Opened:
        """Return a document with its fields decrypted. Raises CannotDecrypt."""
        opened = self._open_plainly_encrypted(value)
        return self._open_exactly(value) if opened is None else Opened(opened, has_plain=False)

    def _open_plainly_encrypted(self, value: bytes) -> bytes | None:
        """Return the document if it is as nearly all are; None otherwise."""
        if self._may_repeat_fields(value):
            return None
        try:
            document = self._parse(value)
        except (msgspec.MsgspecError, RecursionError):
            return None
        id_text = raw_of(document, self._id_of)
        if not id_text or b"\\" in id_text:
            return None
        if id_text[0] != 34:  # a quotation mark
            if not id_text.isdigit() or len(id_text) > _MAX_INTEGER_ID:
                return None
            id_text = b'"%b"' % id_text
        opens = {}
        for path, name, open_token in self._fast:
            text = raw_of(document, path)
            if text and text != b"null":
                opens[text] = name, open_token
        # Each beginning of a token must be that of a declared field: none may be elsewhere, or in two fields.
        pieces = value.split(_BEGIN)
        if len(pieces) != len(opens) + 1:
            return None
        ending = header_ending(id_text)
        parts = pieces[:1]
        for piece in pieces[1:]:
            token, _, rest = piece.partition(b'"')
            found = opens.pop(b'"eyJ%b"' % token, None)
            if found is None:
                return None
            name, open_token = found
            try:
                plain = open_token(b"eyJ" + token, ending)
                _check_json(plain)
            except CannotDecrypt as fault:
                raise _named(fault, name) from None
            parts += (plain, rest)
        opened = b"".join(parts)
        if opened.count(b"[") + opened.count(b"{") > MAX_NESTING:
            to_json(from_json(opened))  # as the exact path, which refuses what is nested too deeply
        return opened

    def _open_exactly(self, value: bytes) -> Opened:
        try:
            document = from_json(value)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            return self._plain(value, _NO_OBJECT)
        id_value = id_of(document, self._id_path)
        ending = header_ending(orjson.dumps(id_value))
        has_plain = False
        for name, path in self._places:
            try:
                parent, last = find(document, path)
            except Absent:
                continue
            except CannotDecrypt as fault:
                if not self._accepts_plain:
                    raise _named(fault, name) from None
                has_plain = True
                continue
            text = parent[last]
            if text is None:
                continue
            if not isinstance(text, str) or not text.isascii() or not resembles_token(text.encode()):
                if not self._accepts_plain:
                    raise _named(CannotDecrypt(Reason.NOT_ENCRYPTED, "it is not a token"), name)
                has_plain = True
                continue
            try:
                parent[last] = _check_json(self._openers[name].open(text.encode(), ending))
            except CannotDecrypt as fault:
                raise _named(fault, name) from None
        has_plain = has_plain or (self._may_repeat_fields(value) and may_repeat_names(value))
        return Opened(to_json(document), has_plain)

    def _may_repeat_fields(self, value: bytes) -> bool:
        """Return whether declared fields may be there twice, as written or with escapes: a parser sees one of them."""
        is_repeated = any(value.count(name) > 1 for name in self._names)
        return is_repeated or (b"\\" in value and self._escapes.search(value) is not None)

    def _plain(self, value: bytes, why: str) -> Opened:
        if not self._accepts_plain:
            raise CannotDecrypt(Reason.NOT_ENCRYPTED, why)
        return Opened(value, has_plain=True)


class DocumentSealer:
    """Encrypts the declared fields of documents."""

    def __init__(self, topic: str, fields: Sequence[str], *, id_field: str) -> None:
        self._topic = topic
        self._places = places_of(fields)
        self._id_path = parse_field_path(id_field)
        self._reader = compiled_reader(self._places, self._id_path)

    def seal(self, values: Sequence[bytes], sealer: TokenSealer) -> list[bytes]:
        """Return JSON objects with their fields encrypted. Fields that are tokens, null or absent stay.

        Raises CannotDecrypt for a document in which a declared field cannot be, and ValueError for one that is not JSON.
        """
        if self._reader is None:
            return self._seal_exactly(values, sealer)
        templates = [(index, *sealer.template(self._topic, place.name)) for index, place in enumerate(self._places)]
        texts = self._reader.texts(values, templates)
        sealed, others = texts.document_values(*sealer.encrypt(texts.texts, texts.headers))
        if others:
            exact = self._seal_exactly([values[index] for index in others], sealer)
            for index, value in zip(others, exact, strict=True):
                sealed[index] = value
        found: list[bytes] = sealed
        return found

    def _seal_exactly(self, values: Sequence[bytes], sealer: TokenSealer) -> list[bytes]:
        documents = []
        targets: dict[str, list[tuple[Any, Any, bytes]]] = {}
        for value in values:
            document = from_json(value)
            if not isinstance(document, dict):
                raise CannotDecrypt(Reason.NOT_ENCRYPTED, _NO_OBJECT)
            documents.append(document)
            ending = header_ending(orjson.dumps(id_of(document, self._id_path)))
            for name, path in self._places:
                try:
                    parent, last = find(document, path)
                except Absent:
                    continue
                except CannotDecrypt as fault:
                    raise _named(fault, name) from None
                found = parent[last]
                if found is None or (isinstance(found, str) and is_token(found.encode())):
                    continue
                targets.setdefault(name, []).append((parent, last, ending))
        for name, places in targets.items():
            texts = [to_json(parent[last]) for parent, last, _ in places]
            tokens = sealer.seal(self._topic, name, texts, [ending for _, _, ending in places])
            for (parent, last, _), token in zip(places, tokens, strict=True):
                parent[last] = token.decode()
        return list(map(to_json, documents))


def has_only_tokens(value: bytes, fields: Sequence[str]) -> bool:
    """Return whether a value is a JSON object whose declared fields are all tokens, null or absent, and not there twice."""
    try:
        document = orjson.loads(value)
    except ValueError:
        return False
    if not isinstance(document, dict) or fields == (WHOLE_VALUE,):
        return False
    for _, path in places_of(fields):
        try:
            parent, last = find(document, path)
        except Absent:
            continue
        except CannotDecrypt:
            return False
        found = parent[last]
        if found is not None and not (isinstance(found, str) and is_token(found.encode())):
            return False
    return not may_repeat_names(value)


def _check_json(text: bytes) -> object:
    """Return the value of a plain text. Raises CannotDecrypt if it is not one JSON value."""
    try:
        return from_json(text)
    except ValueError:
        raise CannotDecrypt(Reason.MALFORMED, "the plain text is not a JSON value") from None


def _named(fault: CannotDecrypt, name: str) -> CannotDecrypt:
    detail = str(fault).removeprefix(f"{fault.reason.value}: ")
    return CannotDecrypt(fault.reason, f"the field {name}: {detail}")
