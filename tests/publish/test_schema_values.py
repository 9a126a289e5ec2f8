"""Rows of files as Avro and Protobuf by a registered schema: values by the schema's types, and errors that name the field."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import orjson
import pytest

from forebay.models.data.input_row import InputRow
from forebay.models.data.values import Instant, LocalTime
from forebay.stream.decode.formats.avro import AvroFormat
from forebay.stream.decode.formats.protobuf import ProtobufFormat
from forebay.stream.publish.avro_values import AvroValues
from forebay.stream.publish.event_times import TimeRule
from forebay.stream.publish.formatted_builder import SchemaRowBuilder, nested
from forebay.stream.publish.json_values import JsonSchemaValues
from forebay.stream.publish.protobuf_values import ProtobufValues
from forebay.stream.publish.row_fault import RowFault
from forebay.stream.schema_registry.schema import RegisteredSchema, SchemaRef

TIMES = TimeRule(UTC)
NOON = 1_372_680_000_000
NULLABLE: list[object] = ["null", "int"]
AVRO = {
    "type": "record",
    "name": "Flight",
    "fields": [
        {"name": "id", "type": "string", "aliases": ["flight"]},
        {"name": "delay", "type": "double"},
        {"name": "seats", "type": NULLABLE},
        {"name": "late", "type": "boolean", "default": True},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "day", "type": ["null", {"type": "int", "logicalType": "date"}]},
        {"name": "fare", "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 6, "scale": 2}]},
        {"name": "class", "type": {"type": "enum", "name": "Class", "symbols": ["ECONOMY", "FIRST"]}},
        {
            "name": "plane",
            "type": {
                "type": "record",
                "name": "Plane",
                "fields": [{"name": "tail", "type": "string"}, {"name": "age", "type": NULLABLE, "default": None}],
            },
        },
        {"name": "legs", "type": {"type": "array", "items": "long"}, "default": []},
        {"name": "tags", "type": {"type": "map", "values": "string"}, "default": {}},
        {"name": "code", "type": ["null", "string", "long"], "default": None},
    ],
}
PROTO = """syntax = "proto3";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
message Flight {
  string id = 1; double delay = 2; optional int32 seats = 3; bool late = 4; google.protobuf.Timestamp at = 5;
  enum Class { ECONOMY = 0; FIRST = 1; }
  Class class = 6;
  message Plane { string tail = 1; google.protobuf.Int32Value age = 2; }
  Plane plane = 7; repeated int64 legs = 8; map<string, string> tags = 9; uint32 gate_number = 10; bytes raw = 11;
  oneof origin { string airport = 12; int64 airport_id = 13; }
}"""
ROW: dict[str, object] = {
    "id": "UA1",
    "delay": 4,
    "seats": None,
    "late": "false",
    "at": "2013-07-01T12:00:00Z",
    "day": "2013-07-01",
    "fare": "120.5",
    "class": "FIRST",
    "plane.tail": "00123",
    "plane.age": 7.0,
    "legs": "[1, 2]",
    "tags": {"a": "b"},
    "code": 5,
}


def avro(schema: Mapping[str, Any] = AVRO) -> tuple[AvroValues, AvroFormat]:
    registered = RegisteredSchema(SchemaRef(id=7), "AVRO", json.dumps(schema))
    return AvroValues(registered, TIMES), AvroFormat(registered)


def protobuf() -> tuple[ProtobufValues, ProtobufFormat]:
    registered = RegisteredSchema(SchemaRef(id=7), "PROTOBUF", PROTO)
    return ProtobufValues(registered, TIMES), ProtobufFormat(registered)


def test_avro_converts_by_the_types_of_the_schema() -> None:
    values, reader = avro()
    value = values.encode(nested(ROW))
    assert value[:5] == b"\0\0\0\0\7"
    assert (
        values.decode(value)
        == reader.document(value[5:])
        == {
            "id": "UA1",
            "delay": 4.0,
            "seats": None,
            "late": False,
            "at": datetime(2013, 7, 1, 12, tzinfo=UTC),
            "day": date(2013, 7, 1),
            "fare": Decimal("120.50"),
            "class": "FIRST",
            "plane": {"tail": "00123", "age": 7},
            "legs": [1, 2],
            "tags": {"a": "b"},
            "code": 5,
        }
    )


def test_avro_takes_aliases_defaults_and_the_types_of_parquet() -> None:
    values, reader = avro()
    row = {"flight": "UA1", "delay": 1.5, "at": Instant(NOON), "day": LocalTime(NOON), "class": "FIRST", "code": "x"}
    document = reader.document(values.encode({**row, "plane": {"tail": "N7"}})[5:])
    assert document["id"] == "UA1" and document["late"] is True and document["legs"] == [] and document["code"] == "x"
    assert document["day"] == date(2013, 7, 1) and document["plane"] == {"tail": "N7", "age": None}
    assert values.fields()[:3] == ["id", "flight", "delay"]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"delay": "fast"}, "field delay is 'fast'; it must be a number"),
        ({"delay": True}, "field delay is True; it must be a number"),
        ({"seats": 2**31}, "field seats is 2147483648; it must be a whole number from -2147483648 to 2147483647"),
        ({"seats": "1.5"}, "field seats is '1.5'"),
        ({"late": 1}, "field late is 1; it must be true or false"),
        ({"at": "yesterday"}, "field at is 'yesterday'"),
        ({"fare": "1.234"}, "must be a decimal with at most 6 digits, 2 of them after the point"),
        ({"fare": "12345.6"}, "must be a decimal with at most 6 digits"),
        ({"class": "first"}, "field class is 'first'; it must be one of ECONOMY, FIRST"),
        ({"class": "FIRSTS"}, "is it FIRST?"),
        ({"plane.tail": 1.5}, "field plane.tail is the floating-point number 1.5"),
        ({"legs": "[1, null]"}, "field legs[1] is None; it must be a whole number"),
        ({"legs": "1, 2"}, "it must be a list, as JSON"),
        ({"tags": 3}, "field tags is 3; it must be an object"),
        ({"code": 1.5}, "field code is 1.5; it must be null or string or long"),
        ({"id": None}, "field id has no value; it must be string"),
    ],
)
def test_an_error_names_the_field_and_what_it_must_be(changed: dict[str, object], reason: str) -> None:
    values, _ = avro()
    with pytest.raises(RowFault) as caught:
        values.encode(nested({**ROW, **changed}))
    assert reason in caught.value.reason


def test_a_field_without_a_column_names_similar_columns() -> None:
    values, _ = avro()
    with pytest.raises(RowFault, match="field delay has no value") as caught:
        values.encode(nested({"delays" if name == "delay" else name: value for name, value in ROW.items()}))
    assert "is it the column 'delays'?" in caught.value.remedy


def test_protobuf_converts_by_the_types_of_the_schema() -> None:
    values, reader = protobuf()
    value = values.encode(nested({**ROW, "gateNumber": "12", "raw": "ü"}))
    assert value[:6] == b"\0\0\0\0\7\0"
    document = reader.document(value[6:])
    expected = {
        "id": "UA1",
        "delay": 4.0,
        "late": False,
        "at": datetime(2013, 7, 1, 12, tzinfo=UTC),
        "class": "FIRST",
        "legs": [1, 2],
        "tags": {"a": "b"},
        "gate_number": 12,
        "raw": "ü".encode(),
    }
    assert {name: document[name] for name in expected} == expected
    assert document["plane"] == {"tail": "00123", "age": 7}
    assert values.decode(value) == document


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"gate_number": -1}, "field gate_number is -1; it must be a whole number from 0 to 4294967295"),
        ({"class": "THIRD"}, "field class is 'THIRD'; it must be one of ECONOMY, FIRST"),
        ({"class": 5}, "field class is 5; it must be one of 0, 1"),
        ({"plane.age": "old"}, "field plane.age is 'old'"),
        ({"legs": [1, "x"]}, "field legs[1] is 'x'"),
        ({"legs": [None]}, "Protobuf has no null here"),
        ({"tags": {"a": None}}, "field tags.a is None"),
        ({"airport": "", "airport_id": 3}, "field airport_id is 3; it must be absent: airport has a value"),
    ],
)
def test_protobuf_names_the_field_too(changed: dict[str, object], reason: str) -> None:
    values, _ = protobuf()
    with pytest.raises(RowFault) as caught:
        values.encode(nested({**ROW, **changed}))
    assert reason in caught.value.reason


def test_rows_of_csv_are_read_as_their_text_and_the_key_column_is_the_key() -> None:
    schema = {"type": "record", "name": "R", "fields": [{"name": "zip", "type": "string"}]}
    builder = SchemaRowBuilder(avro(schema)[0], None)
    row = InputRow(1, {"zip": 123, "key": 5, "other": None}, None, {"zip": "00123", "key": "05", "other": ""})
    key, value, _ = builder.build(row)
    assert avro(schema)[1].document(value[5:]) == {"zip": "00123"}
    assert key == b"05", "as in the file"
    assert builder.unused(["zip", "key", "other", "a.b"]) == ["other", "a.b"]
    with pytest.raises(RowFault, match="not parsed"):
        builder.build(InputRow(1, None, b"{}"))


def test_columns_with_dots_become_objects() -> None:
    assert nested({"a.b.c": 1, "a.d": 2, "e": 3, "f": {"g": 4}, "f.g": 5, ".h": 6}) == {
        "a": {"b": {"c": 1}, "d": 2},
        "e": 3,
        "f": {"g": 4},
        "f.g": 5,
        ".h": 6,
    }
    assert orjson.dumps(nested({"a": 1})) == b'{"a":1}'


def test_json_is_converted_and_validated_by_its_schema() -> None:
    schema = {
        "type": "object",
        "required": ["id", "delay"],
        "properties": {
            "id": {"type": "string"},
            "delay": {"type": "number", "maximum": 100},
            "seats": {"type": ["integer", "null"]},
            "late": {"type": "boolean"},
            "at": {"type": "integer"},
            "plane": {"type": "object", "properties": {"age": {"type": "integer"}}, "additionalProperties": False},
            "legs": {"type": "array", "items": {"type": "integer"}},
            "note": {"type": "string"},
        },
    }
    values = JsonSchemaValues(RegisteredSchema(SchemaRef(id=7), "JSON", json.dumps(schema)), TIMES)
    row = {"id": "007", "delay": "1.5", "seats": None, "late": "true", "at": Instant(NOON), "plane.age": "3"}
    value = values.encode(nested({**row, "plane.x": 1, "legs": '["1", 2]', "note": None, "more": 1.5}))
    assert value[:5] == b"\0\0\0\0\7"
    assert (
        orjson.loads(value[5:])
        == values.decode(value)
        == {
            "id": "007",
            "delay": 1.5,
            "seats": None,
            "late": True,
            "at": NOON,
            "plane": {"age": 3},
            "legs": [1, 2],
            "more": 1.5,
        }
    )
    assert values.fields()[:2] == ["id", "delay"]
    for changed, reason in (({"delay": 101}, "delay"), ({"delay": "x"}, "field delay"), ({"late": "no"}, "field late")):
        with pytest.raises(RowFault) as caught:
            values.encode({**row, **changed})
        assert reason in caught.value.reason
