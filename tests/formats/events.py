"""The same events in every format: what producers of each would send."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final

import fastavro
import msgspec
import numpy as np
import orjson
import pyarrow as pa
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from forebay.models.artefacts.signature import Feature, Signature
from forebay.stream.schema_registry.framing import frame
from forebay.stream.schema_registry.schema import RegisteredSchema, SchemaRef
from tests.core.build import JULY

NUM_FEATURES: Final = 32
COUNTRIES: Final = ("AT", "DE", "FR")
NUMBERS: Final = Signature(
    tuple(Feature(f"f{index}") for index in range(NUM_FEATURES)), (NUM_FEATURES,), "regression", 1
)
MIXED: Final = Signature(
    (
        *(Feature(f"f{index}", nullable=index % 3 == 0) for index in range(NUM_FEATURES - 4)),
        Feature("country", "category", COUNTRIES),
        Feature("origin", "category", COUNTRIES, nullable=True, other=True),
        Feature("device", "hashed", buckets=64),
        Feature("browser", "hashed", buckets=64, nullable=True),
    ),
    (NUM_FEATURES,),
    "regression",
    1,
)
"""With nulls and texts."""


@dataclass(frozen=True)
class FeatureEvent:
    """An event: its id, its time in ms, and its features by name. Numbers are exact in float32."""

    id: str
    timestamp: int
    features: Mapping[str, Any]


@dataclass(frozen=True)
class Wire:
    """A record as a producer sends it."""

    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()


def events_of(signature: Signature, count: int, seed: int = 21) -> list[FeatureEvent]:
    """Return valid events: numbers of all sizes, and nulls in a third of the nullable features."""
    rng = np.random.default_rng(seed)
    events = []
    for number in range(count):
        features: dict[str, Any] = {}
        for feature in signature.features:
            if feature.nullable and rng.random() < 1 / 3:
                features[feature.name] = None
            elif feature.dtype == "category":
                features[feature.name] = str(rng.choice([*feature.categories, *(["IT"] if feature.other else [])]))
            elif feature.is_text:
                features[feature.name] = str(rng.choice(["phone", "Türöffner", "", "平板"]))
            else:
                value = np.float32(rng.normal() * 10.0 ** rng.integers(-30, 30))
                features[feature.name] = float(
                    rng.choice(np.array([value, np.float32(round(float(rng.normal()), 2)), 0, -0.0]))
                )
        events.append(FeatureEvent(f"event-{number}", JULY + 1000 * number, features))
    return events


# ---- formats without a schema


def json_list(event: FeatureEvent) -> Wire:
    document = {"id": event.id, "timestamp": event.timestamp, "features": list(event.features.values())}
    return Wire(orjson.dumps(document))


def json_by_name(event: FeatureEvent) -> Wire:
    """With the fields in reverse order, and one that no model takes."""
    features = {"unused": "x", **dict(reversed(event.features.items()))}
    return Wire(orjson.dumps({"features": features, "timestamp": event.timestamp, "id": event.id}))


def json_mapped(event: FeatureEvent) -> Wire:
    """As `MAPPING` says."""
    first, *names = event.features
    after = {name: event.features[name] for name in names}
    document = {
        "op": "c",
        "order": {"id": event.id, "at": event.timestamp / 1000},
        "payload": {"before": None, "after": after, "user": {"first": event.features[first]}},
    }
    return Wire(orjson.dumps(document))


def mapping_of(signature: Signature) -> dict[str, Any]:
    """Return the mapping for `json_mapped`."""
    return {
        "id": "field:order.id",
        "timestamp": "field:order.at",
        "timestamp_unit": "s",
        "features": "payload.after",
        "fields": {signature.features[0].name: "payload.user.first"},
    }


def _packed(event: FeatureEvent) -> bytes:
    return np.array(list(event.features.values()), dtype="<f4").tobytes()


def raw_f32(event: FeatureEvent) -> Wire:
    headers = (
        ("content-type", b"application/x-forebay-f32"),
        ("forebay-id", event.id.encode()),
        ("forebay-timestamp", str(event.timestamp).encode()),
    )
    return Wire(_packed(event), headers)


def base64_f32(event: FeatureEvent) -> Wire:
    features = base64.b64encode(_packed(event)).decode()
    return Wire(orjson.dumps({"id": event.id, "timestamp": event.timestamp, "features": features}))


def msgpack(event: FeatureEvent) -> Wire:
    document = {"id": event.id, "timestamp": event.timestamp, "features": dict(event.features)}
    return Wire(msgspec.msgpack.encode(document), (("content-type", b"application/msgpack"),))


def _rfc3339(event: FeatureEvent) -> str:
    return datetime.fromtimestamp(event.timestamp / 1000, UTC).isoformat().replace("+00:00", "Z")


def cloudevent_structured(event: FeatureEvent) -> Wire:
    document = {
        "specversion": "1.0",
        "type": "features",
        "source": "/tests",
        "id": event.id,
        "time": _rfc3339(event),
        "data": dict(event.features),
    }
    return Wire(orjson.dumps(document), (("content-type", b"application/cloudevents+json; charset=UTF-8"),))


def cloudevent_binary(event: FeatureEvent) -> Wire:
    headers = (
        ("ce_specversion", b"1.0"),
        ("ce_type", b"features"),
        ("ce_source", b"/tests"),
        ("ce_id", event.id.encode()),
        ("ce_time", _rfc3339(event).encode()),
        ("content-type", b"application/json"),
    )
    return Wire(orjson.dumps({"features": dict(event.features)}), headers)


# ---- formats with a schema of the registry


def _avro_schema(signature: Signature, *, nullable: bool) -> dict[str, Any]:
    def type_of(feature: Feature) -> Any:
        plain = "string" if feature.is_text else "double" if nullable else "float"
        return ["null", plain] if feature.nullable or nullable else plain

    return {
        "type": "record",
        "name": "Features",
        "namespace": "tests",
        "fields": [
            {"name": "id", "type": "string"},
            {"name": "timestamp", "type": {"type": "long", "logicalType": "timestamp-millis"}},
            *({"name": feature.name, "type": type_of(feature)} for feature in signature.features),
        ],
    }


def avro_encoder(schema_id: int, signature: Signature, *, nullable: bool) -> Callable[[FeatureEvent], Wire]:
    """Return an encoder with Confluent's prefix."""
    schema = fastavro.parse_schema(_avro_schema(signature, nullable=nullable))

    def encode(event: FeatureEvent) -> Wire:
        buffer = io.BytesIO()
        fastavro.schemaless_writer(buffer, schema, {"id": event.id, "timestamp": event.timestamp, **event.features})
        return Wire(frame(schema_id, buffer.getvalue()))

    return encode


