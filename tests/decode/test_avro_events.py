"""Avro events of models with named features, through the decoder: settings, roles, versions of schemas, and both paths."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forebay.models.artefacts.signature import Feature, Signature
from forebay.schemas.errors import ConfigError
from forebay.stream.config.input_section import InputSection
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import Chunk
from forebay.stream.decode import DecodedModel, Decoder
from forebay.stream.decode.event_formats import event_formats
from forebay.stream.decode.formats.avro import AvroFormat
from forebay.stream.schema_registry.framing import frame
from forebay.stream.schema_registry.schema import RegisteredSchema, SchemaRef
from forebay.stream.schema_registry.store import SchemaStore
from tests.core.build import EPOCH, P0, FakeRecord
from tests.decode.formats.test_avro import encode, record_schema
from tests.decode.formats.test_avro_unframed import single

TOPIC = P0.topic
MODEL = Signature(
    (Feature("age"), Feature("income", nullable=True), Feature("colour", "category", ("red", "blue"), nullable=True)),
    (3,),
    "binary",
    1,
)
TIME = {"type": "long", "logicalType": "timestamp-micros"}
FIRST = record_schema(
    ("id", "string"),
    ("timestamp", TIME),
    ("age", "int"),
    ("income", ["null", "double"]),
    ("colour", ["null", "string"]),
)
SECOND = record_schema(
    {"name": "key", "type": "long", "forebay.role": "id"},
    {
        "name": "user",
        "type": {**record_schema({"name": "years", "type": "double", "forebay.feature": "age"}), "name": "User"},
    },
    {"name": "colour", "type": {"type": "enum", "name": "Colour", "symbols": ["blue", "green", "red"]}},
)


def decoder(section: InputSection, schemas: Sequence[Any] = ()) -> Decoder:
    store = SchemaStore()
    for number, schema in enumerate(schemas, 1):
        store.put(RegisteredSchema(SchemaRef(id=number), "AVRO", json.dumps(schema)))
    formats = event_formats(section, prefix="", schemas=store if schemas else None)
    model = DecodedModel(ModelRef("m", 1), MODEL)
    return Decoder([model], max_event_bytes=1 << 20, formats=formats)


def decode(of: Decoder, values: Sequence[bytes]) -> Chunk:
    records = [FakeRecord(offset, value, timestamp=5_000) for offset, value in enumerate(values)]
    (chunk,) = of.decode({P0: records}, EPOCH)
    assert chunk.num_records == len(values)
    return chunk


def first(number: int, **more: Any) -> dict[str, Any]:
    return {"id": f"e{number}", "timestamp": number * 1_000, "age": number, "income": None, "colour": "red"} | more


class CountingDocuments:
    """Counts how many payloads take the exact path."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        exact = AvroFormat.document

        def document(avro: AvroFormat, payload: bytes) -> dict[str, object]:
            self.count += 1
            return exact(avro, payload)

        monkeypatch.setattr(AvroFormat, "document", document)


def rows(chunk: Chunk) -> list[list[float | None]]:
    return [[None if np.isnan(value) else value for value in row] for row in chunk.x_BF.tolist()]


def test_features_are_found_by_name_and_nearly_all_events_take_the_fast_path(monkeypatch: pytest.MonkeyPatch) -> None:
    documents = CountingDocuments(monkeypatch)
    values = [frame(1, encode(FIRST, first(number, income=number / 2 if number % 2 else None))) for number in range(50)]
    chunk = decode(decoder(InputSection(), [FIRST]), values)
    assert list(chunk.ids) == [f"e{number}" for number in range(50)]
    assert list(chunk.timestamps) == list(range(50))
    assert rows(chunk)[:3] == [[0, None, 0], [1, 0.5, 0], [2, None, 0]]
    assert documents.count == 1  # to learn where the events have their features


