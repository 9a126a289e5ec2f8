"""Rows of files as values in Avro, by a schema of the registry."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from typing import Any, Final

from forebay.stream.decode.formats.avro import AvroFormat
from forebay.stream.decode.formats.avro_schema import AvroType, parse_avro_schema
from forebay.stream.publish import field_values as convert
from forebay.stream.publish.event_times import TimeRule, TimeUnit
from forebay.stream.publish.row_fault import RowFault
from forebay.stream.schema_registry.framing import frame
from forebay.stream.schema_registry.schema import RegisteredSchema

_INT: Final = (-(2**31), 2**31 - 1)
_LONG: Final = (-(2**63), 2**63 - 1)
_UNITS: Final[Mapping[str, TimeUnit]] = {"timestamp-millis": "ms", "timestamp-micros": "us"}


class AvroValues:
    """Encodes rows in Avro with the prefix of the schema's id. times: how times are read.

    A field has the value of the column with its name or an alias of it; the fields of a nested record that of `outer.inner`, or
    of an object. A field without a column has its default, or null.
    """

    name: Final = "avro"
    headers: Final[tuple[tuple[str, bytes], ...]] = ()

    def __init__(self, schema: RegisteredSchema, times: TimeRule) -> None:
        references = [reference.text for reference in schema.references]
        self._parsed = parse_avro_schema(schema.text, references, is_reader=True)
        self._schema, self._format, self._times = schema, AvroFormat(schema), times
        if self._parsed.root.kind != "record":
            raise RowFault(f"the schema is {self._parsed.root.describe()}, not a record", "name another subject")

    def fields(self) -> list[str]:
        """Return the names of the fields at the top."""
        return [name for field in self._parsed.root.fields for name in (field.name, *field.aliases)]

    def encode(self, values: Mapping[str, object]) -> bytes:
        """Return the value of a record. values: of the row, nested. Raises RowFault."""
        from fastavro import schemaless_writer

        document = self._record(self._parsed.root, values, "", values.keys())
        written = io.BytesIO()
        schemaless_writer(written, self._parsed.parsed, document)
        assert self._schema.ref.id is not None
        return frame(self._schema.ref.id, written.getvalue())

    def decode(self, value: bytes) -> object:
        """Return what a value says, to be shown."""
        return self._format.document(value[5:])

    def _record(
        self, kind: AvroType, values: Mapping[str, object], path: str, columns: Collection[str]
    ) -> dict[str, object]:
        record: dict[str, object] = {}
        for field in kind.fields:
            place = f"{path}{field.name}"
            name = next((name for name in (field.name, *field.aliases) if name in values), None)
            if name is None and field.has_default:
                record[field.name] = self._default(field.type, field.default)
                continue
            value = None if name is None else values[name]
            if value is None and not _is_nullable(field.type):
                if field.has_default:
                    record[field.name] = self._default(field.type, field.default)
                    continue
                raise convert.missing(place, field.type.describe(), columns)
            record[field.name] = self._value(field.type, value, place)
        return record

    def _default(self, kind: AvroType, default: object) -> object:
        branch = kind.branches[0] if kind.kind == "union" else kind
        if isinstance(default, str) and branch.kind in ("bytes", "fixed"):
            return default.encode("latin-1")
        return None if branch.kind == "null" else self._value(branch, default, "default")

    def _value(self, kind: AvroType, value: object, path: str) -> Any:
        if kind.kind == "union":
            return self._union(kind, value, path)
        if kind.kind == "null":
            if value is not None:
                raise convert.fault(path, value, "null")
            return None
        if kind.kind == "record":
            nested = convert.structure(path, value, dict)
            assert isinstance(nested, dict)
            return self._record(kind, nested, f"{path}.", nested.keys())
        if kind.kind == "array":
            items = convert.structure(path, value, list)
            assert isinstance(items, list)
            return [self._value(kind.item_type, item, f"{path}[{index}]") for index, item in enumerate(items)]
        if kind.kind == "map":
            entries = convert.structure(path, value, dict)
            assert isinstance(entries, dict)
            return {str(name): self._value(kind.item_type, item, f"{path}.{name}") for name, item in entries.items()}
        return self._scalar(kind, value, path)

    def _scalar(self, kind: AvroType, value: object, path: str) -> object:
        if kind.logical == "decimal":
            return convert.decimal(path, value, kind.precision, kind.scale)
        if kind.logical == "date":
            return convert.day(path, value)
        if (unit := _UNITS.get(kind.logical or "")) is not None:
            return convert.time(path, value, unit, self._times)
        match kind.kind:
            case "boolean":
                return convert.boolean(path, value)
            case "int":
                return convert.integer(path, value, *_INT)
            case "long":
                return convert.integer(path, value, *_LONG)
            case "float" | "double":
                return convert.number(path, value)
            case "string":
                return convert.text(path, value)
            case "enum":
                return convert.symbol(path, value, kind.symbols)
            case "fixed":
                return convert.binary(path, value, kind.size)
            case _:
                return convert.binary(path, value)

    def _union(self, kind: AvroType, value: object, path: str) -> object:
        """Return the value for the first branch that takes it, of its own kind if there is one."""
        if value is None and _is_nullable(kind):
            return None
        branches = [branch for branch in kind.branches if branch.kind != "null"]
        branches.sort(key=lambda branch: not _is_native(branch, value))
        faults = []
        for branch in branches:
            try:
                found = self._value(branch, value, path)
            except RowFault as error:
                faults.append(error)
                continue
            # fastavro would guess among records by their fields. It finds other branches by the type of the value.
            return (branch.name, found) if branch.kind == "record" and len(branches) > 1 else found
        raise (
            faults[0]
            if len(faults) == 1
            else convert.fault(path, value, " or ".join(branch.describe() for branch in kind.branches))
        )


def _is_nullable(kind: AvroType) -> bool:
    return kind.kind == "null" or (kind.kind == "union" and any(branch.kind == "null" for branch in kind.branches))


def _is_native(kind: AvroType, value: object) -> bool:
    """Return whether a value has the Python type of the kind."""
    match value:
        case bool():
            return kind.kind == "boolean"
        case int():
            return kind.kind in ("int", "long")
        case float():
            return kind.kind in ("float", "double")
        case str():
            return kind.kind in ("string", "enum")
        case bytes():
            return kind.kind in ("bytes", "fixed")
        case list():
            return kind.kind == "array"
        case Mapping():
            return kind.kind in ("record", "map")
    return False
