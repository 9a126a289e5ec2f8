"""An event that is not an object is refused in the same words in every format."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from forebay.schemas.failures import FailureKind
from forebay.stream.decode.formats.avro import AvroFormat
from forebay.stream.decode.formats.cloudevents import CloudEventsFormat
from forebay.stream.decode.formats.json_documents import JsonFormat
from forebay.stream.decode.formats.json_schema import JsonSchemaFormat
from forebay.stream.decode.formats.msgpack import MessagePackFormat
from forebay.stream.decode.formats.payload import Format, InvalidPayload
from forebay.stream.schema_registry.schema import RegisteredSchema, SchemaRef, SchemaType

VALUES: list[tuple[object, str]] = [
    (7, "a number"),
    (1.5, "a number"),
    ("x", "a string"),
    (True, "a boolean"),
    (None, "null"),
    ([{"id": 1}], "an array"),
]


def of_schema(kind: SchemaType, schema: object) -> RegisteredSchema:
    return RegisteredSchema(SchemaRef(id=7), type=kind, text=json.dumps(schema))


def message(payload_format: Format, payload: bytes) -> str:
    with pytest.raises(InvalidPayload) as refused:
        payload_format.document(payload)
    assert refused.value.kind is FailureKind.NOT_AN_OBJECT
    parsed = payload_format.columns([payload], [("x",)], start=0)
    assert parsed is None or parsed.suspects_B.all()
    return refused.value.message


@pytest.mark.parametrize(("value", "name"), VALUES)
def test_the_type_and_what_is_expected_are_named(value: Any, name: str) -> None:
    said = f"the value is {name}; an object is expected"
    text = json.dumps(value).encode()
    assert message(JsonFormat(), text) == said
    assert message(JsonSchemaFormat(of_schema("JSON", {})), text) == said
    assert message(CloudEventsFormat(lambda *_: (None, 0)), text) == said
    assert message(MessagePackFormat(), msgspec.msgpack.encode(value)) == said


def test_types_that_only_messagepack_has_are_named() -> None:
    for value, name in ((b"x", "bytes"), (msgspec.msgpack.Ext(7, b"x"), "an extension type")):
        said = message(MessagePackFormat(), msgspec.msgpack.encode(value))
        assert said == f"the value is {name}; an object is expected"


def test_a_branch_of_an_avro_union_that_is_not_a_record_is_named() -> None:
    record = {"type": "record", "name": "R", "fields": []}
    made = AvroFormat(of_schema("AVRO", ["null", record]))
    assert message(made, b"\x00") == "the value is null; a record is expected"
