"""Where declared fields are in JSON documents. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from forebay.stream import native
from forebay.stream.core.field_path import FieldPath, parse_field_path
from forebay.stream.encryption.jwe import CannotDecrypt, Reason

_FEATURES: Final = "features"
_OTHER_NAME: Final = "input"
"""Events may have `input` instead of `features`; the scope of a token has `features` in both cases."""


class Place(NamedTuple):
    """A place where a declared field may be. name: as declared. path: with `input` for `features`, too."""

    name: str
    path: FieldPath


class Absent(Exception):
    """The document does not have the field."""


def places_of(fields: Sequence[str]) -> list[Place]:
    places = []
    for name in fields:
        path = parse_field_path(name)
        places.append(Place(name, path))
        if path[0] == _FEATURES:
            places.append(Place(name, (_OTHER_NAME, *path[1:])))
    return places


def compiled_reader(places: Sequence[Place], id_path: FieldPath) -> Any:
    """Return what finds these fields in a whole poll; None if there is no compiled part, or places overlap."""
    if native.encrypted_fields is None:
        return None
    id_names, *paths = (tuple(name.encode() for name in path) for path in (id_path, *(one.path for one in places)))
    try:
        return native.encrypted_fields.FieldReader(id_names, paths)
    except ValueError:
        return None


def find(document: dict[str, Any], path: FieldPath) -> tuple[Any, Any]:
    """Return where a field is: its object or array, and its name or index there.

    Raises Absent, and CannotDecrypt if something else is where an object must be: it may contain the plain value.
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
                raise Absent
        elif isinstance(parent, dict):
            if name not in parent:
                raise Absent
        elif parent is None:
            raise Absent
        else:
            raise CannotDecrypt(Reason.NOT_ENCRYPTED, f"{'.'.join(path[:depth])} is neither an object nor an array")
        if depth == len(path) - 1:
            return parent, key
        parent = parent[key]
    raise Absent


def id_of(document: dict[str, Any], path: FieldPath) -> str:
    """Return the id of a document as text; "" if it has none."""
    try:
        parent, last = find(document, path)
    except (Absent, CannotDecrypt):
        return ""
    found = parent[last]
    if isinstance(found, str):
        return found
    return str(found) if isinstance(found, int) and not isinstance(found, bool) else ""


_Leaf = tuple[str, ...]


def parser_of(paths: Sequence[FieldPath]) -> tuple[Any, list[_Leaf]]:
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


def raw_of(document: Any, leaf: _Leaf) -> bytes:
    """Return the JSON of a field; empty if it is absent."""
    for attribute in leaf:
        if document is msgspec.UNSET:
            return b""
        document = getattr(document, attribute)
    return bytes(document)
