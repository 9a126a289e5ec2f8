"""Formats with schemas that have all kinds of types, whose columns are compared with their documents."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

import fastavro
import numpy as np

from forebay.stream.decode.formats.avro import AvroFormat
from forebay.stream.decode.formats.protobuf import ProtobufFormat
from forebay.stream.decode.formats.protobuf_schema import message_class
from forebay.stream.schema_registry.schema import RegisteredSchema, SchemaRef
from tests.fuzz.payloads.target import Sample, Target, TargetFormat

_FLAT: Final = {
    "type": "record",
    "name": "Flat",
    "fields": [
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        *({"name": f"f{index}", "type": kind} for index, kind in enumerate(("float", "double", "int", "long") * 2)),
        {"name": "flag", "type": "boolean"},
    ],
}  # fmt: skip
_NULLABLE: Final = {
    "type": "record",
    "name": "Nullable",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "at", "type": ["null", {"type": "long", "logicalType": "timestamp-micros"}]},
        *(
            {"name": f"f{index}", "type": kind}
            for index, kind in enumerate((["null", "float"], ["double", "null"], ["null", "int"], ["null", "string"]) * 2)
        ),
    ],
}  # fmt: skip
_NESTED: Final = {
    "type": "record",
    "name": "Nested",
    "fields": [
        {"name": "id", "type": ["long", "string"]},
        {
            "name": "user",
            "type": {
                "type": "record",
                "name": "User",
                "fields": [{"name": "age", "type": ["null", "int"]}, {"name": "name", "type": "string"}],
            },
        },
        {"name": "numbers", "type": {"type": "array", "items": "float"}},
        {"name": "tags", "type": {"type": "array", "items": ["null", "string"]}},
        {"name": "attributes", "type": {"type": "map", "values": "double"}},
        {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["A", "B", "C"]}},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
        {"name": "key", "type": {"type": "string", "logicalType": "uuid"}},
        {"name": "hash", "type": {"type": "fixed", "name": "Hash", "size": 4}},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "other", "type": ["null", "User"]},
        {"name": "again", "type": ["null", "Nested"]},
        {"name": "last", "type": "double"},
    ],
}
_PATHS: Final = {
    "Flat": ("at", "f0", "f1", "f2", "f3", "f7", "flag"),
    "Nullable": ("id", "at", "f0", "f1", "f2", "f3", "f6"),
    "Nested": ("id", "user.age", "user.name", "numbers", "kind", "price", "key", "hash", "day", "other.age", "last",
               "again.last"),
}  # fmt: skip


def _value(kind: Any, rng: np.random.Generator) -> Any:
    """Return a random value of an Avro type."""
    if isinstance(kind, list):
        return _value(kind[rng.integers(len(kind))], rng)
    name = kind.get("logicalType", kind["type"]) if isinstance(kind, dict) else kind
    if name == "record":
        return {field["name"]: _value(field["type"], rng) for field in kind["fields"]}
    makers: dict[str, Callable[[], Any]] = {
        "null": lambda: None,
        "boolean": lambda: bool(rng.integers(2)),
        "int": lambda: int(rng.integers(-(2**31), 2**31)),
        "long": lambda: int(rng.integers(-(2**40), 2**40)),
        "float": lambda: float(np.float32(rng.normal())),
        "double": lambda: float(rng.normal()),
        "string": lambda: "añ0"[: rng.integers(4)] * int(rng.integers(4)),
        "array": lambda: [_value(kind["items"], rng) for _ in range(rng.integers(4))],
        "map": lambda: {f"k{index}": _value(kind["values"], rng) for index in range(rng.integers(3))},
        "enum": lambda: str(rng.choice(kind["symbols"])),
        "fixed": lambda: rng.bytes(kind["size"]),
        "decimal": lambda: Decimal(int(rng.integers(-(10**8), 10**8))).scaleb(-2),
        "uuid": lambda: UUID(bytes=rng.bytes(16)),
        "date": lambda: date(2013, 7, 1 + int(rng.integers(30))),
        "timestamp-millis": lambda: datetime.fromtimestamp(int(rng.integers(2**31)), UTC),
        "timestamp-micros": lambda: datetime.fromtimestamp(int(rng.integers(2**31)), UTC),
        "User": lambda: {"age": None, "name": "n"},
        "Nested": lambda: None,
    }
    return makers[name]()


def avro_format(schema: Mapping[str, Any], reader: Mapping[str, Any] | None = None) -> Target:
    """Return the target of a schema."""
    name = "avro-" + schema["name"].lower() + ("" if reader is None else "-evolved")
    rng = np.random.default_rng(len(schema["fields"]))
    parsed = fastavro.parse_schema(dict(schema))
    samples = []
    for _ in range(12):
        buffer = io.BytesIO()
        fastavro.schemaless_writer(buffer, parsed, _value(schema, rng))
        samples.append(Sample(buffer.getvalue()))
    paths = [tuple(path.split(".")) for path in _PATHS[schema["name"]]]
    registered = RegisteredSchema(SchemaRef(id=1), "AVRO", json.dumps(schema))
    text = None if reader is None else json.dumps(reader)
    return Target(name, lambda: TargetFormat(AvroFormat(registered, text), paths), samples)


_READ: Final[list[dict[str, Any]]] = _NULLABLE["fields"][:6]  # type: ignore[assignment]  # mypy joins the types of values
_EVOLVED: Final = {
    **_NULLABLE,
    "fields": [
        {"name": "added", "type": "string", "default": "none"},
        *({**one, "type": ["null", "double"]} if one["name"] in ("f0", "f2") else one for one in _READ),
    ],
}

_PROTO: Final = """
syntax = "proto3";
package tests;
import "google/protobuf/timestamp.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/wrappers.proto";
message Rich {
  enum Kind { NONE = 0; SOME = 1; MANY = 2; }
  message User { optional int32 age = 1; string name = 2; }
  string id = 1;
  google.protobuf.Timestamp at = 2;
  optional float f0 = 3;
  double f1 = 4;
  int32 f2 = 5;
  sint64 f3 = 6;
  fixed32 f4 = 7;
  uint64 f5 = 8;
  bool flag = 9;
  bytes raw = 10;
  Kind kind = 11;
  User user = 12;
  repeated float numbers = 13;
  repeated string tags = 14;
  map<string, double> attributes = 15;
  oneof choice { string text = 16; int64 number = 17; User other = 18; }
  google.protobuf.DoubleValue wrapped = 19;
  google.protobuf.Struct free = 20;
  Rich again = 21;
}
"""
_PROTO_PATHS: Final = ("id", "at", "f0", "f1", "f2", "f3", "f5", "flag", "kind", "user.age", "user.name", "numbers", "number",
                       "text", "wrapped", "again.f1")  # fmt: skip


def protobuf_format() -> Target:
    """Return the target of messages with all kinds of fields."""
    registered = RegisteredSchema(SchemaRef(id=1), "PROTOBUF", _PROTO)
    rich = message_class(registered, (0,))
    rng = np.random.default_rng(3)
    samples = []
    for number in range(12):
        message = rich(
            id=f"e-{number}", f1=rng.normal(), f2=-number, f3=-(2**40), f4=number, f5=2**63, flag=bool(number % 2),
            raw=rng.bytes(3), kind=number % 3, numbers=rng.normal(size=number % 5), tags=["a", "añ"][: number % 3],
        )  # fmt: skip
        message.at.seconds, message.at.nanos = 1_372_636_800 + number, 1000 * number
        if number % 2:
            message.f0 = rng.normal()
            message.user.name, message.user.age = "n", number
            message.wrapped.value = 2.5
            message.again.f1 = 1.5
            message.attributes["k"] = 0.5
            message.free.update({"a": [1, {"b": None}], "c": "d"})
        if number % 3:
            setattr(message, *(("text", "t") if number % 3 == 1 else ("number", 7)))
        samples.append(Sample(message.SerializeToString()))
    paths = [tuple(path.split(".")) for path in _PROTO_PATHS]
    return Target(
        "protobuf-rich", lambda: TargetFormat(ProtobufFormat(registered, reads_few_at_once=True), paths), samples
    )


SCHEMA_TARGETS: Final[Mapping[str, Callable[[], Target]]] = MappingProxyType(
    {
        "avro-flat": lambda: avro_format(_FLAT),
        "avro-nullable": lambda: avro_format(_NULLABLE),
        "avro-nullable-evolved": lambda: avro_format(_NULLABLE, _EVOLVED),
        "avro-nested": lambda: avro_format(_NESTED),
        "protobuf-rich": protobuf_format,
    }
)
"""The targets by name."""
