from __future__ import annotations

import io
import json
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import fastavro
import numpy as np
import pytest

from forebay.schemas.failures import FailureKind
from forebay.stream.decode.formats.avro import AvroFormat
from forebay.stream.decode.formats.avro_schema import parse_avro_schema
from forebay.stream.decode.formats.payload import Column, InvalidPayload
from forebay.stream.schema_registry.schema import ReferencedSchema, RegisteredSchema, SchemaRef


def record_schema(*fields: Any, **more: Any) -> dict[str, Any]:
    """Return a schema. Fields are a name and a type, or complete."""
    members = [{"name": f[0], "type": f[1]} if isinstance(f, tuple) else f for f in fields]
    return {"type": "record", "name": "Event", "fields": members, **more}


def avro_format(*fields: Any, reader: Any = None) -> AvroFormat:
    return AvroFormat(json.dumps(record_schema(*fields)), None if reader is None else json.dumps(reader))


def encode(schema: Any, value: Any) -> bytes:
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, fastavro.parse_schema(schema), value)
    return buffer.getvalue()


def long(value: int) -> bytes:
    return encode("long", value)


def failure(avro: AvroFormat, payload: bytes) -> InvalidPayload:
    """Return why a payload is invalid, having checked that the columnar path suspects it."""
    with pytest.raises(InvalidPayload) as caught:
        avro.document(payload)
    parsed = avro.columns([payload, payload], [], start=0)
    assert parsed is None or parsed.suspects_B.all()
    assert "\n" not in caught.value.message
    return caught.value


def column(avro: AvroFormat, payloads: list[bytes], *path: str) -> Column:
    """Return a column of payloads. None may be a suspect."""
    parsed = avro.columns(payloads, [path], start=0)
    assert parsed is not None and not parsed.suspects_B.any()
    return parsed.columns[path]


class TestDocument:
    def test_logical_types_are_python_values(self) -> None:
        avro = avro_format(
            ("day", {"type": "int", "logicalType": "date"}),
            ("clock", {"type": "long", "logicalType": "time-micros"}),
            ("at", {"type": "long", "logicalType": "timestamp-micros"}),
            ("local", {"type": "long", "logicalType": "local-timestamp-millis"}),
            ("nanos", {"type": "long", "logicalType": "timestamp-nanos"}),
            ("price", {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}),
            ("uuid", {"type": "string", "logicalType": "uuid"}),
        )
        payload = long(19_000) + long(1_500_000) + long(2_000_001) + long(3_000) + long(4) + b"\x04\x01\x00" + b"\x02u"
        assert avro.document(payload) == {
            "day": date(2022, 1, 8),
            "clock": time(0, 0, 1, 500_000),
            "at": datetime(1970, 1, 1, 0, 0, 2, 1, tzinfo=UTC),
            "local": datetime(1970, 1, 1, 0, 0, 3, tzinfo=UTC),
            "nanos": 4,
            "price": Decimal("2.56"),
            "uuid": "u",
        }

    def test_the_schema_of_a_registry_with_references(self) -> None:
        schema = RegisteredSchema(
            SchemaRef(id=7),
            "AVRO",
            json.dumps(record_schema(("user", "com.x.User"), namespace="com.y")),
            references=(
                ReferencedSchema(
                    "com.x.Name", "name", 1, json.dumps({**record_schema(("first", "string")), "name": "com.x.Name"})
                ),
                ReferencedSchema(
                    "com.x.User", "user", 3, json.dumps({**record_schema(("name", "Name")), "name": "com.x.User"})
                ),
            ),
        )
        avro = AvroFormat(schema)
        assert avro.document(b"\x06Ada") == {"user": {"name": {"first": "Ada"}}}
        assert column(avro, [b"\x06Ada"], "user", "name", "first").values.tolist() == ["Ada"]

    def test_a_union_of_records_is_an_event_type_a_branch(self) -> None:
        first, second = record_schema(("x", "double")), {**record_schema(("y", "string")), "name": "Other"}
        avro = AvroFormat(json.dumps([first, second]))
        assert avro.document(b"\x02\x02a") == {"y": "a"}
        assert avro.columns([b"\x02\x02a"], [("y",)], start=0) is None

    def test_defaults_of_the_reader_have_the_types_of_documents(self) -> None:
        reader = record_schema(
            ("x", "double"),
            {"name": "raw", "type": "bytes", "default": "\u00ff"},
            {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}, "default": 1_000},
        )
        avro = avro_format(("x", "int"), reader=reader)
        expected = {"x": 3.0, "raw": b"\xff", "at": datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)}
        assert avro.document(b"\x06") == expected


