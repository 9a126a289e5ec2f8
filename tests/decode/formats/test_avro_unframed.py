from __future__ import annotations

import io
import json
from typing import Any

import cramjam
import fastavro
import pytest

from forebay.schemas.failures import FailureKind
from forebay.stream.decode.formats.avro_container import MAX_OBJECT_BYTES, read_container
from forebay.stream.decode.formats.avro_schema import parse_avro_schema
from forebay.stream.decode.formats.avro_unframed import UnframedAvroFormat
from forebay.stream.decode.formats.payload import InvalidPayload
from forebay.stream.schema_registry.schema import RegisteredSchema, SchemaRef
from forebay.stream.schema_registry.store import SchemaStore
from tests.decode.formats.test_avro import encode, record_schema

DOUBLE = record_schema(("x", "double"), ("name", "string"))
INT = record_schema({"name": "x", "type": "int", "forebay.role": "timestamp"})
READER = record_schema(("x", "double"))


def single(schema: Any, value: Any) -> bytes:
    """Return a value in the single-object encoding."""
    return b"\xc3\x01" + parse_avro_schema(json.dumps(schema)).fingerprint() + encode(schema, value)


def container(objects: list[Any], *, schema: Any = INT, codec: str = "null") -> bytes:
    buffer = io.BytesIO()
    fastavro.writer(buffer, fastavro.parse_schema(schema), objects, codec=codec, sync_marker=b"s" * 16)
    return buffer.getvalue()


def fault_of(avro: UnframedAvroFormat, value: bytes) -> InvalidPayload:
    with pytest.raises(InvalidPayload) as caught:
        avro.document(value)
    parsed = avro.columns([value, value], [("x",)], start=0)
    assert parsed is None or parsed.suspects_B.all()
    return caught.value


class TestSingleObjects:
    def test_the_fingerprint_names_a_configured_schema(self) -> None:
        avro = UnframedAvroFormat([json.dumps(DOUBLE), json.dumps(INT)])
        values = [
            single(DOUBLE, {"x": 1.5, "name": "a"}),
            single(INT, {"x": 3}),
            single(DOUBLE, {"x": 2.5, "name": "b"}),
        ]
        assert [avro.document(value)["x"] for value in values] == [1.5, 3, 2.5]
        assert avro.roles.roles == {"timestamp": ("x",)}
        same = avro.columns([b"--" + values[0], b"--" + values[2]], [("x",), ("name",)], start=2)
        assert same is not None and same.columns[("x",)].values.tolist() == [1.5, 2.5] and not same.suspects_B.any()
        mixed = avro.columns(values, [("x",), ("name",)], start=0)
        assert mixed is not None and mixed.suspects_B.tolist() == [False, True, False]  # int64 is not float64
        assert mixed.columns[("x",)].values[[0, 2]].tolist() == [1.5, 2.5]

    def test_columns_of_two_schemas_are_merged(self) -> None:
        with_more = record_schema(("more", "string"), ("x", "double"))
        avro = UnframedAvroFormat([json.dumps(READER), json.dumps(with_more)])
        values = [single(READER, {"x": 1.0}), single(with_more, {"x": 2.0, "more": "-"}), b"\xc3\x01"]
        parsed = avro.columns(values, [("x",), ("absent",)], start=0)
        assert parsed is not None and parsed.suspects_B.tolist() == [False, False, True]
        assert parsed.columns[("x",)].values[:2].tolist() == [1, 2]
        absent = parsed.columns[("absent",)].missing_B
        assert absent is not None and absent[:2].all()

    def test_a_reader_makes_the_columns_of_all_schemas_alike(self) -> None:
        avro = UnframedAvroFormat([json.dumps(DOUBLE), json.dumps(INT)], json.dumps(READER))
        values = [single(DOUBLE, {"x": 1.5, "name": "a"}), single(INT, {"x": 3})]
        assert [avro.document(value) for value in values] == [{"x": 1.5}, {"x": 3.0}]
        parsed = avro.columns(values, [("x",)], start=0)
        assert parsed is not None and parsed.columns[("x",)].values.tolist() == [1.5, 3] and not parsed.suspects_B.any()

    def test_the_fingerprint_names_a_schema_of_the_registry(self) -> None:
        store = SchemaStore()
        avro = UnframedAvroFormat(store=store)
        value = single(INT, {"x": 3})
        fault = fault_of(avro, value)
        assert fault.kind is FailureKind.UNKNOWN_SCHEMA and value[2:10].hex() in fault.message
        store.put(RegisteredSchema(SchemaRef(id=1), "PROTOBUF", "syntax"))
        store.put(RegisteredSchema(SchemaRef(id=2), "AVRO", "{"))
        store.put(RegisteredSchema(SchemaRef(id=3), "AVRO", json.dumps(INT)))
        assert avro.document(value) == {"x": 3}

    def test_a_value_without_a_prefix_has_the_only_configured_schema(self) -> None:
        avro = UnframedAvroFormat([json.dumps(DOUBLE)])
        value = {"x": 1.5, "name": "ab"}
        values = [encode(DOUBLE, value), single(DOUBLE, value)]
        assert [avro.document(value) for value in values] == [value, value]
        parsed = avro.columns(values, [("name",)], start=0)
        assert parsed is not None and parsed.columns[("name",)].values.tolist() == ["ab", "ab"]

    def test_a_value_without_a_prefix_and_without_a_schema(self) -> None:
        avro = UnframedAvroFormat([json.dumps(DOUBLE), json.dumps(INT)])
        fault = fault_of(avro, encode(INT, {"x": 3}))
        assert fault.kind is FailureKind.INVALID_PAYLOAD and "input.avro_schemas" in fault.message


