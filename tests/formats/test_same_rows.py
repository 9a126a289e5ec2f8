"""The same events in every format become the same rows, bit by bit, alone and mixed in one topic."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from forebay.models.artefacts.signature import Signature
from forebay.stream.config.sections import InputSection
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import Chunk, TopicPartition
from forebay.stream.decode import DecodedModel, Decoder
from forebay.stream.decode.event_formats import event_formats
from forebay.stream.schema_registry.store import SchemaStore
from tests.core.build import EPOCH, P0, FakeRecord
from tests.formats.events import (
    MIXED,
    NUMBERS,
    FeatureEvent,
    Wire,
    WireFormat,
    arrow_record,
    events_of,
    json_mapped,
    mapping_of,
    wire_formats,
)

COUNT = 40


SIGNATURES = {"numbers": NUMBERS, "mixed": MIXED}
FORMATS = {name: wire_formats(signature, first_id=1) for name, signature in SIGNATURES.items()}


def decoder(signature: Signature, formats: Mapping[str, WireFormat], **settings: object) -> Decoder:
    schemas = SchemaStore()
    for each in formats.values():
        if each.schema is not None:
            schemas.put(each.schema)
    section = InputSection.model_validate(settings)
    model = DecodedModel(ModelRef("m", 1), signature)
    return Decoder((model,), max_event_bytes=1 << 20, formats=event_formats(section, prefix="", schemas=schemas))


def decode(of: Decoder, wires: Sequence[Wire], partition: TopicPartition = P0) -> Chunk:
    """Return the only chunk, with a row for each event."""
    records = [FakeRecord(offset, wire.value, headers=wire.headers) for offset, wire in enumerate(wires)]
    (chunk,) = of.decode({partition: records}, EPOCH)
    assert [(fault.kind, fault.message) for fault in chunk.rejections] == []
    return chunk


def expected_rows(signature: Signature, events: Sequence[FeatureEvent]) -> bytes:
    """Return the rows of plain JSON, which are compared with what the signature says about numbers."""
    formats = wire_formats(signature, first_id=1)
    chunk = decode(decoder(signature, {}), [formats["JSON list"].encode(event) for event in events])
    numbers = [name for name in events[0].features if name.startswith("f")]
    values = [
        [np.nan if event.features[name] is None else event.features[name] for name in numbers] for event in events
    ]
    assert chunk.x_BF[:, : len(numbers)].tobytes() == np.array(values, dtype="<f4").tobytes()
    return chunk.x_BF.tobytes()


def check(chunk: Chunk, events: Sequence[FeatureEvent], rows: bytes) -> None:
    assert list(chunk.ids) == [event.id for event in events]
    assert list(chunk.timestamps) == [event.timestamp for event in events]
    assert chunk.x_BF.tobytes() == rows


@pytest.mark.parametrize(("name", "wire"), [(name, wire) for name, formats in FORMATS.items() for wire in formats])
def test_each_format_gives_the_same_rows(name: str, wire: str) -> None:
    signature = SIGNATURES[name]
    events = events_of(signature, COUNT)
    rows = expected_rows(signature, events)
    of = decoder(signature, FORMATS[name])
    wires = list(map(FORMATS[name][wire].encode, events))
    check(decode(of, wires), events, rows)
    check(decode(of, wires), events, rows)  # with what the first poll has found out


@pytest.mark.parametrize("name", SIGNATURES)
def test_formats_mixed_in_one_topic_give_the_same_rows(name: str) -> None:
    signature, formats = SIGNATURES[name], list(FORMATS[name].values())
    events = events_of(signature, COUNT)
    rows = expected_rows(signature, events)
    of = decoder(signature, FORMATS[name])
    for shift in range(len(formats)):
        wires = [formats[(number + shift) % len(formats)].encode(event) for number, event in enumerate(events)]
        check(decode(of, wires), events, rows)


@pytest.mark.parametrize("name", SIGNATURES)
def test_mapped_events_give_the_same_rows(name: str) -> None:
    signature = SIGNATURES[name]
    events = events_of(signature, COUNT)
    mapped = TopicPartition("mapped", 0)
    settings = {"topics": ["features", "mapped"], "mappings": {"mapped": mapping_of(signature)}}
    of = decoder(signature, FORMATS[name], **settings)
    check(decode(of, list(map(json_mapped, events)), mapped), events, expected_rows(signature, events))


@pytest.mark.parametrize("name", SIGNATURES)
def test_rows_of_an_arrow_record_are_the_same(name: str) -> None:
    signature = SIGNATURES[name]
    events = events_of(signature, COUNT)
    wires = [arrow_record(signature, events[:25]), arrow_record(signature, events[25:])]
    check(decode(decoder(signature, {}), wires), events, expected_rows(signature, events))


@pytest.mark.parametrize("wire", ["Avro", "Avro nullable", "Protobuf", "MessagePack"])
def test_all_bit_patterns_of_nan_are_one_in_the_row(wire: str) -> None:
    (event,) = events_of(MIXED, 1)
    marked = replace(event, features={**event.features, "f0": 1.5})
    sent = FORMATS["mixed"][wire].encode(marked)
    for number in (">f", "<f", ">d", "<d"):
        nan = b"\xff" * struct.calcsize(number)
        value = sent.value.replace(struct.pack(number, 1.5), nan, 1)
        if value != sent.value:
            break
    chunk = decode(decoder(MIXED, FORMATS["mixed"]), [Wire(value, sent.headers)])
    assert chunk.x_BF[0, 0].tobytes() == np.float32(np.nan).tobytes()