class TestHostilePayloads:
    @pytest.mark.parametrize(
        ("kind", "payload", "message"),
        [
            ("string", long(1 << 60), "are announced"),
            ("bytes", long(-1), "are announced"),
            ("string", b"\x02\xff", "not UTF-8"),
            ("long", b"\xff" * 9 + b"\x02", "more than 64 bits"),
            ("int", long(1 << 31), "an int"),
            ("boolean", b"\x02", "a boolean is 0 or 1"),
            ("double", b"\0" * 7, "8 bytes are announced"),
            ({"type": "enum", "name": "E", "symbols": ["A"]}, b"\x02", "an index of the symbols"),
            (["null", "int"], b"\x04", "has the branch 2"),
            (["null", "int"], b"\x01", "has the branch -1"),
            ({"type": "array", "items": "null"}, long(1 << 60) + b"\0", "too many values"),
            (
                {"type": "array", "items": {**record_schema(), "name": "Empty"}},
                long(1 << 60) + b"\0",
                "too many values",
            ),
            ({"type": "array", "items": "double"}, long(1 << 60) + b"\0", "too many values"),
            ({"type": "array", "items": "long"}, b"\x01\x04\x02\0\0", "does not end"),
            ({"type": "array", "items": "long"}, b"\x01" + long(1 << 60) + b"\x02\0", "are announced"),
            ({"type": "map", "values": "null"}, long(1 << 60) + b"\0", "too many values"),
            ({"type": "map", "values": "null"}, b"\x02", "ends within a value"),
            ({"type": "int", "logicalType": "date"}, long(3_000_000), "date"),
            ({"type": "long", "logicalType": "timestamp-micros"}, long(1 << 60), "timestamp-micros"),
            ({"type": "bytes", "logicalType": "decimal", "precision": 2}, b"\x04\x03\xe8", "more than 2 digits"),
            ({"type": "bytes", "logicalType": "decimal", "precision": 2}, long(1_000) + b"\x01" * 1_000, "2 digits"),
        ],
    )
    def test_a_payload_that_is_not_of_its_schema(self, kind: Any, payload: bytes, message: str) -> None:
        fault = failure(avro_format(("f", kind)), payload)
        assert fault.kind is FailureKind.INVALID_PAYLOAD
        assert message in fault.message

    def test_bytes_after_the_value(self) -> None:
        assert "2 bytes follow" in failure(avro_format(("f", "int")), b"\x02\0\0").message

    def test_recursion_is_limited(self) -> None:
        avro = avro_format(("next", ["null", "Event"]))
        assert avro.document(b"\x02\x02\0") == {"next": {"next": {"next": None}}}
        assert "nested more than 64 levels" in failure(avro, b"\x02" * 500_000 + b"\0").message

    def test_an_array_of_many_integers_is_read(self) -> None:
        avro = avro_format(("f", {"type": "array", "items": "int"}), ("x", "double"))
        payload = long(100_000) + b"\x02" * 100_000 + b"\0" + bytes(8)
        parsed = avro.columns([payload, b"\x02\x02\0" + bytes(8)], [("x",)], start=0)
        assert parsed is not None and parsed.suspects_B.tolist() == [True, False]
        assert len(avro.document(payload)["f"]) == 100_000  # type: ignore[arg-type]

    def test_an_array_of_many_blocks_does_not_take_many_steps(self) -> None:
        avro = avro_format(("f", {"type": "array", "items": "float"}))
        payload = (b"\x02" + bytes(4)) * 200_000 + b"\0"
        parsed = avro.columns([payload, b"\x02\0\0\0\0\0"], [], start=0)
        assert parsed is not None and parsed.suspects_B.tolist() == [True, False]

    def test_a_prefix_longer_than_the_value(self) -> None:
        parsed = avro_format(("f", "int")).columns([b"\0", b"\0\0\0\0\1\2"], [("f",)], start=5)
        assert parsed is not None and parsed.suspects_B.tolist() == [True, False]


