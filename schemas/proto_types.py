"""Protobuf schemas (proto3) of output records.

Numbers of fields never change: those that were given once stand in schemas/proto/numbers.json, and new fields get the next
ones.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Final

from forebay.schemas.record_types import ArrayType, FieldType, MapType, RecordField, RecordType

PACKAGE: Final = "forebay"
MAX_LINE: Final = 110
_NAMES: Final = {
    "string": "string",
    "integer": "int64",
    "float32": "float",
    "float64": "double",
    "boolean": "bool",
}

Numbers = Mapping[str, Mapping[str, int]]
"""Numbers of fields by record and field."""


def records_of(record: RecordType) -> Iterator[RecordType]:
    """Yield a record and the records within it."""
    yield record
    for field in record.fields:
        type_ = field.type
        while isinstance(type_, ArrayType | MapType):
            type_ = type_.items if isinstance(type_, ArrayType) else type_.values
        if isinstance(type_, RecordType):
            yield from records_of(type_)


def numbered(record: RecordType, known: Numbers) -> dict[str, dict[str, int]]:
    """Return the numbers of all fields of a record: the known ones, also of removed fields, then new ones."""
    numbers: dict[str, dict[str, int]] = {}
    for part in records_of(record):
        of_part = dict(known.get(part.name, {}))
        for field in part.fields:
            of_part.setdefault(field.name, max(of_part.values(), default=0) + 1)
        numbers[part.name] = of_part
    return numbers


def proto_schema(record: RecordType, numbers: Numbers) -> str:
    """Return the Protobuf schema (.proto) of a record, whose message is the first one of the file."""
    lines = ['syntax = "proto3";', "", f"package {PACKAGE};", "", *_message(record, numbers)]
    return "\n".join(lines) + "\n"


def _message(record: RecordType, numbers: Numbers) -> list[str]:
    lines = [*_comment(record.description), f"message {record.name} {{"]
    removed = numbers[record.name].keys() - {field.name for field in record.fields}
    for name in sorted(removed, key=numbers[record.name].__getitem__):
        lines.append(f'  reserved {numbers[record.name][name]}; // "{name}"')
    for field in record.fields:
        lines += [f"  {line}" for line in _comment(field.description)]
        lines.append(f"  {_declaration(field)} = {numbers[record.name][field.name]};")
    for part in list(records_of(record))[1:]:
        if _is_direct(part, record):
            lines += ["", *(f"  {line}".rstrip() for line in _message(part, numbers))]
    return [*lines, "}"]


def _is_direct(part: RecordType, record: RecordType) -> bool:
    """Return whether a field of the record itself has this type, or has items of it."""
    return any(
        field.type == part
        or (isinstance(field.type, ArrayType) and field.type.items == part)
        or (isinstance(field.type, MapType) and field.type.values == part)
        for field in record.fields
    )


def _declaration(field: RecordField) -> str:
    if isinstance(field.type, ArrayType):
        return f"repeated {_name(field.type.items)} {field.name}"
    if isinstance(field.type, MapType):
        return f"map<string, {_name(field.type.values)}> {field.name}"
    presence = "optional " if field.is_optional and not isinstance(field.type, RecordType) else ""
    return f"{presence}{_name(field.type)} {field.name}"


def _name(type_: FieldType) -> str:
    if isinstance(type_, RecordType):
        return type_.name
    if isinstance(type_, ArrayType | MapType):
        raise ValueError("Protobuf has no lists of lists")
    return _NAMES[type_]


def _comment(text: str) -> list[str]:
    return [f"// {line}" for line in textwrap.wrap(text, MAX_LINE)]
