"""Every example event in the catalogue means what its file says, and every bad one fails as its file says."""

from __future__ import annotations

import json
import math

import pytest

from forebay.models.artefacts.signature import Signature
from forebay.schemas.examples import (
    MAX_EVENT_BYTES,
    MAX_KEY_BYTES,
    MODEL,
    SIGNATURE_FILE,
    Example,
    bad_examples,
    good_examples,
)
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import Chunk
from forebay.stream.decode import DecodedModel, Decoder
from tests.core.build import EPOCH, P0, FakeRecord

GOOD = [example for example in good_examples() if example.schema in ("event", "event-f32")]
BAD = [example for example in bad_examples() if example.schema in ("event", "event-f32")]


def decode(example: Example) -> Chunk:
    signature = Signature.from_dict(json.loads(SIGNATURE_FILE.read_text()))
    decoder = Decoder(
        [DecodedModel(ModelRef(MODEL, 1), signature)], max_event_bytes=MAX_EVENT_BYTES, max_key_bytes=MAX_KEY_BYTES
    )
    record = FakeRecord(3, example.value, timestamp=example.timestamp, key=example.key, headers=example.headers)
    (chunk,) = decoder.decode({P0: [record]}, EPOCH)
    return chunk


@pytest.mark.parametrize("example", GOOD, ids=str)
def test_valid_examples(example: Example) -> None:
    chunk, decoded = decode(example), example.decoded
    assert decoded is not None and not chunk.rejections
    assert list(chunk.ids) == [decoded.id] and list(chunk.timestamps) == [decoded.timestamp]
    assert chunk.deadlines == ({} if decoded.deadline_ms is None else {0: decoded.deadline_ms})
    expected = [math.nan if value is None else value for value in decoded.features]
    assert chunk.x_BF[0].tolist() == pytest.approx(expected, rel=1e-6, nan_ok=True)
    if decoded.key is not None and example.key is None:
        assert chunk.keys == {0: decoded.key.encode()}


@pytest.mark.parametrize("example", BAD, ids=str)
def test_invalid_examples(example: Example) -> None:
    (rejection,) = decode(example).rejections
    assert rejection.kind is example.kind
    assert rejection.message