class TestContainers:
    @pytest.mark.parametrize("codec", ["null", "deflate", "snappy", "bzip2", "xz"])
    def test_a_file_with_one_object(self, codec: str) -> None:
        value = container([{"x": 7}], codec=codec)
        assert UnframedAvroFormat().document(value) == {"x": 7}
        assert UnframedAvroFormat().columns([value], [("x",)], start=0) is None

    @pytest.mark.parametrize("size", [3, MAX_OBJECT_BYTES + 1])
    def test_zstandard(self, size: int) -> None:
        block = bytes(cramjam.zstd.compress(bytes(size)))
        entries = {"avro.schema": b'"int"', "avro.codec": b"zstandard"}
        head = encode({"type": "map", "values": "bytes"}, entries)
        value = b"Obj\x01" + head + b"s" * 16 + b"\x02" + encode("bytes", block) + b"s" * 16
        if size > MAX_OBJECT_BYTES:
            with pytest.raises(InvalidPayload, match="cannot be decompressed"):
                read_container(value)
        else:
            assert read_container(value) == ('"int"', bytes(size))

    @pytest.mark.parametrize(("objects", "number"), [([], "0"), ([{"x": 1}, {"x": 2}], "2")])
    def test_a_file_with_another_number_of_objects(self, objects: list[Any], number: str) -> None:
        fault = fault_of(UnframedAvroFormat(), container(objects))
        assert f"{number} objects; an event is a file with one" in fault.message

    @pytest.mark.parametrize("codec", ["deflate", "bzip2", "xz"])
    def test_a_decompression_bomb(self, codec: str) -> None:
        schema = record_schema(("x", "bytes"))
        value = container([{"x": bytes(MAX_OBJECT_BYTES)}], schema=schema, codec=codec)
        assert "has more than" in fault_of(UnframedAvroFormat(), value).message

    def test_damaged_files(self) -> None:
        value = container([{"x": 7}], codec="snappy")
        for end in range(len(value)):
            with pytest.raises(InvalidPayload):
                read_container(value[:end])
        assert "checksum" in fault_of(UnframedAvroFormat(), value[:-17] + b"?" + value[-16:]).message
        assert "sync marker" in fault_of(UnframedAvroFormat(), value[:-1] + b"?").message
        assert "codec is 'other'" in fault_of(UnframedAvroFormat(), value.replace(b"\x0csnappy", b"\x0aother")).message

    def test_a_file_with_a_schema_that_cannot_be_used(self) -> None:
        fault = fault_of(UnframedAvroFormat(), container([{"x": 7}]).replace(b'"int"', b'"iff"'))
        assert fault.kind is FailureKind.UNSUPPORTED_SCHEMA
