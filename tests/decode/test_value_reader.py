"""Values as documents, for people and tools: what can be read in every format, and why the rest cannot."""

from __future__ import annotations

import base64
import io
import struct
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import fastavro.schema
import msgspec
import orjson
import pyarrow as pa
import pytest

from forebay.schemas.headers import F32_CONTENT_TYPE
from forebay.stream.config.sections import InputSection, SchemaRegistrySection
from forebay.stream.core.records import Record
from forebay.stream.decode.json_values import to_json
from forebay.stream.decode.value_reader import ReadValue, ValueReader, value_formats
from forebay.stream.schema_registry.connection import open_registry
from forebay.stream.schema_registry.framing import VALUE_SCHEMA_HEADER, frame
from tests.core.build import FakeRecord
from tests.decode.formats.images import encoded, picture
from tests.registry.stub import StubRegistry, stub_registry

AVRO: dict[str, Any] = {"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}]}
PROTO = 'syntax = "proto3"; message R { int32 a = 1; }'
FORMATS = value_formats(InputSection(topics=("in", "packed"), formats={"packed": "msgpack"}), prefix="p-")


@pytest.fixture
async def registry() -> AsyncIterator[StubRegistry]:
    async with stub_registry() as stub:
        yield stub


async def read(stub: StubRegistry, record: Record, topic: str = "p-in") -> ReadValue:
    async with open_registry(SchemaRegistrySection(urls=(stub.url,))) as client:
        reader = ValueReader(FORMATS, client)
        await reader.resolve(topic, [record])
        return reader.read(topic, record)


def avro_payload() -> bytes:
    written = io.BytesIO()
    fastavro.schemaless_writer(written, fastavro.parse_schema(AVRO), {"a": 5})
    return written.getvalue()


async def test_values_with_a_schema_are_read_with_the_registry(registry: StubRegistry) -> None:
    avro = registry.add("p-in-value", orjson.dumps(AVRO).decode())
    proto = registry.add("p-in-value", PROTO, "PROTOBUF")
    schema = registry.add("p-in-value", '{"type": "object"}', "JSON")
    values = {
        "avro": FakeRecord(0, frame(avro.id, avro_payload())),
        "protobuf": FakeRecord(0, frame(proto.id, b"\x08\x05", (0,))),
        "json-schema": FakeRecord(0, frame(schema.id, b'{"a": 5}')),
    }
    for name, record in values.items():
        found = await read(registry, record)
        assert (found.document, found.format, found.reason) == ({"a": 5}, name, None)
        assert found.about() == {"format": name, "schema": str(found.schema)}
    by_guid = FakeRecord(0, avro_payload(), headers=[(VALUE_SCHEMA_HEADER, b"\1" + avro.guid.bytes)])
    assert (await read(registry, by_guid)).document == {"a": 5}


async def test_values_without_a_schema_are_read_by_header_and_topic(registry: StubRegistry) -> None:
    batch = pa.record_batch({"a": [1, 2]})
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    packed, event = msgspec.msgpack.encode({"a": 5}), {"specversion": "1.0", "id": "e", "data": {"a": 5}}
    cases: list[tuple[str, bytes, str, object, str]] = [
        ("p-in", b'{"a": 5}', "", {"a": 5}, "json"),
        ("p-in", packed, "application/msgpack", {"a": 5}, "msgpack"),
        ("p-packed", packed, "", {"a": 5}, "msgpack"),
        ("p-in", orjson.dumps(event), "application/cloudevents+json", event, "cloudevents"),
        ("p-in", struct.pack("<2f", 1, 2), F32_CONTENT_TYPE, [1.0, 2.0], "f32"),
        (
            "p-in",
            sink.getvalue(),
            "application/vnd.apache.arrow.stream",
            {"num_rows": 2, "rows": [{"a": 1}, {"a": 2}]},
            "arrow",
        ),
    ]
    for topic, value, content_type, document, name in cases:
        headers = [("content-type", content_type.encode())] if content_type else []
        found = await read(registry, FakeRecord(0, value, headers=headers), topic)
        assert (found.document, found.format, found.reason) == (document, name, None)
    assert (await read(registry, FakeRecord(0, None))) == ReadValue(None)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (FakeRecord(0, b"\0\0\0\0\x63x"), "id 99"),
        (FakeRecord(0, b"{oh"), "not JSON"),
        (
            FakeRecord(0, b"\x89PNG", headers=[("content-type", b"image/png")]),
            "the value is not a PNG, JPEG or WebP image",
        ),
        (FakeRecord(0, b"\xc1", headers=[("content-type", b"application/msgpack")]), "MessagePack"),
        (FakeRecord(0, b"abc", headers=[("content-type", F32_CONTENT_TYPE.encode())]), "3 bytes"),
        (FakeRecord(0, b"x", headers=[(VALUE_SCHEMA_HEADER, b"??")]), VALUE_SCHEMA_HEADER),
    ],
)
async def test_the_reason_says_why_a_value_cannot_be_read(registry: StubRegistry, record: Record, reason: str) -> None:
    found = await read(registry, record)
    assert found.document is None and found.reason is not None and reason in found.reason