def _proto_text(signature: Signature) -> str:
    lines = ['syntax = "proto3";', "package tests;", "message Features {", "  string id = 1;", "  int64 timestamp = 2;"]
    for number, feature in enumerate(signature.features, start=3):
        label = "optional " if feature.nullable else ""
        lines.append(f"  {label}{'string' if feature.is_text else 'float'} {feature.name} = {number};")
    return "\n".join([*lines, "}"])


def protobuf_encoder(schema_id: int, signature: Signature) -> Callable[[FeatureEvent], Wire]:
    """Return an encoder with Confluent's prefix and message indexes, by the official library."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="features.proto", package="tests", syntax="proto3")
    message = file.message_type.add(name="Features")
    message.field.add(name="id", number=1, type=kinds.TYPE_STRING, label=kinds.LABEL_OPTIONAL)
    message.field.add(name="timestamp", number=2, type=kinds.TYPE_INT64, label=kinds.LABEL_OPTIONAL)
    for number, feature in enumerate(signature.features, start=3):
        kind = kinds.TYPE_STRING if feature.is_text else kinds.TYPE_FLOAT
        field = message.field.add(name=feature.name, number=number, type=kind, label=kinds.LABEL_OPTIONAL)
        if feature.nullable:
            field.proto3_optional = True
            field.oneof_index = len(message.oneof_decl)
            message.oneof_decl.add(name=f"_{feature.name}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    features_class = message_factory.GetMessageClass(pool.FindMessageTypeByName("tests.Features"))

    def encode(event: FeatureEvent) -> Wire:
        values = {name: value for name, value in event.features.items() if value is not None}
        encoded = features_class(id=event.id, timestamp=event.timestamp, **values)
        return Wire(frame(schema_id, encoded.SerializeToString(), indexes=(0,)))

    return encode


def _json_schema(signature: Signature) -> dict[str, Any]:
    def type_of(feature: Feature) -> Any:
        plain = "string" if feature.is_text else "number"
        return [plain, "null"] if feature.nullable else plain

    properties = {feature.name: {"type": type_of(feature)} for feature in signature.features}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": {"id": {"type": "string"}, "timestamp": {"type": "integer"}, **properties},
        "required": ["id", "timestamp"],
    }


def json_schema_encoder(schema_id: int) -> Callable[[FeatureEvent], Wire]:
    """Return an encoder with Confluent's prefix."""
    return lambda event: Wire(
        frame(schema_id, orjson.dumps({"id": event.id, "timestamp": event.timestamp, **event.features}))
    )


