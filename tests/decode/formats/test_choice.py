"""How records name their schemas in modes of Apicurio's serializers that are not read."""

from __future__ import annotations

import json

import pytest

from forebay.schemas.failures import FailureKind
from forebay.stream.decode.formats.avro_options import AvroOptions
from forebay.stream.decode.formats.choice import PLAIN, FormatChoice, FormatSettings
from forebay.stream.decode.formats.payload import InvalidPayload
from forebay.stream.schema_registry.framing import frame
from forebay.stream.schema_registry.schema import RegisteredSchema, SchemaRef
from forebay.stream.schema_registry.store import SchemaStore
from tests.core.build import FakeRecord

TOPIC = "features"
HEADERS = (("apicurio.value.encoding", b"BINARY"), ("apicurio.value.globalId", b"\0\0\0\0\0\0\0\5"))
JSON_EVENT = b'{"id": "a", "features": [1, 2, 3]}'


def choice(settings: FormatSettings | None = None) -> FormatChoice:
    store = SchemaStore()
    text = 'syntax = "proto3"; message Event { string id = 1; }'
    store.put(RegisteredSchema(SchemaRef(id=1), type="PROTOBUF", text=text))
    store.put(RegisteredSchema(SchemaRef(id=2), type="JSON", text=json.dumps({"type": "object"})))
    return FormatChoice(settings or FormatSettings(), store)


def refused(record: FakeRecord, settings: FormatSettings | None = None) -> InvalidPayload:
    with pytest.raises(InvalidPayload) as caught:
        choice(settings).choose(record, TOPIC)
    return caught.value


def test_an_id_of_8_bytes_is_refused_and_never_looked_up() -> None:
    record = FakeRecord(0, b"\0" + (2).to_bytes(8, "big") + JSON_EVENT)
    fault = refused(record)
    assert fault.kind is FailureKind.INVALID_PAYLOAD and "Default4ByteIdHandler" in fault.message
    assert choice().schema_ref(record, TOPIC) is None
    assert choice().schema_ref(FakeRecord(0, frame(2, JSON_EVENT)), TOPIC) == SchemaRef(id=2)


def test_values_that_begin_with_zeros_are_not_refused_without_a_registry() -> None:
    assert FormatChoice(FormatSettings(), None).choose(FakeRecord(0, bytes(12)), TOPIC) == PLAIN
    assert choice(FormatSettings("f32")).choose(FakeRecord(0, bytes(12)), TOPIC).is_raw


@pytest.mark.parametrize("name", ["apicurio.value.globalId", "apicurio.value.contentId", "apicurio.value.contentHash"])
@pytest.mark.parametrize("value", [b"\2a", frame(2, JSON_EVENT), b"\0\0\0\0\0\0"])
@pytest.mark.parametrize("configured", ["auto", "avro"])
def test_a_schema_that_a_header_of_apicurio_names_is_refused(name: str, value: bytes, configured: str) -> None:
    record = FakeRecord(0, value, headers=((name, b"\0\0\0\0\0\0\0\2"),))
    fault = refused(record, FormatSettings(configured))
    assert fault.kind is FailureKind.UNKNOWN_SCHEMA and "apicurio.registry.headers.enabled=false" in fault.message
    assert choice().schema_ref(record, TOPIC) is None, "bytes of the payload must not be taken for an id"


def test_json_with_headers_of_apicurio_is_read_without_its_schema() -> None:
    assert choice().choose(FakeRecord(0, JSON_EVENT, headers=HEADERS), TOPIC) == PLAIN


def test_what_needs_no_schema_is_read_despite_headers_of_apicurio() -> None:
    record = FakeRecord(0, b"\0\0\0\0\5\2a", headers=HEADERS)
    chosen = choice(FormatSettings("msgpack")).choose(record, TOPIC)
    assert chosen.format is not None and (chosen.format.name, chosen.start) == ("msgpack", 0)
    text = '{"type": "record", "name": "Event", "fields": [{"name": "id", "type": "string"}]}'
    chosen = choice(FormatSettings("avro", avro=AvroOptions(schemas=(text,)))).choose(record, TOPIC)
    assert chosen.format is not None and (chosen.format.name, chosen.start) == ("avro", 0)


def test_a_content_type_overrides_the_headers_of_apicurio() -> None:
    record = FakeRecord(0, JSON_EVENT, headers=(*HEADERS, ("content-type", b"application/json")))
    assert choice().choose(record, TOPIC) == PLAIN


@pytest.mark.parametrize("name", [b"Event", b"LateEvent", b"Events", b"db"])
def test_a_type_name_instead_of_message_indexes_is_refused(name: bytes) -> None:
    type_ref = bytes([len(name) + 2, 0x0A, len(name)]) + name
    fault = refused(FakeRecord(0, frame(1, type_ref + b"\n\1a")))
    assert fault.kind in (FailureKind.INVALID_PAYLOAD, FailureKind.UNSUPPORTED_SCHEMA), fault
    assert "apicurio.registry.serde.send-indexes=true" in fault.message


def test_other_invalid_message_indexes_are_refused_without_that_advice() -> None:
    assert "apicurio" not in refused(FakeRecord(0, frame(1, b"\7\1\1"))).message
