"""Rows of files as Protobuf messages, by a schema of the registry."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from forebay.stream.decode.formats.protobuf import ProtobufFormat
from forebay.stream.decode.formats.protobuf_schema import message_class
from forebay.stream.publish import field_values as convert
from forebay.stream.publish.event_times import TimeRule
from forebay.stream.schema_registry.framing import frame
from forebay.stream.schema_registry.schema import RegisteredSchema

_FIRST: Final = (0,)
_INTEGERS: Final[Mapping[str, tuple[int, int]]] = {
    "int32": (-(2**31), 2**31 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "uint32": (0, 2**32 - 1),
    "uint64": (0, 2**64 - 1),
}
_WRAPPERS: Final = frozenset(
    f"google.protobuf.{name}Value"
    for name in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
)


class ProtobufValues:
    """Encodes rows as the first message of a schema, with the prefix of its id. times: how times are read.

    A field has the value of the column with its name, or its name in JSON; those of a message within it that of `outer.inner`,
    or of an object. A field without a column is not set.
    """

    name: Final = "protobuf"
    headers: Final[tuple[tuple[str, bytes], ...]] = ()

    def __init__(self, schema: RegisteredSchema, times: TimeRule) -> None:
        self._schema, self._times = schema, times
        self._class = message_class(schema, _FIRST)
        self._format = ProtobufFormat(schema, _FIRST)

    def fields(self) -> list[str]:
        """Return the names of the fields at the top."""
        return [name for field in self._class.DESCRIPTOR.fields for name in (field.name, field.json_name)]

    def encode(self, values: Mapping[str, object]) -> bytes:
        """Return the value of a record. values: of the row, nested. Raises RowFault."""
        message = self._class()
        self._fill(message, values, "")
        assert self._schema.ref.id is not None
        return frame(self._schema.ref.id, message.SerializeToString(), _FIRST)

    def decode(self, value: bytes) -> object:
        """Return what a value says, to be shown."""
        return self._format.document(value[6:])

    def _fill(self, message: Any, values: Mapping[str, object], path: str) -> None:
        for field in message.DESCRIPTOR.fields:
            name = next((name for name in (field.name, field.json_name) if name in values), None)
            if name is None or values[name] is None:
                continue
            place = f"{path}{field.name}"
            oneof = field.containing_oneof
            if oneof is not None and (other := message.WhichOneof(oneof.name)) is not None:
                wanted = f"absent: {path}{other} has a value, and a message has one of the oneof {oneof.name}"
                raise convert.fault(place, values[name], wanted)
            if field.message_type is not None and field.message_type.GetOptions().map_entry:
                self._fill_map(message, field, values[name], place)
            elif _is_repeated(field):
                items = convert.structure(place, values[name], list)
                assert isinstance(items, list)
                for index, item in enumerate(items):
                    self._append(getattr(message, field.name), field, item, f"{place}[{index}]")
            elif field.message_type is not None:
                self._set_message(getattr(message, field.name), values[name], place)
            else:
                setattr(message, field.name, self._scalar(field, values[name], place))

    def _fill_map(self, message: Any, field: Any, value: object, path: str) -> None:
        entries = convert.structure(path, value, dict)
        assert isinstance(entries, dict)
        key_field, value_field = (field.message_type.fields_by_name[name] for name in ("key", "value"))
        target = getattr(message, field.name)
        for name, item in entries.items():
            key = self._scalar(key_field, name, f"{path} key")
            if value_field.message_type is not None:
                self._set_message(target[key], item, f"{path}.{name}")
            else:
                target[key] = self._scalar(value_field, item, f"{path}.{name}")

    def _append(self, target: Any, field: Any, item: object, path: str) -> None:
        if field.message_type is None:
            target.append(self._scalar(field, item, path))
        else:
            self._set_message(target.add(), item, path)

    def _set_message(self, target: Any, value: object, path: str) -> None:
        """Set a message; also the types of Google that stand for one value."""
        name = target.DESCRIPTOR.full_name
        if name == "google.protobuf.Timestamp":
            ns = convert.time(path, value, "ns", self._times)
            target.seconds, target.nanos = divmod(ns, 10**9)
        elif name == "google.protobuf.Duration":
            seconds = Decimal(str(convert.number(path, value)))
            nanos = int(seconds * 10**9)
            target.seconds, target.nanos = int(nanos / 10**9), nanos - int(nanos / 10**9) * 10**9
        elif name in _WRAPPERS:
            target.SetInParent()
            target.value = self._scalar(target.DESCRIPTOR.fields_by_name["value"], value, path)
        elif name == "google.protobuf.Struct":
            target.update(convert.structure(path, value, dict))
        else:
            nested = convert.structure(path, value, dict)
            assert isinstance(nested, dict)
            target.SetInParent()
            self._fill(target, nested, f"{path}.")

    def _scalar(self, field: Any, value: object, path: str) -> object:
        if value is None:
            raise convert.fault(path, value, "a value: Protobuf has no null here")
        if field.enum_type is not None:
            return self._enum(field.enum_type, value, path)
        if field.cpp_type in (field.CPPTYPE_INT32, field.CPPTYPE_INT64, field.CPPTYPE_UINT32, field.CPPTYPE_UINT64):
            names = {
                field.CPPTYPE_INT32: "int32",
                field.CPPTYPE_INT64: "int64",
                field.CPPTYPE_UINT32: "uint32",
                field.CPPTYPE_UINT64: "uint64",
            }
            return convert.integer(path, value, *_INTEGERS[names[field.cpp_type]])
        if field.cpp_type in (field.CPPTYPE_DOUBLE, field.CPPTYPE_FLOAT):
            return convert.number(path, value)
        if field.cpp_type == field.CPPTYPE_BOOL:
            return convert.boolean(path, value)
        return convert.binary(path, value) if field.type == field.TYPE_BYTES else convert.text(path, value)

    def _enum(self, enum: Any, value: object, path: str) -> int:
        if isinstance(value, int) and not isinstance(value, bool):
            if value not in enum.values_by_number:
                raise convert.fault(path, value, f"one of {', '.join(map(str, enum.values_by_number))}")
            return value
        number: int = enum.values_by_name[convert.symbol(path, value, list(enum.values_by_name))].number
        return number


def _is_repeated(field: Any) -> bool:
    return bool(field.is_repeated)