class TestColumns:
    def test_payloads_of_one_length_are_not_copied_field_by_field(self) -> None:
        avro = avro_format(("id", "double"), ("ok", "boolean"), ("x", "float"))
        payloads = [np.float64(i).tobytes() + bytes([i % 2]) + np.float32(i / 2).tobytes() for i in range(4)]
        parsed = avro.columns(payloads, [("id",), ("x",), ("ok",)], start=0)
        assert parsed is not None and not parsed.suspects_B.any()
        ids, x = parsed.columns[("id",)].values, parsed.columns[("x",)].values
        assert ids.tolist() == [0, 1, 2, 3] and x.tolist() == [0, 0.5, 1, 1.5] and x.dtype == np.float32
        assert ids.base is not None  # a view of the joined payloads
        assert parsed.columns[("ok",)].values.tolist() == [False, True, False, True]

    def test_a_schema_of_many_fields(self) -> None:
        names = [f"f{i}" for i in range(10_000)]
        avro = avro_format(*((name, "double") for name in names))
        payload = np.arange(len(names), dtype="<f8").tobytes()
        parsed = avro.columns([payload] * 2, [(name,) for name in names], start=0)
        assert parsed is not None and not parsed.suspects_B.any()
        assert [column.values[1] for column in parsed.columns.values()] == list(avro.document(payload).values())

    def test_a_neighbour_of_a_damaged_payload_is_unaffected(self) -> None:
        avro = avro_format(("name", "string"), ("x", "double"))
        good = b"\x06abc" + np.float64(2.5).tobytes()
        parsed = avro.columns([good, good[:-1], b"", good + b"\0", good], [("name",), ("x",)], start=0)
        assert parsed is not None and parsed.suspects_B.tolist() == [False, True, True, True, False]
        assert parsed.columns[("x",)].values[[0, 4]].tolist() == [2.5, 2.5]
        assert parsed.columns[("name",)].values[[0, 4]].tolist() == ["abc", "abc"]

    def test_an_array_of_numbers_is_a_matrix_and_can_be_indexed(self) -> None:
        avro = avro_format(("f", {"type": "array", "items": "float"}), ("n", {"type": "array", "items": "int"}))
        payload = b"\x04" + np.array([1, 2], dtype="<f4").tobytes() + b"\0" + b"\x04\x02\x80\x01\0"
        assert column(avro, [payload] * 3, "f").values.tolist() == [[1, 2]] * 3
        assert column(avro, [payload] * 3, "n").values.tolist() == [[1, 64]] * 3
        assert column(avro, [payload] * 3, "f", "1").values.tolist() == [2, 2, 2]
        absent = column(avro, [payload], "f", "2").missing_B
        assert absent is not None and absent.all()

    def test_an_array_of_another_length_than_most_is_a_suspect(self) -> None:
        avro = avro_format(("f", {"type": "array", "items": "double"}))
        one, two = b"\x02" + bytes(8) + b"\0", b"\x04" + bytes(16) + b"\0"
        parsed = avro.columns([one, two, one], [("f",)], start=0)
        assert parsed is not None and parsed.suspects_B.tolist() == [False, True, False]

    def test_arrays_and_maps_are_skipped(self) -> None:
        schema = record_schema(
            ("a", {"type": "array", "items": ["null", "string"]}),
            ("m", {"type": "map", "values": {"type": "array", "items": "boolean"}}),
            ("x", "double"),
        )
        documents = [{"a": ["x"] * i + [None], "m": {"k": [True] * i, "é": []}, "x": float(i)} for i in range(20)]
        avro = AvroFormat(json.dumps(schema))
        found = column(avro, [encode(schema, document) for document in documents], "x")
        assert found.values.tolist() == [float(i) for i in range(20)]

    def test_a_recursive_record_is_skipped(self) -> None:
        node = {
            "type": "record",
            "name": "Node",
            "fields": [{"name": "children", "type": {"type": "array", "items": "Node"}}],
        }
        schema = record_schema(("tree", node), ("x", "double"))
        tree = {"children": [{"children": []}, {"children": [{"children": []}]}]}
        payloads = [encode(schema, {"tree": tree, "x": 1.0}), encode(schema, {"tree": {"children": []}, "x": 2.0})]
        assert column(AvroFormat(json.dumps(schema)), payloads, "x").values.tolist() == [1, 2]

    def test_entries_of_a_map_are_read_by_their_keys(self) -> None:
        schema = record_schema(("features", {"type": "map", "values": ["null", "double"]}), ("x", "string"))
        avro = AvroFormat(json.dumps(schema))
        keys = ["age", "a key of more than eight bytes", "é", "unused"]
        maps = [dict(zip(keys, [row / 2, None if row % 2 else 1.5, 3.0, 4.0], strict=True)) for row in range(6)]
        maps[0] = {"age": 1.0}  # differs from most
        maps[3] = dict(reversed(maps[3].items()))
        payloads = [encode(schema, {"features": one, "x": "-"}) for one in maps]
        asked = [("features", "age"), ("features", keys[1]), ("features", "é"), ("features", "absent"), ("x",)]
        parsed = avro.columns([*payloads, payloads[5][:-3]], asked, start=0)
        assert parsed is not None
        assert parsed.suspects_B.tolist() == [True, False, False, True, False, False, True]
        good = [1, 2, 4, 5]
        age, long_key, accented, absent = (parsed.columns[path] for path in asked[:4])
        assert age.values[good].tolist() == [0.5, 1, 2, 2.5] and accented.values[good].tolist() == [3, 3, 3, 3]
        assert long_key.missing_B is not None and long_key.missing_B[good].tolist() == [True, False, False, True]
        assert absent.missing_B is not None and absent.missing_B.all()

    @pytest.mark.parametrize("kind", [{"type": "map", "values": "int"}, ["null", "int", "string"], record_schema()])
    def test_there_are_no_columns_of_other_types(self, kind: Any) -> None:
        kind = {**kind, "name": "Inner"} if isinstance(kind, dict) else kind
        assert avro_format(("f", kind)).columns([b"\0"], [("f",)], start=0) is None

    def test_an_empty_poll(self) -> None:
        parsed = avro_format(("s", ["null", "string"]), ("f", {"type": "array", "items": "int"})).columns(
            [], [("s",), ("f",)], start=0
        )
        assert parsed is not None and len(parsed.suspects_B) == 0


