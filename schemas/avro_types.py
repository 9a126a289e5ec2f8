"""Avro schemas of output records."""

from __future__ import annotations

import json
from typing import Final

from forebay.schemas.record_types import ArrayType, FieldType, MapType, RecordType

NAMESPACE: Final = "forebay"
_NAMES: Final = {
    "string": "string",
    "integer": "long",
    "float32": "float",
    "float64": "double",
    "boolean": "boolean",
}


def avro_schema(record: RecordType) -> str:
    """Return the Avro schema (.avsc) of a record."""
    return json.dumps(_record(record, {"namespace": NAMESPACE}), indent=2, ensure_ascii=False) + "\n"


def _record(record: RecordType, added: dict[str, object]) -> dict[str, object]:
    fields: list[dict[str, object]] = []
    for field in record.fields:
        type_ = _type(field.type)
        # `null` comes first, because the default of a union is of its first branch.
        optional = {"type": ["null", type_], "default": None} if field.is_optional else {"type": type_}
        fields.append({"name": field.name, "doc": field.description, **optional})
    return {"type": "record", "name": record.name, **added, "doc": record.description, "fields": fields}


def _type(type_: FieldType) -> object:
    if isinstance(type_, RecordType):
        return _record(type_, {})
    if isinstance(type_, ArrayType):
        return {"type": "array", "items": _type(type_.items)}
    if isinstance(type_, MapType):
        return {"type": "map", "values": _type(type_.values)}
    return _NAMES[type_]