async def test_a_registry_that_is_away_and_one_that_is_not_configured_are_reasons(registry: StubRegistry) -> None:
    record = FakeRecord(0, frame(1, b"x"))
    registry.failures[""] = 503
    found = await read(registry, record)
    assert found.reason is not None and "503" in found.reason and found.about()["unread"] == found.reason
    alone = ValueReader(FORMATS, None)
    await alone.resolve("p-in", [record])
    assert alone.read("p-in", record).reason == "byte 0 may begin a schema id, and schema_registry.urls is not set"
    assert alone.decoded("p-in", record)[0] is record


async def test_a_decoded_record_has_the_json_of_its_value(registry: StubRegistry) -> None:
    record = FakeRecord(3, msgspec.msgpack.encode({"a": b"x"}), key=b"k", headers=[("h", b"v")])
    decoded, found = ValueReader(FORMATS, None).decoded("p-packed", record)
    assert (decoded.offset, decoded.key, decoded.headers) == (3, b"k", [("h", b"v")])
    assert decoded.value == b'{"a":"eA=="}' and found.format == "msgpack"


async def test_an_image_is_shown_by_its_size(registry: StubRegistry) -> None:
    record = FakeRecord(0, encoded(picture(7, 5), "JPEG"), headers=(("content-type", b"image/jpeg"),))
    read_value = await read(registry, record)
    assert read_value.format == "image"
    shown = {"image": "JPEG", "width": 7, "height": 5, "orientation": 1}
    assert orjson.loads(to_json(read_value.document)) == {"features": shown}


def test_documents_of_any_format_become_json() -> None:
    document = {
        "at": datetime(2026, 11, 28, tzinfo=UTC),
        "for": timedelta(seconds=1.5),
        "price": Decimal("1.50"),
        "raw": b"\xff",
        "nan": [float("nan"), float("-inf")],
        "large": [2**70, (1, {"deep": -(2**64)})],
    }
    assert orjson.loads(to_json(document)) == {
        "at": "2026-11-28T00:00:00+00:00",
        "for": 1.5,
        "price": "1.50",
        "raw": base64.b64encode(b"\xff").decode(),
        "nan": ["NaN", "-Infinity"],
        "large": [str(2**70), [1, {"deep": str(-(2**64))}]],
    }


@pytest.mark.parametrize(
    ("column", "shown"),
    [
        (pa.array([2**62]).cast(pa.timestamp("s")), 2**62),
        (pa.array([1_500], pa.timestamp("ms", tz="Nowhere/X")), "1970-01-01T00:00:01.500000+00:00"),
        (pa.array([2**31 - 1], pa.int32()).cast(pa.date32()), "date32[day] out of range"),
        (pa.array([float("inf")]), "Infinity"),
    ],
)
def test_rows_are_shown_whatever_their_values(column: Any, shown: object) -> None:
    sink = pa.BufferOutputStream()
    table = pa.table({"a": column})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    headers = (("content-type", b"application/vnd.apache.arrow.stream"),)
    read = ValueReader(FORMATS, None).read("p-in", FakeRecord(0, bytes(sink.getvalue()), headers=headers))
    assert read.reason is None and orjson.loads(to_json(read.document)) == {"a": shown}


async def test_single_objects_in_avro_are_read_by_the_schemas_of_files(tmp_path: Path) -> None:
    (tmp_path / "r.avsc").write_bytes(orjson.dumps(AVRO))
    section = InputSection(topics=("in",), avro_schemas=(str(tmp_path / "r.avsc"),))
    reader = ValueReader(value_formats(section, prefix=""), None)
    fingerprint = fastavro.schema.fingerprint(fastavro.schema.to_parsing_canonical_form(AVRO), "CRC-64-AVRO")
    value = b"\xc3\x01" + bytes.fromhex(fingerprint) + avro_payload()
    found = reader.read("in", FakeRecord(0, value, headers=[("content-type", b"application/avro")]))
    assert (found.document, found.reason) == ({"a": 5}, None)
