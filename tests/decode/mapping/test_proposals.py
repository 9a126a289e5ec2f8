"""Which field each feature has by a schema, what is missing, and what is proposed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from forebay.models.artefacts.signature import Feature, Signature
from forebay.stream.config.input_mapping import MappingTable
from forebay.stream.decode.formats.payload import NO_ROLES, FieldRoles, InvalidPayload
from forebay.stream.decode.mapping.proposals import (
    MappingReport,
    mapping_report,
    missing_lines,
    propose,
    report_lines,
)
from forebay.stream.decode.mapping.schema_fields import SchemaField, fields_of_document, fields_of_schema
from forebay.stream.decode.mapping.sources import BY_NAME, layouts_of
from forebay.stream.schema_registry.schema import RegisteredSchema, SchemaRef

SIGNATURE = Signature(
    (Feature("age"), Feature("distance"), Feature("carrier", "category", ("AA",), nullable=True)), (3,), "binary", 1
)
PAYLOAD: dict[str, Any] = {
    "type": "record",
    "name": "Payload",
    "fields": [
        {"name": "Age", "type": ["null", "int"]},
        {"name": "km", "type": "double", "aliases": ["distance"]},
        {"name": "code", "type": "string"},
        {"name": "scores", "type": {"type": "array", "items": "float"}},
    ],
}
AVRO: dict[str, Any] = {
    "type": "record",
    "name": "Event",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "timestamp", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "payload", "type": PAYLOAD},
    ],
}
PROTO = """syntax = "proto3"; import "google/protobuf/timestamp.proto";
message Event {
  string id = 1; google.protobuf.Timestamp at = 2; P payload = 3; map<string, string> tags = 4; E kind = 5; Event again = 6;
  message P { int32 userAge = 1; repeated double d = 2; }
  enum E { A = 0; }
}"""


def schema(text: str, kind: Any = "AVRO") -> RegisteredSchema:
    return RegisteredSchema(SchemaRef(id=1), kind, text)


def avro_fields() -> list[SchemaField]:
    return fields_of_schema(schema(json.dumps(AVRO)))


def described(fields: list[SchemaField]) -> dict[str, str]:
    return {".".join(field.path): field.type for field in fields}


def report(table: dict[str, Any] | None, fields: list[SchemaField], roles: FieldRoles = NO_ROLES) -> MappingReport:
    mapping = None if table is None else MappingTable(**table)
    return mapping_report(SIGNATURE, layouts_of(mapping, roles, BY_NAME), fields)


def test_the_fields_of_avro_have_paths_types_and_aliases() -> None:
    fields = avro_fields()
    assert described(fields) == {
        "id": "string",
        "timestamp": "long (timestamp-millis)",
        "payload": "Payload",
        "payload.Age": "null or int",
        "payload.km": "double",
        "payload.code": "string",
        "payload.scores": "array of float",
    }
    assert [field.path for field in fields if field.is_object] == [("payload",)]
    assert [field.aliases for field in fields if field.path[-1] == "km"] == [("distance",)]


def test_the_fields_of_protobuf_json_schema_and_documents() -> None:
    message = fields_of_schema(schema(PROTO, "PROTOBUF"))
    assert described(message) == {
        "id": "string",
        "at": "google.protobuf.Timestamp",
        "payload": "Event.P",
        "payload.userAge": "int32",
        "payload.d": "repeated double",
        "tags": "map",
        "kind": "enum",
        "again": "Event",
    }
    text = '{"properties": {"a": {"type": ["integer", "null"]}, "b": {"type": "object", "properties": {"c": true}}}}'
    assert described(fields_of_schema(schema(text, "JSON"))) == {"a": "integer or null", "b": "object", "b.c": "any"}
    document = {"a": None, "b": {"c": True, "d": [1]}, "e": "x", "f": 1.5, "g": b""}
    kinds = ("null", "object", "boolean", "array", "text", "number", "bytes")
    assert tuple(described(fields_of_document(document)).values()) == kinds


@pytest.mark.parametrize(("kind", "text"), [("JSON", "{oh"), ("PROTOBUF", "message {"), ("AVRO", "{oh")])
def test_a_schema_that_cannot_be_read_is_refused(kind: str, text: str) -> None:
    with pytest.raises(InvalidPayload):
        fields_of_schema(schema(text, kind))


def test_missing_features_have_a_proposal_that_is_not_applied() -> None:
    found = report(None, avro_fields())
    assert [one.name for one in found.missing] == ["age", "distance"]
    assert missing_lines(found) == [
        'age has no field; is it payload.Age (null or int, same name)? [input.mapping.fields] age = "payload.Age"',
        'distance has no field; is it payload.km (double, alias)? [input.mapping.fields] distance = "payload.km"',
    ]
    assert report_lines(found) == [
        "id <- id (string)",
        "timestamp <- timestamp (long (timestamp-millis))",
        "key <- the record's key",
        "model <- header forebay-model, or the topic's",
        "carrier <- missing, which the model allows",
    ]


def test_a_mapping_is_shown_with_paths_and_types() -> None:
    table = {
        "id": "header:x-id",
        "timestamp": "record",
        "key": "field:payload.code",
        "model": "field:nowhere",
        "features": "payload",
        "fields": {"age": ["payload.years", "payload.Age"], "distance": "payload.km"},
    }
    found = report(table, avro_fields())
    assert not found.missing
    assert report_lines(found) == [
        "id <- header x-id",
        "timestamp <- the record's timestamp",
        "key <- payload.code (string)",
        "model <- nowhere (missing)",
        "age <- payload.Age (null or int)",
        "distance <- payload.km (double)",
        "carrier <- missing, which the model allows",
    ]
    assert report_lines(found, max_lines=2)[2:] == ["and 5 more"]


def test_features_can_be_one_array_and_the_properties_of_the_schema_count() -> None:
    found = report({"features": "payload.scores"}, avro_fields())
    assert report_lines(found)[-1] == "features <- payload.scores (array of float), in the model's order"
    roles = FieldRoles({"age": ("payload", "Age"), "distance": ("payload", "km")}, {"id": ("payload", "code")})
    found = report(None, avro_fields(), roles)
    assert not found.missing and found.parts["id"] == "payload.code (string)"


@pytest.mark.parametrize(
    ("feature", "path"),
    [("dep_delay", "depDelay"), ("departure_delay", "departure_delay_min"), ("colour", "color"), ("weight", None)],
)
def test_a_proposal_is_the_most_similar_field(feature: str, path: str | None) -> None:
    fields = [SchemaField((name,), "double") for name in ("depDelay", "departure_delay_min", "color", "origin")]
    found = propose(feature, fields)
    assert (None if found is None else found.field.path[0]) == path
