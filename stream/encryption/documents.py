"""Encrypted fields of JSON documents. Pure.

Nearly all documents have each declared field once, as a token without escapes: they are read by a parser that finds only these
fields and the id, and each token is replaced in the bytes of the document. All other documents are parsed and written again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import orjson

from forebay.stream.core.field_path import FieldPath, parse_field_path
from forebay.stream.encryption.jwe import CannotDecrypt, Cipher, Reason, TokenOpener, TokenSealer, is_token
from forebay.stream.encryption.scope import WHOLE_VALUE, header_ending

_NO_OBJECT: Final = "the value is not a JSON object, in which alone fields can be encrypted"
_BEGIN: Final = b'"eyJ'
"""The beginning of a token in a document: the Base64 of the beginning of its header."""
_FEATURES: Final = "features"
_OTHER_NAME: Final = "input"
"""Events may have `input` instead of `features`; the scope of a token has `features` in both cases."""


class Opened(NamedTuple):
    """A document without encryption. has_plain: whether a declared field was not encrypted."""

    value: bytes
    has_plain: bool


class _Field(NamedTuple):
    """A place where a declared field may be. name: as declared. path: with `input` for `features`, too."""

    name: str
    path: FieldPath


class _Absent(Exception):
    """The document does not have the field."""


def _places(fields: Sequence[str]) -> list[_Field]:
    places = []
    for name in fields:
        path = parse_field_path(name)
        places.append(_Field(name, path))
        if path[0] == _FEATURES:
            places.append(_Field(name, (_OTHER_NAME, *path[1:])))
    return places


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
        self._places = _places(fields)
        self._id_path = parse_field_path(id_field)
        self._accepts_plain = accepts_plain
        self._openers = {name: TokenOpener(topic, name, ciphers) for name in fields}
        paths = [self._id_path, *(place.path for place in self._places)]
        self._parse, leaves = _parser(paths)
        self._id_of, self._leaves = leaves[0], leaves[1:]
        self._fast = [
            (leaf, place.name, self._openers[place.name].open)
            for leaf, place in zip(self._leaves, self._places, strict=True)
        ]

    def open(self, value: bytes) -> Opened:
        """Return a document with its fields decrypted. Raises CannotDecrypt."""
        opened = self._open_plainly_encrypted(value)
        return self._open_exactly(value) if opened is None else Opened(opened, has_plain=False)

    def _open_plainly_encrypted(self, value: bytes) -> bytes | None:
        """Return the document if it is as nearly all are; None otherwise."""
        try:
            document = self._parse(value)
        except msgspec.MsgspecError:
            return None
        id_text = _raw(document, self._id_of)
        if not id_text or b"\\" in id_text:
            return None
        if id_text[0] != 34:  # a quotation mark
            if not id_text.isdigit():
                return None
            id_text = b'"%b"' % id_text
        opens = {}
        for path, name, open_token in self._fast:
            text = _raw(document, path)
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
        return b"".join(parts)

    def _open_exactly(self, value: bytes) -> Opened:
        try:
            document = orjson.loads(value)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            return self._plain(value, _NO_OBJECT)
        id_value = _find_id(document, self._id_path)
        ending = header_ending(orjson.dumps(id_value))
        has_plain = False
        for name, path in self._places:
            try:
                parent, last = _find(document, path)
            except _Absent:
                continue
            except CannotDecrypt as fault:
                if not self._accepts_plain:
                    raise _named(fault, name) from None
                has_plain = True
                continue
            text = parent[last]
            if text is None:
                continue
            if not isinstance(text, str) or not text.isascii() or not is_token(text.encode()):
                if not self._accepts_plain:
                    raise _named(CannotDecrypt(Reason.NOT_ENCRYPTED, "it is not a token"), name)
                has_plain = True
                continue
            try:
                parent[last] = _check_json(self._openers[name].open(text.encode(), ending))
            except CannotDecrypt as fault:
                raise _named(fault, name) from None
        return Opened(orjson.dumps(document), has_plain)

    def _plain(self, value: bytes, why: str) -> Opened:
        if not self._accepts_plain:
            raise CannotDecrypt(Reason.NOT_ENCRYPTED, why)
        return Opened(value, has_plain=True)


class DocumentSealer:
    """Encrypts the declared fields of documents."""

    def __init__(self, topic: str, fields: Sequence[str], *, id_field: str) -> None:
        self._topic = topic
        self._places = _places(fields)
        self._id_path = parse_field_path(id_field)

    def seal(self, values: Sequence[bytes], sealer: TokenSealer) -> list[bytes]:
        """Return JSON objects with their fields encrypted. Fields that are tokens, null or absent stay.

        Raises CannotDecrypt for a document in which a declared field cannot be.
        """
        documents = []
        targets: dict[str, list[tuple[Any, Any, bytes]]] = {}
        for value in values:
            document = orjson.loads(value)
            if not isinstance(document, dict):
                raise CannotDecrypt(Reason.NOT_ENCRYPTED, _NO_OBJECT)
            documents.append(document)
            ending = header_ending(orjson.dumps(_find_id(document, self._id_path)))
            for name, path in self._places:
                try:
                    parent, last = _find(document, path)
                except _Absent:
                    continue
                except CannotDecrypt as fault:
                    raise _named(fault, name) from None
                found = parent[last]
                if found is None or (isinstance(found, str) and is_token(found.encode())):
                    continue
                targets.setdefault(name, []).append((parent, last, ending))
        for name, places in targets.items():
            texts = [orjson.dumps(parent[last]) for parent, last, _ in places]
            tokens = sealer.seal(self._topic, name, texts, [ending for _, _, ending in places])
            for (parent, last, _), token in zip(places, tokens, strict=True):
                parent[last] = token.decode()
        return list(map(orjson.dumps, documents))


def has_only_tokens(value: bytes, fields: Sequence[str]) -> bool:
    """Return whether a value is a JSON object whose declared fields are all tokens, null or absent."""
    try:
        document = orjson.loads(value)
    except ValueError:
        return False
    if not isinstance(document, dict) or fields == (WHOLE_VALUE,):
        return False
    for _, path in _places(fields):
        try:
            parent, last = _find(document, path)
        except _Absent:
            continue
        except CannotDecrypt:
            return False
        found = parent[last]
        if found is not None and not (isinstance(found, str) and is_token(found.encode())):
            return False
    return True


def _check_json(text: bytes) -> object:
    """Return the value of a plain text. Raises CannotDecrypt if it is not one JSON value."""
    try:
        return orjson.loads(text)
    except ValueError:
        raise CannotDecrypt(Reason.MALFORMED, "the plain text is not a JSON value") from None


def _named(fault: CannotDecrypt, name: str) -> CannotDecrypt:
    detail = str(fault).removeprefix(f"{fault.reason.value}: ")
    return CannotDecrypt(fault.reason, f"the field {name}: {detail}")


def _find(document: dict[str, Any], path: FieldPath) -> tuple[Any, Any]:
    """Return where a field is: its object or array, and its name or index there.

    Raises _Absent, and CannotDecrypt if something else is where an object must be: it may contain the plain value.
    """
    parent: Any = document
    for depth, name in enumerate(path):
        key: Any = name
        if isinstance(parent, list):
            if not name.isdigit():
                raise CannotDecrypt(
                    Reason.NOT_ENCRYPTED,
                    f"{'.'.join(path[:depth])} is an array, and the field has a name; send an object",
                )
            key = int(name)
            if key >= len(parent):
                raise _Absent
        elif isinstance(parent, dict):
            if name not in parent:
                raise _Absent
        elif parent is None:
            raise _Absent
        else:
            raise CannotDecrypt(Reason.NOT_ENCRYPTED, f"{'.'.join(path[:depth])} is neither an object nor an array")
        if depth == len(path) - 1:
            return parent, key
        parent = parent[key]
    raise _Absent


def _find_id(document: dict[str, Any], path: FieldPath) -> str:
    """Return the id of a document as text; "" if it has none."""
    try:
        parent, last = _find(document, path)
    except (_Absent, CannotDecrypt):
        return ""
    found = parent[last]
    if isinstance(found, str):
        return found
    return str(found) if isinstance(found, int) and not isinstance(found, bool) else ""


_Leaf = tuple[str, ...]


def _parser(paths: Sequence[FieldPath]) -> tuple[Any, list[_Leaf]]:
    """Return a parser that finds only these fields, and for each the attributes that lead to its JSON."""
    tree: dict[str, Any] = {}
    for path in paths:
        node = tree
        for name in path[:-1]:
            node = node.setdefault(name, {})
        node.setdefault(path[-1], {})
    attributes: dict[FieldPath, _Leaf] = {}
    struct = _struct(tree, (), (), attributes)
    return msgspec.json.Decoder(struct).decode, [attributes[path] for path in paths]


def _struct(
    tree: dict[str, Any], path: FieldPath, leaf: _Leaf, attributes: dict[FieldPath, _Leaf]
) -> type[msgspec.Struct]:
    fields: list[Any] = []
    names = {}
    for index, (name, below) in enumerate(tree.items()):
        attribute = f"f{index}"
        names[attribute] = name
        if below:
            inner = _struct(below, (*path, name), (*leaf, attribute), attributes)
            fields.append((attribute, inner | msgspec.UnsetType, msgspec.UNSET))
        else:
            attributes[(*path, name)] = (*leaf, attribute)
            fields.append((attribute, msgspec.Raw, msgspec.Raw(b"")))
    return msgspec.defstruct("Fields", fields, rename=names, gc=False)


def _raw(document: Any, leaf: _Leaf) -> bytes:
    """Return the JSON of a field; empty if it is absent."""
    for attribute in leaf:
        if document is msgspec.UNSET:
            return b""
        document = getattr(document, attribute)
    return bytes(document)
