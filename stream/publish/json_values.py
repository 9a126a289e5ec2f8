"""Rows of files as JSON, by a JSON Schema of the registry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from forebay.models.data.values import Instant, LocalTime
from forebay.stream.decode.formats.json_schema import JsonSchemaFormat
from forebay.stream.decode.formats.payload import InvalidPayload
from forebay.stream.publish import field_values as convert
from forebay.stream.publish.event_times import TimeRule
from forebay.stream.publish.row_fault import RowFault
from forebay.stream.publish.values import json_value
from forebay.stream.schema_registry.framing import frame
from forebay.stream.schema_registry.schema import RegisteredSchema

_LONG: Final = (-(2**63), 2**64 - 1)


class JsonSchemaValues:
    """Encodes rows as JSON with the prefix of the schema's id, and validates them. times: how times are read.

    A property has the value of the column with its name; those of an object within it that of `outer.inner`, or of an object. A
    property without a column is left out, and so is one without a value that may not be null.
    """

    name: Final = "json-schema"
    headers: Final[tuple[tuple[str, bytes], ...]] = ()

    def __init__(self, schema: RegisteredSchema, times: TimeRule) -> None:
        self._format, self._schema, self._times = JsonSchemaFormat(schema), schema, times
        parsed = orjson.loads(schema.text)
        self._root: dict[str, Any] = parsed if isinstance(parsed, dict) else {}

    def fields(self) -> list[str]:
        """Return the names of the properties at the top; none if the schema names none."""
        return list(self._root.get("properties", {}))

    def encode(self, values: Mapping[str, object]) -> bytes:
        """Return the value of a record. values: of the row, nested. Raises RowFault."""
        document = self._object(self._root, values, "")
        payload = orjson.dumps(document)
        try:
            self._format.document(payload)
        except InvalidPayload as invalid:
            raise RowFault(invalid.message, "fix the value, or the schema") from None
        assert self._schema.ref.id is not None
        return frame(self._schema.ref.id, payload)

    def decode(self, value: bytes) -> object:
        """Return what a value says, to be shown."""
        return orjson.loads(value[5:])

    def _object(self, schema: Mapping[str, Any], values: Mapping[str, object], path: str) -> dict[str, object]:
        properties = schema.get("properties", {})
        document: dict[str, object] = {}
        for name, value in values.items():
            part = properties.get(name)
            if part is None:
                if schema.get("additionalProperties", True) is not False:
                    document[name] = json_value(f"{path}{name}", value, self._times)
            elif value is not None or "null" in _types(part):
                document[name] = self._value(part, value, f"{path}{name}")
        return document

    def _value(self, schema: Any, value: object, path: str) -> object:
        types = _types(schema)
        if value is None:
            return None
        if isinstance(value, Instant | LocalTime) and "string" not in types:
            return self._times.milliseconds(f"field {path}", value)
        if isinstance(value, str) and "string" not in types:
            # The text of a CSV file.
            if "integer" in types or "number" in types:
                return convert.integer(path, value, *_LONG) if "number" not in types else convert.number(path, value)
            if "boolean" in types:
                return convert.boolean(path, value)
        if "object" in types and isinstance(schema, dict) and isinstance(value, str | Mapping):
            nested = convert.structure(path, value, dict)
            assert isinstance(nested, dict)
            return self._object(schema, nested, f"{path}.")
        if "array" in types and isinstance(schema, dict):
            items = convert.structure(path, value, list)
            assert isinstance(items, list)
            part = schema.get("items", {})
            return [self._value(part, item, f"{path}[{index}]") for index, item in enumerate(items)]
        return json_value(path, value, self._times)


def _types(schema: Any) -> list[str]:
    named = schema.get("type", []) if isinstance(schema, dict) else []
    return [named] if isinstance(named, str) else list(named)
