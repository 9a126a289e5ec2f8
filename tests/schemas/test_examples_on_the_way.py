"""The examples against the code that reads and writes records: documents and code agree."""

from __future__ import annotations

import math

import orjson
import pytest
from jsonschema import Draft202012Validator

from forebay.models.artefacts.signature import Signature
from forebay.schemas.definitions import definitions
from forebay.schemas.examples import (
    MAX_EVENT_BYTES,
    MAX_KEY_BYTES,
    MODEL,
    Example,
    bad_examples,
    good_examples,
    signature,
)
from forebay.schemas.failures import FAILURES, FailureKind
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.outputs import OutputTopic, OutputTopics
from forebay.stream.core.records import Chunk, MicroBatch, RowFailure
from forebay.stream.decode import DecodedModel, Decoder
from forebay.stream.output.emitter import Emitter, Placer
from forebay.stream.output.encoder import PredictionEncoder
from tests.core.build import EPOCH, P0, FakeRecord, chunk, finish


def decode(example: Example) -> Chunk:
    decoder = Decoder(
        [DecodedModel(ModelRef(MODEL, 1), Signature.from_dict(signature()))],
        max_event_bytes=MAX_EVENT_BYTES,
        max_key_bytes=MAX_KEY_BYTES,
    )
    record = FakeRecord(7, example.value, timestamp=example.timestamp, key=example.key, headers=example.headers)
    (decoded,) = decoder.decode({P0: [record]}, EPOCH)
    return decoded


def test_the_signature_is_written_as_the_models_write_it() -> None:
    assert Signature.from_dict(signature()).to_dict() == signature()


@pytest.mark.parametrize("example", [example for example in good_examples() if example.decoded], ids=str)
def test_good_events_decode_to_the_stated_values(example: Example) -> None:
    stated, decoded = example.decoded, decode(example)
    assert stated is not None
    assert not decoded.rejections
    assert (decoded.ids[0], decoded.timestamps[0]) == (stated.id, stated.timestamp)
    row = [None if math.isnan(value) else pytest.approx(value) for value in decoded.x_BF[0].tolist()]
    assert row == list(stated.features)
    assert decoded.keys == ({} if stated.key is None else {0: stated.key.encode()})
    assert decoded.deadlines == ({} if stated.deadline_ms is None else {0: stated.deadline_ms})


@pytest.mark.parametrize("example", bad_examples(), ids=str)
def test_bad_events_are_rejected_with_their_kind(example: Example) -> None:
    assert [rejection.kind for rejection in decode(example).rejections] == [example.kind]


def test_emitted_records_satisfy_their_schema() -> None:
    labels = ("no", "yes")
    output = OutputTopics(
        OutputTopic("predictions", 2, 100_000),
        OutputTopic("dead-letters", 2, 100_000),
        OutputTopic("outcome-deltas", 2, 100_000),
    )
    emitter = Emitter(
        PredictionEncoder(model="m", version=1, labels=labels, num_classes=2),
        model="m",
        version=1,
        topics=output,
        placer=Placer({"features": 2}, len),
        worker="w",
    )
    batch = MicroBatch(0, (chunk(range(10), rejected=[3], headers=(("traceparent", b"00-a-b-01"),)),), "size", 0.0)
    failure = RowFailure(FailureKind.MODEL_ERROR, "IndexError: 7 is out of bounds", "File 'model.py', line 12")
    emission = emitter.emit([finish(batch, {2: failure})])
    seen: dict[str, int] = {}
    for place, records in emission.outgoing.items():
        name = {"predictions": "prediction", "dead-letters": "dead-letter", "outcome-deltas": "outcome-delta"}[
            place.topic
        ]
        validator = Draft202012Validator(definitions()[name])
        for value, headers in zip(records.values, records.headers, strict=True):
            seen[name] = seen.get(name, 0) + 1
            carried = {header: content.decode() for header, content in headers}
            instance = carried if name == "dead-letter" else orjson.loads(value or b"")
            assert [error.message for error in validator.iter_errors(instance)] == []
    kinds = {FailureKind.MODEL_ERROR, FailureKind.NOT_JSON}
    assert {FAILURES[kind].outcome for kind in kinds} < set(emission.ledger.outcomes)
    assert seen == {"prediction": 8, "dead-letter": 2, "outcome-delta": 3}
