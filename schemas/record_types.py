"""The types of output records, from which Avro and Protobuf schemas are written. They come from the JSON Schemas.

All formats have the same fields with the same units: a time is an integer in ms since the Unix epoch in each of them. An
optional field, and one that may be null, is null in Avro and has presence in Protobuf.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

from forebay.schemas.shapes import Schema

Scalar = Literal["string", "integer", "float32", "float64", "boolean"]


@dataclass(frozen=True, slots=True)
class ArrayType:
    """An array."""

    items: FieldType


@dataclass(frozen=True, slots=True)
class MapType:
    """An object with any names."""

    values: FieldType


@dataclass(frozen=True, slots=True)
class RecordType:
    """An object with named fields.

    name: full name without the namespace, such as PredictionSource.
    """

    name: str
    description: str
    fields: tuple[RecordField, ...]


FieldType = Scalar | ArrayType | MapType | RecordType


@dataclass(frozen=True, slots=True)
class RecordField:
    """A field of a record. is_optional: it may be absent or null, which is the same."""

    name: str
    type: FieldType
    is_optional: bool
    description: str


def record_type(name: str, schema: Schema) -> RecordType:
    """Return the type of the objects that a JSON Schema describes.

    Raises ValueError for a schema without a counterpart, such as an object without named fields or a field of several types.
    """
    required = cast("list[str]", schema.get("required", []))
    properties = cast("dict[str, Schema]", schema["properties"])
    fields = []
    for field, part in properties.items():
        types, is_nullable = _types(part, field)
        fields.append(
            RecordField(
                field,
                _field_type(f"{name}{_capitalised(field)}", types, part),
                is_nullable or field not in required,
                str(part.get("description", "")),
            )
        )
    return RecordType(name, str(schema.get("description", "")), tuple(fields))


def _types(schema: Schema, field: str) -> tuple[str, bool]:
    """Return the only type besides null, and whether null is allowed."""
    if "const" in schema or "enum" in schema:
        values = cast("list[object]", schema.get("enum", [schema.get("const")]))
        kinds = {type(value) for value in values}
        if kinds == {str}:
            return "string", False
        if kinds == {int}:
            return "integer", False
        raise ValueError(f"{field}: values of several types")
    names = schema.get("type")
    listed = [names] if isinstance(names, str) else list(cast("list[str]", names or []))
    others = [name for name in listed if name != "null"]
    if len(others) != 1:
        raise ValueError(f"{field}: must have one type besides null, and has {listed}")
    return others[0], "null" in listed


def _field_type(name: str, type_: str, schema: Schema) -> FieldType:
    if type_ == "number":
        return "float32" if schema.get("format") == "float" else "float64"
    if type_ in ("string", "integer", "boolean"):
        return cast("Scalar", type_)
    if type_ == "array":
        items = cast("Schema", schema["items"])
        return ArrayType(_field_type(f"{name}Item", _types(items, name)[0], items))
    if type_ == "object" and "properties" in schema:
        return record_type(name, schema)
    if type_ == "object" and isinstance(schema.get("additionalProperties"), dict):
        values = cast("Schema", schema["additionalProperties"])
        return MapType(_field_type(f"{name}Value", _types(values, name)[0], values))
    raise ValueError(f"{name}: {type_} has no counterpart")


def _capitalised(field: str) -> str:
    return "".join(part.capitalize() for part in field.split("_"))
