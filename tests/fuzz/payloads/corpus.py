"""The formats that are fuzzed, each with valid payloads of several shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import orjson

from forebay.models.artefacts.signature import Feature, Signature
from forebay.stream.config.sections import InputSection
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import Record
from forebay.stream.decode import DecodedModel, Decoder
from forebay.stream.decode.event_formats import EventFormats, event_formats
from forebay.stream.decode.models import ModelChoice
from forebay.stream.decode.validator import EventLimits, EventValidator
from forebay.stream.schema_registry.store import SchemaStore
from tests.core.build import JULY
from tests.decode.formats.images import encoded, exif, picture
from tests.formats.events import MIXED as TEXTS
from tests.formats.events import NUMBERS as NUMBERS_32
from tests.formats.events import arrow_record, events_of, json_mapped, mapping_of, wire_formats
from tests.fuzz.payloads.image_repair import repair_image
from tests.fuzz.payloads.schema_corpus import SCHEMA_TARGETS
from tests.fuzz.payloads.target import NotCompared, Sample, Target, TargetDecoder

MAX_EVENT_BYTES: Final = 60_000  # below the longest mutated payload
MAX_KEY_BYTES: Final = 90

MIXED: Final = Signature(
    (
        Feature("amount"),
        Feature("count", nullable=True),
        Feature("country", "category", ("AT", "DE", "FR"), nullable=True),
        Feature("device", "hashed", buckets=16),
        Feature("at", "timestamp", parts=("hour", "weekday"), nullable=True),
        Feature("rate"),
    ),
    (7,),
    "binary",
    1,
)
NUMBERS: Final = Signature(
    tuple(Feature(f"f{index}", nullable=index % 2 == 1) for index in range(8)), (8,), "binary", 1
)
PICTURE: Final = Signature((), (3, 6, 8), "multiclass", 2)
GRID: Final = Signature((), (2, 4), "binary", 1)


def features_of(signature: Signature, seed: int) -> dict[str, Any]:
    """Return valid features by name. Nullable ones are missing now and then."""
    rng = np.random.default_rng([seed, signature.num_features])
    values: dict[str, Any] = {}
    for feature in signature.features:
        if feature.nullable and rng.random() < 0.2:
            values[feature.name] = None
        elif feature.parts:
            values[feature.name] = JULY + int(rng.integers(0, 10**10))
        elif feature.is_text:
            values[feature.name] = str(rng.choice(feature.categories or ("phone", "tablet", "")))
        else:
            values[feature.name] = float(np.float32(rng.normal(0, 100)))
    return values


def decoding(signature: Signature, formats: EventFormats | None = None) -> TargetDecoder:
    """Return a decoder of events in these formats, and its validator as the exact path. Without formats: plain events."""
    model = DecodedModel(ModelRef("m", 1), signature)
    choice = ModelChoice((model,))
    validator = EventValidator(choice, EventLimits(MAX_EVENT_BYTES, MAX_KEY_BYTES), formats)

    def exact(record: Record, topic: str) -> tuple[str, int, bytes]:
        if any(b"arrow" in content.lower() for _, content in record.headers):
            raise NotCompared  # rows of a record have other default ids than records
        event = validator.validate(record, topic, partition=0)
        return event.id, event.timestamp, choice.formats[0].matrix([event.row])[0].tobytes()

    decoder = Decoder((model,), max_event_bytes=MAX_EVENT_BYTES, max_key_bytes=MAX_KEY_BYTES, formats=formats)
    return TargetDecoder(decoder, model, exact)


def _json(name: str, signature: Signature) -> Target:
    samples = []
    for seed in range(12):
        document: dict[str, Any] = {"id": f"e-{seed}", "timestamp": JULY + seed}
        if signature.features:
            values = features_of(signature, seed)
            document["features"] = values if seed % 2 else list(values.values())
        else:
            numbers = np.random.default_rng(seed).normal(size=signature.shape)
            document["features" if seed % 3 else "input"] = (numbers if seed % 2 else numbers.ravel()).tolist()
        if seed % 4 == 3:
            document |= {"key": "k", "model": "m", "deadline_ms": JULY}
        headers = (("content-type", b"application/json; charset=utf-8"),) if seed % 3 == 2 else ()
        samples.append(Sample(orjson.dumps(document), headers))
    return Target(name, lambda: decoding(signature), samples)


def _f32(name: str) -> Target:
    headers = (("content-type", b"application/x-forebay-f32"),)
    samples = [
        Sample(np.random.default_rng(seed).normal(size=8).astype("<f4").tobytes(), more)
        for seed in range(6)
        for more in (headers, (*headers, ("forebay-id", b"i"), ("forebay-timestamp", b"1372636800000")))
    ]
    return Target(name, lambda: decoding(NUMBERS), samples)


def _formats(signature: Signature, **settings: object) -> EventFormats:
    """Return the formats of a worker with these settings of [input], and the schemas of all wire formats."""
    schemas = SchemaStore()
    for wire_format in wire_formats(signature, first_id=1).values():
        if wire_format.schema is not None:
            schemas.put(wire_format.schema)
    return event_formats(InputSection.model_validate(settings), prefix="", schemas=schemas)


def _wire(name: str, signature: Signature, wires: Sequence[str]) -> Target:
    """Return the target of events in some of the formats that the comparison of formats has."""
    formats = wire_formats(signature, first_id=1)
    samples = [
        Sample(wire.value, wire.headers, framing=5 if wire.value.startswith(b"\0") else 0)
        for wire_name in wires
        for wire in map(formats[wire_name].encode, events_of(signature, 12))
    ]
    return Target(name, lambda: decoding(signature, _formats(signature)), samples)


def _mapped() -> Target:
    samples = [Sample(json_mapped(event).value) for event in events_of(TEXTS, 12)]
    return Target("json-mapped", lambda: decoding(TEXTS, _formats(TEXTS, mapping=mapping_of(TEXTS))), samples)


def _arrow_rows() -> Target:
    events = events_of(TEXTS, 40)
    wires = [arrow_record(TEXTS, events[first : first + count]) for first, count in ((0, 1), (1, 4), (5, 20), (25, 15))]
    samples = [Sample(wire.value, wire.headers) for wire in wires]

    return Target("arrow-rows", lambda: decoding(TEXTS, _formats(TEXTS)), samples, has_many_rows=True)


def _images() -> Target:
    modes = (
        ("PNG", "RGB"),
        ("PNG", "P"),
        ("PNG", "L"),
        ("PNG", "RGBA"),
        ("JPEG", "RGB"),
        ("JPEG", "L"),
        ("WEBP", "RGB"),
    )
    files = [
        *(encoded(picture(8, 6, mode), file_type) for file_type, mode in modes),
        encoded(picture(8, 6), "JPEG", progressive=True, exif=b"Exif\x00\x00" + exif(6)),
        encoded(picture(8, 6), "WEBP", lossless=True),
        encoded(picture(8, 6, "RGBA"), "WEBP", exact=True),
        encoded(picture(30, 20)),
    ]
    samples = [Sample(file, framing=4, repair=repair_image) for file in files]
    settings = {"format": "image", "image_resize": "bilinear", "max_image_pixels": 100_000}
    return Target("image", lambda: decoding(PICTURE, _formats(NUMBERS_32, **settings)), samples)


_SCHEMALESS: Final = ("MessagePack", "CloudEvents structured", "CloudEvents binary")
_FRAMED: Final = ("Avro", "Avro nullable", "Protobuf", "JSON Schema", "Arrow")

TARGETS: Final[Mapping[str, Callable[[], Target]]] = MappingProxyType(
    {
        "json": lambda: _json("json", MIXED),
        "json-numbers": lambda: _json("json-numbers", NUMBERS),
        "json-nested": lambda: _json("json-nested", GRID),
        "json-mapped": _mapped,
        "base64": lambda: _wire("base64", NUMBERS_32, ("base64 float32",)),
        "f32": lambda: _f32("f32"),
        "msgpack": lambda: _wire("msgpack", TEXTS, ("MessagePack",)),
        "cloudevents": lambda: _wire("cloudevents", TEXTS, ("CloudEvents structured", "CloudEvents binary")),
        "avro": lambda: _wire("avro", NUMBERS_32, ("Avro",)),
        "avro-texts": lambda: _wire("avro-texts", TEXTS, ("Avro", "Avro nullable")),
        "protobuf": lambda: _wire("protobuf", TEXTS, ("Protobuf",)),
        "json-schema": lambda: _wire("json-schema", TEXTS, ("JSON Schema",)),
        "arrow": lambda: _wire("arrow", TEXTS, ("Arrow",)),
        "arrow-rows": _arrow_rows,
        "all-formats": lambda: _wire("all-formats", TEXTS, ("JSON list", "JSON by name", *_SCHEMALESS, *_FRAMED)),
        "image": _images,
        **SCHEMA_TARGETS,
    }
)
"""The targets by name."""

FORMATS: Final[Mapping[str, Sequence[str]]] = MappingProxyType(
    {
        "json": ("json", "json-numbers", "json-nested", "json-mapped"),
        "json-schema": ("json-schema",),
        "base64": ("base64",),
        "f32": ("f32",),
        "msgpack": ("msgpack",),
        "cloudevents": ("cloudevents",),
        "avro": ("avro", "avro-texts", "avro-flat", "avro-nullable", "avro-nullable-evolved", "avro-nested"),
        "protobuf": ("protobuf", "protobuf-rich"),
        "arrow": ("arrow", "arrow-rows"),
        "image": ("image",),
        "all-formats": ("all-formats",),
    }
)
"""The targets of each format. all-formats: payloads of all of them in one topic."""