def test_versions_of_a_schema_and_damaged_events_in_one_poll() -> None:
    evolved = record_schema(*FIRST["fields"][:2], ("age", "double"), ("region", "string"))
    damaged = frame(1, encode(FIRST, first(2)))[:-1]
    values = [
        frame(1, encode(FIRST, first(0))),
        frame(2, encode(SECOND, {"key": 7, "user": {"years": 1.5}, "colour": "blue"})),
        damaged,
        frame(3, encode(evolved, {"id": "e3", "timestamp": 9_000, "age": 2.5, "region": "-"})),
        frame(1, encode(FIRST, first(4, colour="green"))),
        frame(1, encode(FIRST, first(5, income=2.0, colour=None))),
    ]
    chunk = decode(decoder(InputSection(), [FIRST, SECOND, evolved]), values)
    assert [(rejection.index, rejection.kind) for rejection in chunk.rejections] == [(2, "invalid_payload")]
    assert list(chunk.ids) == ["e0", "7", "e3", "e4", "e5"]
    assert list(chunk.timestamps) == [0, 5_000, 9, 4, 5]
    assert rows(chunk) == [[0, None, 0], [1.5, None, 1], [2.5, None, None], [4, None, None], [5, 2, None]]


@pytest.mark.parametrize("with_readers", [False, True])
def test_a_readers_schema_supplies_what_a_writer_does_not_have(with_readers: bool, tmp_path: Path) -> None:
    reader = record_schema(
        ("id", "string"),
        {"name": "timestamp", "type": TIME, "default": 3_000},
        {"name": "age", "type": "double", "aliases": ["years"]},
        {"name": "income", "type": ["null", "double"], "default": None},
        {"name": "colour", "type": "string", "default": "blue"},
    )
    file = tmp_path / "reader.avsc"
    file.write_text(json.dumps(reader))
    section = InputSection(reader_schemas={TOPIC: str(file)} if with_readers else {})
    old = record_schema(("years", "int"), ("id", "string"))
    chunk = decode(decoder(section, [old]), [frame(1, encode(old, {"years": 3, "id": "a"}))])
    if with_readers:
        assert rows(chunk) == [[3, None, 1]] and list(chunk.timestamps) == [3]
    else:
        assert [rejection.kind for rejection in chunk.rejections] == ["missing_field"]


def test_events_without_a_registry(tmp_path: Path) -> None:
    file = tmp_path / "event.avsc"
    file.write_text(json.dumps(FIRST))
    section = InputSection(format="avro", avro_schemas=(str(file),))
    plain = record_schema(("note", ["null", "string"]), *FIRST["fields"])
    values = [single(FIRST, first(0)), encode(FIRST, first(1)), b"\xc3\x01" + bytes(8)]
    chunk = decode(decoder(section), values)
    assert list(chunk.ids) == ["e0", "e1"] and rows(chunk) == [[0, None, 0], [1, None, 0]]
    assert [rejection.kind for rejection in chunk.rejections] == ["invalid_payload"]
    # An event may begin with byte 0, as events with the prefix of a registry do.
    file.write_text(json.dumps(plain))
    chunk = decode(decoder(section), [encode(plain, {"note": None, **first(number)}) for number in range(3)])
    assert list(chunk.ids) == ["e0", "e1", "e2"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file"),
        (b"\xff", "it is not UTF-8"),
        (b"{", "is not JSON"),
        (b'"string"', "a record is expected"),
    ],
)
def test_a_file_that_is_not_a_schema_is_refused_at_the_start(
    content: bytes | None, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "event.avsc"
    if content is not None:
        file.write_bytes(content)
    settings: Mapping[str, Any] = {"input.avro_schemas": {"avro_schemas": (str(file),)}} | {
        f"input.reader_schemas, {TOPIC}": {"reader_schemas": {TOPIC: str(file)}}
    }
    for place, setting in settings.items():
        with pytest.raises(ConfigError) as caught:
            decoder(InputSection(**setting))
        assert caught.value.message.startswith(f"{place}: {file}") and message in caught.value.message
