"""Events with fields that nothing reads take the fast path, and it decides as the validator does."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.models.artefacts.signature import Signature
from forebay.stream.core.records import Record
from forebay.stream.decode import DecodedModel, Decoder
from tests.core.build import EPOCH, MODEL, P0, FakeRecord, event, signature
from tests.decode.build import CATEGORIES, GRID, TEXTS, TIMES, values, without_fast_path

pytestmark = pytest.mark.usefixtures("reader")

MORE = {"trace": "ä", "meta": {"host": "a", "key": 1, "tags": [None, True, "x"]}, "version": 3}


class NoValidator:
    def validate(self, record: Record, topic: str) -> None:
        raise AssertionError(f"the fast path left {record.value!r} to the validator")


def decoder(of: Signature) -> Decoder:
    return Decoder([DecodedModel(MODEL, of)], max_event_bytes=10_000)


@pytest.mark.parametrize(
    ("of", "features"),
    [
        (signature(), [1, 2.5, 3]),
        (signature(names=True), {"f0": 1, "f1": 2, "f2": 3}),
        (CATEGORIES, ["AA", 1, 2, "B"]),
        (GRID, [1, 2, 3, 4]),
        (GRID, [[1, 2], [3, 4]]),
    ],
)
def test_they_need_no_validator(of: Signature, features: object) -> None:
    decodes = decoder(of)
    decodes._one_model._validator = NoValidator()  # type: ignore[assignment]
    plain, extended = event("a", features), event("b", features, **MORE)
    poll = [plain, extended, extended, plain, extended]
    (chunk,) = decodes.decode({P0: [FakeRecord(offset, value) for offset, value in enumerate(poll)]}, EPOCH)
    assert chunk.ids == ["a", "b", "b", "a", "b"] and not chunk.rejections
    assert (chunk.x_BF == chunk.x_BF[0]).all()


# What a parser that skips fields would accept, but the validator does not; and fields that have a meaning.
FRAGMENTS = (
    b'"x":"\xff"',
    b'"\xff":1',
    b'"x":1e999',
    b'"x":-0',
    b'"x":"\\ud800"',
    *(b'"x":' + b"[" * depth + b"]" * depth for depth in (64, 300, 1000, 2000)),
    b'"x":' + b'{"y":' * 300 + b"1" + b"}" * 300,
    b'"key":null',
    b'"key":"k"',
    b'"key":7',
    b'"model":null',
    b'"deadline_ms":1372700000000',
    b'"input":[9,9,9]',
    b'"features":[4,5,6]',
    b'"features":"AACAPwAAAEAAAEBA"',
    b'"\\u0069d":"other"',
    b'"id":""',
    b'"timestamp":true',
    b'"timestamp":"2013-07-01T23:30:00-05:00"',
)
fields = st.dictionaries(st.text(max_size=3), values, max_size=3).map(lambda more: json.dumps(more).encode()[1:-1])


@given(
    st.lists(st.lists(st.sampled_from(FRAGMENTS) | fields, max_size=3), min_size=1, max_size=6),
    st.sampled_from([signature(), signature(names=True), TEXTS, TIMES, GRID]),
)
def test_the_outcome_is_that_of_the_validator(polls: list[list[bytes]], of: Signature) -> None:
    records = []
    for offset, parts in enumerate(polls):
        plain = event(f"e{offset}", [1, 2, 3])
        value = b",".join([plain[:-1], *(part for part in parts if part)]) + b"}"
        records.append(FakeRecord(offset, value))
    (fast,) = decoder(of).decode({P0: records}, EPOCH)
    (slow,) = without_fast_path(decoder(of)).decode({P0: records}, EPOCH)
    assert (fast.ids, fast.timestamps, fast.keys) == (slow.ids, slow.timestamps, slow.keys)
    assert fast.rejections == slow.rejections
    assert fast.x_BF.tobytes() == slow.x_BF.tobytes()
