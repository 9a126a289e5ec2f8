"""The properties of an Avro schema's fields that say what they are for: `forebay.feature`, `.role` and `.alias`. Pure."""

from __future__ import annotations

from collections import deque
from typing import Final

from forebay.stream.decode.formats.avro_schema import AvroType, record_of, unsupported
from forebay.stream.decode.formats.payload import MAX_DEPTH, FieldRoles, Path

ROLES: Final = ("id", "timestamp", "key", "model", "label", "deadline")
MAX_FIELDS: Final = 20_000


def schema_mapping(root: AvroType) -> FieldRoles:
    """Return what the properties of a schema's fields say. Raises InvalidPayload for properties that contradict each other.

    `forebay.feature` is the name of the feature that the field is. `forebay.alias` is the same, as a name or a list of names.
    `forebay.role` is one of the roles. Fields in arrays and maps have no paths, nor do those of a record within itself.
    """
    features: dict[str, Path] = {}
    roles: dict[str, Path] = {}
    todo: deque[tuple[AvroType, Path, tuple[AvroType, ...]]] = deque([(root, (), ())])
    visited = 0
    while todo:
        kind, above, records = todo.popleft()
        record = record_of(kind)
        if record is None or record in records or len(above) >= MAX_DEPTH:
            continue
        for member in record.fields:
            visited += 1
            if visited > MAX_FIELDS:
                raise unsupported(f"the Avro schema has more than {MAX_FIELDS:,} fields")
            path = (*above, member.name)
            for name in _names(member.properties.get("forebay.feature"), path):
                _add(features, name, path, "feature")
            for name in _names(member.properties.get("forebay.alias"), path):
                _add(features, name, path, "feature")
            for role in _names(member.properties.get("forebay.role"), path):
                if role not in ROLES:
                    raise unsupported(
                        f"the field {'.'.join(path)} has the role {role!r}; the roles are {', '.join(ROLES)}"
                    )
                _add(roles, role, path, "role")
            todo.append((member.type, path, (*records, record)))
    return FieldRoles(features, roles)


def _names(value: object, path: Path) -> list[str]:
    names: list[str] = []
    for name in [] if value is None else value if isinstance(value, list) else [value]:
        if not isinstance(name, str) or not name:
            raise unsupported(f"a property of the field {'.'.join(path)} is {name!r}; a name is expected")
        names.append(name)
    return names


def _add(found: dict[str, Path], name: str, path: Path, noun: str) -> None:
    if found.setdefault(name, path) != path:
        raise unsupported(f"the fields {'.'.join(found[name])} and {'.'.join(path)} both are for the {noun} {name}")
