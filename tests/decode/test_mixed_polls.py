"""A record is read in the format that its headers say, wherever it stands in a poll."""

from __future__ import annotations

import itertools
import struct

import msgspec
import orjson
import pytest

from forebay.models.artefacts.signature import Feature, Signature
from forebay.stream.config.sections import InputSection
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import Record
from forebay.stream.decode import DecodedModel, Decoder
from forebay.stream.decode.event_formats import event_formats
from forebay.stream.schema_registry.framing import VALUE_SCHEMA_HEADER
from forebay.stream.schema_registry.schema import RegisteredSchema, SchemaRef
from forebay.stream.schema_registry.store import SchemaStore
from tests.core.build import EPOCH, JULY, P0, FakeRecord

Headers = tuple[tuple[str, bytes], ...]

SIGNATURES = (
    Signature((Feature("a"), Feature("b")), (2,), "binary", 1),
    Signature((Feature("a"), Feature("b", nullable=True)), (2,), "binary", 1),
)
SCHEMA = SchemaRef(id=7)
HEADER = (VALUE_SCHEMA_HEADER, b"\x00" + (7).to_bytes(4, "big"))
OWN = {"id": "own", "timestamp": JULY, "features": {"a": 1.5, "b": 2.5}}
"""An event with Forebay's fields, which is also the data of other formats."""
JSON = ("content-type", b"application/json")
CE = (("ce_specversion", b"1.0"), ("ce_id", b"of the headers"), ("ce_time", b"2013-07-02T00:00:00Z"))

KINDS: dict[str, tuple[bytes, Headers]] = {
    "plain": (orjson.dumps(OWN), ()),
    "with a trace": (orjson.dumps(OWN), (("traceparent", b"00-1"),)),
    "with its type": (orjson.dumps(OWN), (JSON,)),
    "for the second model": (orjson.dumps(OWN), (("forebay-model", b"m1"),)),
    "binary CloudEvent": (orjson.dumps(OWN), (*CE, JSON)),
    "binary CloudEvent without a type": (orjson.dumps(OWN), CE),
    "of a schema in a header": (orjson.dumps(OWN), (HEADER,)),
    "against its schema": (orjson.dumps(OWN | {"id": 3}), (HEADER,)),
    "of a schema that is overridden": (orjson.dumps(OWN), (HEADER, JSON)),
    "structured CloudEvent": (
        orjson.dumps({"specversion": "1.0", "id": "ce", "time": "2013-07-02T00:00:00Z", "data": {"a": 3, "b": 4}}),
        (("content-type", b"application/cloudevents+json"),),
    ),
    "MessagePack": (msgspec.msgpack.encode(OWN), (("Content-Type", b"application/msgpack"),)),
    "raw": (struct.pack("<2f", 5, 6), (("content-type", b"application/x-forebay-f32"),)),
    "unknown": (b"<xml/>", (("content-type", b"text/xml"),)),
    "damaged": (b"{", ()),
}


def decoder(*, has_registry: bool) -> Decoder:
    schemas = SchemaStore() if has_registry else None
    if schemas is not None:
        text = orjson.dumps({"type": "object", "properties": {"id": {"type": "string"}}}).decode()
        schemas.put(RegisteredSchema(SCHEMA, "JSON", text))
    formats = event_formats(InputSection(), prefix="", schemas=schemas)
    models = [DecodedModel(ModelRef(f"m{number}", 1), one) for number, one in enumerate(SIGNATURES)]
    return Decoder(models, max_event_bytes=10_000, max_key_bytes=50, formats=formats)


def outcomes(of: Decoder, records: list[Record]) -> dict[int, object]:
    """Return what becomes of each record, by its offset."""
    found: dict[int, object] = {}
    for chunk in of.decode({P0: records}, EPOCH):
        rows = zip(chunk.records, chunk.ids, chunk.timestamps, chunk.x_BF.tolist(), strict=True)
        found |= {record.offset: (chunk.model, *row) for record, *row in rows}
        found |= {one.record.offset: (one.kind, one.message) for one in chunk.rejections}
    return found


def records_of(names: tuple[str, ...]) -> list[Record]:
    return [
        FakeRecord(offset, KINDS[name][0], key=b"key", timestamp=JULY, headers=KINDS[name][1])
        for offset, name in enumerate(names)
    ]


@pytest.mark.parametrize("has_registry", [False, True])
def test_a_record_becomes_the_same_at_every_place_of_a_poll(has_registry: bool) -> None:
    alone = {name: outcomes(decoder(has_registry=has_registry), records_of((name,)))[0] for name in KINDS}
    assert len(set(map(str, alone.values()))) >= 8
    for special, plain in itertools.product(KINDS, ("plain", "with a trace", "for the second model")):
        for place in range(4):
            names = [plain] * 4
            names[place] = special
            # A new decoder: it learns from the polls before.
            assert outcomes(decoder(has_registry=has_registry), records_of(tuple(names))) == {
                offset: alone[name] for offset, name in enumerate(names)
            }, (special, plain, place)


def test_many_formats_alternate_in_one_poll() -> None:
    of = decoder(has_registry=True)
    alone = {name: outcomes(of, records_of((name,)))[0] for name in KINDS}
    names = tuple(KINDS)
    for turn in range(len(names)):
        order = names[turn:] + names[:turn]
        assert outcomes(of, records_of(order)) == {offset: alone[name] for offset, name in enumerate(order)}