class TestSchemas:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("{", "not JSON"),
            ('"string"', "a record is expected"),
            ('{"type": "record", "name": "R", "fields": [{"name": "f", "type": "Missing"}]}', "Missing"),
            ("[" * 10_000 + "]" * 10_000, "Avro schema"),
            ('{"type": "array", "items": ' * 300 + '"int"' + "}" * 300, "nested more than"),
            (json.dumps(record_schema(*((f"f{i}", "int") for i in range(20_001)))), "parts"),
            (json.dumps(record_schema(("f", {"type": "fixed", "name": "F", "size": -1}))), "size -1"),
            (
                json.dumps(record_schema(("f", {"type": "bytes", "logicalType": "decimal", "precision": 10**6}))),
                "digits",
            ),
            (
                '{"type": "record", "name": "R", "__fastavro_parsed": true, "fields": [{"name": "f", "type": 1}]}',
                "invalid",
            ),
        ],
    )
    def test_a_schema_that_cannot_be_used(self, text: str, message: str) -> None:
        with pytest.raises(InvalidPayload, match=message) as caught:
            AvroFormat(text)
        assert caught.value.kind is FailureKind.UNSUPPORTED_SCHEMA

    def test_rules_are_refused_by_name(self) -> None:
        schema = RegisteredSchema(SchemaRef(id=7), "AVRO", json.dumps(record_schema()), rules=("encrypt (ENCRYPT)",))
        with pytest.raises(InvalidPayload, match=r"encrypt \(ENCRYPT\)"):
            AvroFormat(schema)

    def test_a_reader_that_cannot_take_the_writer(self) -> None:
        with pytest.raises(InvalidPayload, match="no field y"):
            avro_format(("x", "int"), reader=record_schema(("y", "int")))
        with pytest.raises(InvalidPayload, match="string cannot be read as int"):
            avro_format(("x", "string"), reader=record_schema(("x", "int")))

    def test_a_schema_of_exponential_size_is_refused(self) -> None:
        kinds: Any = record_schema()
        for number in range(40):
            kinds = {
                **record_schema(("a", {**kinds, "name": f"R{number}"}), ("b", f"R{number}")),
                "name": "Event",
            }
        with pytest.raises(InvalidPayload, match="fields"):
            AvroFormat(json.dumps(kinds))

    def test_the_fingerprint_is_that_of_the_specification(self) -> None:
        # From the tests of Apache Avro (share/test/data/schema-tests.txt): "int" has 8247732601305521295.
        assert parse_avro_schema('"int"').fingerprint() == (8247732601305521295).to_bytes(8, "little")


class TestRoles:
    def test_properties_of_fields(self) -> None:
        user = {**record_schema({"name": "alter", "type": "int", "forebay.feature": "age"}), "name": "User"}
        avro = avro_format(
            {"name": "key", "type": "string", "forebay.role": "id"},
            {"name": "income", "type": "double", "forebay.alias": ["salary", "wage"]},
            ("user", ["null", user]),
        )
        assert avro.roles.roles == {"id": ("key",)}
        assert avro.roles.features == {"age": ("user", "alter"), "salary": ("income",), "wage": ("income",)}

    @pytest.mark.parametrize(
        ("properties", "message"),
        [
            ({"forebay.role": "name"}, "the roles are id"),
            ({"forebay.feature": 1}, "a name is expected"),
            ({"forebay.feature": "x"}, "both are for the feature x"),
        ],
    )
    def test_properties_that_are_wrong(self, properties: dict[str, object], message: str) -> None:
        with pytest.raises(InvalidPayload, match=message):
            avro_format(
                {"name": "a", "type": "int", "forebay.feature": "x"},
                {"name": "b", "type": "int", **properties},
            )
