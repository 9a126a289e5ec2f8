"""The fields that a schema, or a sample document, has: their paths and types, for people and for proposals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from forebay.schemas.failures import FailureKind
from forebay.stream.decode.formats.factories import check_libraries
from forebay.stream.decode.formats.payload import MAX_DEPTH, InvalidPayload, Path
from forebay.stream.schema_registry.schema import RegisteredSchema

MAX_FIELDS: Final = 20_000


@dataclass(frozen=True, slots=True)
class SchemaField:
    """A field. type: as the schema names it. aliases: other names. is_object: whether other fields are within it."""

    path: Path
    type: str
    aliases: tuple[str, ...] = ()
    is_object: bool = False


def fields_of_schema(schema: RegisteredSchema) -> list[SchemaField]:
    """Return the fields of a schema. Raises InvalidPayload if it cannot be used, ConfigError if a library is missing."""
    if schema.type != "JSON":
        check_libraries([schema.type.lower()])
    if schema.type == "AVRO":
        return _of_avro(schema)
    if schema.type == "PROTOBUF":
        from forebay.stream.decode.formats.protobuf_schema import UnsupportedSchema, message_class

        try:
            descriptor = message_class(schema, (0,)).DESCRIPTOR
        except UnsupportedSchema as error:
            raise InvalidPayload(FailureKind.UNSUPPORTED_SCHEMA, str(error)) from None
        return list(_of_message(descriptor, (), ()))
    try:
        return list(_of_json_schema(orjson.loads(schema.text), ()))
    except ValueError as error:
        raise InvalidPayload(FailureKind.UNSUPPORTED_SCHEMA, f"the JSON Schema is not JSON: {error}") from None


def fields_of_document(document: Mapping[str, object], path: Path = ()) -> list[SchemaField]:
    """Return the fields of a document, with the types of their values."""
    fields: list[SchemaField] = []
    for name, value in document.items():
        place = (*path, name)
        is_object = isinstance(value, Mapping) and len(place) < MAX_DEPTH
        fields.append(SchemaField(place, _type_of(value), is_object=is_object))
        if isinstance(value, Mapping) and is_object:
            fields += fields_of_document(value, place)
    return fields[:MAX_FIELDS]


def _type_of(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "text"
        case list():
            return "array"
        case Mapping():
            return "object"
    return type(value).__name__


def _of_avro(schema: RegisteredSchema) -> list[SchemaField]:
    from forebay.stream.decode.formats.avro_schema import named_fields, parse_avro_schema, record_of

    root = parse_avro_schema(schema.text, [reference.text for reference in schema.references]).root
    return [
        SchemaField(path, _avro_type(field.type), tuple(field.aliases), is_object=record_of(field.type) is not None)
        for path, field in named_fields(root)
    ]


def _avro_type(kind: Any) -> str:
    if kind.kind == "union":
        return " or ".join(_avro_type(branch) for branch in kind.branches)
    if kind.kind == "array":
        return f"array of {_avro_type(kind.item_type)}"
    name = kind.name or kind.kind
    return f"{name} ({kind.logical})" if kind.logical else str(name)


def _of_message(descriptor: Any, path: Path, above: tuple[str, ...]) -> Iterator[SchemaField]:
    if descriptor.full_name in above or len(path) >= MAX_DEPTH:
        return
    for field in descriptor.fields:
        message = field.message_type
        is_map = message is not None and message.GetOptions().map_entry
        is_object = message is not None and not field.is_repeated and not message.full_name.startswith("google.")
        name = message.full_name if message is not None else _SCALARS.get(field.type, "enum")
        shown = "map" if is_map else f"repeated {name}" if field.is_repeated else name
        aliases = (field.json_name,) if field.json_name != field.name else ()
        yield SchemaField((*path, field.name), shown, aliases, is_object=is_object)
        if is_object:
            yield from _of_message(message, (*path, field.name), (*above, descriptor.full_name))


_SCALARS: Final = {
    1: "double", 2: "float", 3: "int64", 4: "uint64", 5: "int32", 6: "fixed64", 7: "fixed32", 8: "bool", 9: "string",
    12: "bytes", 13: "uint32", 15: "sfixed32", 16: "sfixed64", 17: "sint32", 18: "sint64",
}  # fmt: skip
"""The names of Protobuf's types by the number of each in descriptors."""


def _of_json_schema(schema: Any, path: Path) -> Iterator[SchemaField]:
    properties = schema.get("properties", {}) if isinstance(schema, dict) else {}
    for name, part in properties.items() if isinstance(properties, dict) and len(path) < MAX_DEPTH else ():
        named = part.get("type", "any") if isinstance(part, dict) else "any"
        is_object = isinstance(part, dict) and "properties" in part
        yield SchemaField(
            (*path, name), " or ".join(named) if isinstance(named, list) else str(named), is_object=is_object
        )
        yield from _of_json_schema(part, (*path, name))