# ---- Arrow


def arrow_record(signature: Signature, events: Sequence[FeatureEvent]) -> Wire:
    """Return one record with a row for each event."""
    columns: dict[str, pa.Array] = {
        "id": pa.array([event.id for event in events], pa.string()),
        "timestamp": pa.array([event.timestamp for event in events], pa.timestamp("ms", tz="UTC")),
    }
    for feature in signature.features:
        kind = pa.string() if feature.is_text else pa.float32()
        columns[feature.name] = pa.array([event.features[feature.name] for event in events], kind)
    batch = pa.record_batch(columns)
    buffer = io.BytesIO()
    with pa.ipc.new_stream(buffer, batch.schema) as writer:
        writer.write_batch(batch)
    return Wire(buffer.getvalue(), (("content-type", b"application/vnd.apache.arrow.stream"),))


# ---- all of them


@dataclass(frozen=True)
class WireFormat:
    """A format. encode: returns the record of an event. schema: that the registry must have."""

    encode: Callable[[FeatureEvent], Wire]
    schema: RegisteredSchema | None = None


UNFRAMED: Final[Mapping[str, Callable[[FeatureEvent], Wire]]] = MappingProxyType(
    {
        "JSON list": json_list,
        "JSON by name": json_by_name,
        "MessagePack": msgpack,
        "CloudEvents structured": cloudevent_structured,
        "CloudEvents binary": cloudevent_binary,
        "raw float32": raw_f32,
        "base64 float32": base64_f32,
    }
)
ONLY_NUMBERS: Final = frozenset({"raw float32", "base64 float32"})


def wire_formats(signature: Signature, *, first_id: int) -> dict[str, WireFormat]:
    """Return the formats of single events by name. first_id: of their schemas."""
    has_texts = any(feature.is_text for feature in signature.features)
    formats = {
        name: WireFormat(encode) for name, encode in UNFRAMED.items() if not (has_texts and name in ONLY_NUMBERS)
    }
    formats["Arrow"] = WireFormat(lambda event: arrow_record(signature, [event]))
    framed: list[tuple[str, str, str, Callable[[int], Callable[[FeatureEvent], Wire]]]] = [
        (
            "Avro",
            "AVRO",
            json.dumps(_avro_schema(signature, nullable=False)),
            lambda number: avro_encoder(number, signature, nullable=False),
        ),
        (
            "Avro nullable",
            "AVRO",
            json.dumps(_avro_schema(signature, nullable=True)),
            lambda number: avro_encoder(number, signature, nullable=True),
        ),
        ("Protobuf", "PROTOBUF", _proto_text(signature), lambda number: protobuf_encoder(number, signature)),
        ("JSON Schema", "JSON", json.dumps(_json_schema(signature)), json_schema_encoder),
    ]
    for number, (name, kind, text, encoder) in enumerate(framed, start=first_id):
        schema = RegisteredSchema(SchemaRef(id=number), kind, text)  # type: ignore[arg-type]  # mypy widens the literal
        formats[name] = WireFormat(encoder(number), schema)
    return formats
