"""Decode is total, agrees with json.loads, and its fast path never differs from the judge."""

from __future__ import annotations

import json
import math
import struct
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.models.artefacts.signature import Feature, Signature
from forebay.models.artefacts.text_codes import encode_texts
from forebay.schemas.failures import FAILURES, FailureKind, Outcome
from forebay.stream.core.header_sizes import HEADER_OBJECT_BYTES
from forebay.stream.core.record_sizes import record_bytes
from forebay.stream.core.records import Chunk
from forebay.stream.decode import DecodedModel, Decoder
from forebay.stream.decode.features import MAX_FLOAT32
from tests.core.build import EPOCH, JULY, MODEL, P0, P1, FakeRecord, event, signature, unreadable
from tests.decode import build
from tests.decode.build import CATEGORIES, F32, GRID, IMAGE, TEXTS, documents_of, numbers, values, without_fast_path

pytestmark = pytest.mark.usefixtures("reader")


def decoder(of: Signature | None = None) -> Decoder:
    return Decoder([DecodedModel(MODEL, of or signature())], max_event_bytes=10_000)


def decode_one(value: bytes | None, *, of: Signature | None = None, **record: object) -> Chunk:
    (chunk,) = decoder(of).decode({P0: [FakeRecord(7, value, **record)]}, EPOCH)  # type: ignore[arg-type]
    assert chunk.num_records == len(chunk.records) + len(chunk.rejections) == 1
    assert chunk.next_offset == 8
    return chunk


def validate_one(value: bytes, *, of: Signature) -> Chunk:
    """Decode an event with the validator alone."""
    (chunk,) = without_fast_path(decoder(of)).decode({P0: [FakeRecord(7, value)]}, EPOCH)
    return chunk


def kind_of(value: bytes | None, **more: object) -> FailureKind:
    (rejection,) = decode_one(value, **more).rejections  # type: ignore[arg-type]
    return rejection.kind


def test_a_poll_becomes_a_matrix_for_each_partition() -> None:
    poll = {
        P0: [FakeRecord(0, event("a", [1, 2, 3])), FakeRecord(1, b"garbage"), FakeRecord(4, event("b", [4, 5, 6]))],
        P1: [FakeRecord(9, event("c", [7, 8, 9]))],
    }
    first, second = decoder().decode(poll, EPOCH)
    assert first.ids == ["a", "b"] and second.ids == ["c"]
    assert first.x_BF.tolist() == [[1, 2, 3], [4, 5, 6]] and second.x_BF.tolist() == [[7, 8, 9]]
    assert [(r.index, r.kind) for r in first.rejections] == [(1, FailureKind.NOT_JSON)]
    assert (first.next_offset, second.next_offset) == (5, 10)
    assert first.x_BF.flags.writeable, "torch warns of arrays that it could not write to"


@pytest.mark.parametrize("headers", [(), F32, (("trace", b"1"),)])
@pytest.mark.parametrize(("length", "rejected"), [(32_768, False), (32_769, True)])
def test_long_record_keys_are_rejected(length: int, rejected: bool, headers: tuple[tuple[str, bytes], ...]) -> None:
    value = struct.pack("<3f", 1, 2, 3) if headers == F32 else event()
    chunk = decode_one(value, key=b"k" * length, headers=headers)
    assert [rejection.kind for rejection in chunk.rejections] == [FailureKind.KEY_TOO_LARGE] * rejected


def test_long_key_fields_are_rejected() -> None:
    assert not decode_one(event(key="k" * 9000)).rejections
    (chunk,) = Decoder([DecodedModel(MODEL, signature())], max_event_bytes=10_000, max_key_bytes=10).decode(
        {P0: [FakeRecord(0, event(key="€€€")), FakeRecord(1, event(key="€€€€"))]}, EPOCH
    )
    assert [(rejection.index, rejection.kind) for rejection in chunk.rejections] == [(1, FailureKind.KEY_TOO_LARGE)]


def test_keys_and_headers_count_towards_the_size() -> None:
    records = [
        FakeRecord(0, b"garbage", key=b"k" * 100),
        FakeRecord(1, event("a"), key=b"k" * 50, headers=(("h", b"v" * 30), ("n", None))),  # type: ignore[arg-type]
        FakeRecord(2, event("b")),
        FakeRecord(3, None, key=b"key"),
    ]
    (chunk,) = decoder().decode({P0: records}, EPOCH)
    size = len(event("a"))
    second = size + 50 + 32 + 2 * HEADER_OBJECT_BYTES
    assert chunk.num_bytes == 107 + second + size + 3
    head, tail = chunk.split(2)
    assert (head.num_bytes, tail.num_bytes) == (107 + second, size + 3)
    limits = (106, 107, 106 + second, 107 + second, 10_000)
    assert [chunk.size_within(limit) for limit in limits] == [0, 1, 1, 2, 4]


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, FailureKind.EMPTY_VALUE),
        (b"", FailureKind.EMPTY_VALUE),
        (b"x" * 10_001, FailureKind.TOO_LARGE),
        (b"{", FailureKind.NOT_JSON),
        (b"\xff\xfe", FailureKind.NOT_JSON),
        (b'{"id":"a","timestamp":1,"features":[NaN,1,2]}', FailureKind.NOT_JSON),
        (b"[" * 5000, FailureKind.NOT_JSON),
        (b"[1,2,3]", FailureKind.NOT_AN_OBJECT),
        (b"null", FailureKind.NOT_AN_OBJECT),
        (b'{"timestamp":1,"features":[1,2,3]}', FailureKind.MISSING_FIELD),
        (b'{"id":"a","features":[1,2,3]}', FailureKind.MISSING_FIELD),
        (b'{"id":"a","timestamp":1}', FailureKind.MISSING_FIELD),
        (event(True), FailureKind.WRONG_TYPE),
        (event(""), FailureKind.WRONG_TYPE),
        (event(1.5), FailureKind.WRONG_TYPE),
        (event(features="123"), FailureKind.WRONG_TYPE),
        (event(features=["1", 2, 3]), FailureKind.WRONG_TYPE),
        (event(features=[[1], 2, 3]), FailureKind.WRONG_TYPE),
        (event(features={"f0": 1}), FailureKind.WRONG_TYPE),
        (event(features=[1, 2]), FailureKind.WRONG_LENGTH),
        (event(features=[1, 2, 3, 4]), FailureKind.WRONG_LENGTH),
        (event(features=[1, None, 3]), FailureKind.MISSING_VALUE),
        (b'{"id":"a","timestamp":1,"features":[1e400,1,2]}', FailureKind.OUT_OF_RANGE),
        (event(features=[1, 3.5e38, 3]), FailureKind.OUT_OF_RANGE),
        (event(features=[1, 2**63, 2**64 - 1]), None),
        (b'{"id":"a","timestamp":-1,"features":[1,2,3]}', FailureKind.OUT_OF_RANGE),
        (b'{"id":"a","timestamp":99999999999999999,"features":[1,2,3]}', FailureKind.OUT_OF_RANGE),
        (b'{"id":"a","timestamp":1.5,"features":[1,2,3]}', FailureKind.WRONG_TYPE),
        (b'{"id":"a","timestamp":"yesterday","features":[1,2,3]}', FailureKind.WRONG_TYPE),
        (b'{"id":"a","timestamp":"2013-02-30T00:00:00Z","features":[1,2,3]}', FailureKind.OUT_OF_RANGE),
        (event(key=1), FailureKind.WRONG_TYPE),
        (event(model="other"), FailureKind.UNKNOWN_MODEL),
        (event(deadline_ms="soon"), FailureKind.WRONG_TYPE),
    ],
)
def test_each_invalid_value_has_its_kind(value: bytes | None, kind: FailureKind | None) -> None:
    if kind is None:
        assert not decode_one(value).rejections
    else:
        assert kind_of(value) is kind
        assert FAILURES[kind].outcome is Outcome.REJECTED


def test_every_form_of_a_valid_event() -> None:
    assert decode_one(event(12)).ids == ["12"]
    assert decode_one(b'{"id":"a","timestamp":1,"input":[1,2,3]}').x_BF.tolist() == [[1, 2, 3]]
    assert decode_one(event(features=[True, False, 3])).x_BF.tolist() == [[1, 0, 3]]
    decoded = decode_one(b'{"id":"a","timestamp":"2013-07-01T00:00:00.250+00:00","features":[1,2,3]}')
    assert decoded.timestamps == [JULY + 250]
    assert decode_one(event(model="m", extra={"deep": [1]}), headers=(("traceparent", b"00"),)).ids == ["a"]
    assert decode_one(event(key="k")).keys == {0: b"k"}
    assert decode_one(event(key="k"), key=b"mine").keys == {}
    assert decode_one(event(deadline_ms=JULY + 5)).deadlines == {0: JULY + 5}
    assert decode_one(b'{"id":"a","id":"b","timestamp":1,"features":[1,2,3]}').ids == ["b"]  # as json.loads: the last


def test_named_features_categories_and_missing_values() -> None:
    named = {"gate": "B", "carrier": "UA", "delay": 5, "wind": None, "ignored": 1}
    assert decode_one(event(features=named), of=CATEGORIES).x_BF[0, [0, 1, 3]].tolist() == [1, 5, 1]
    row = decode_one(event(features={"carrier": "AA", "delay": 5, "gate": "Z"}), of=CATEGORIES).x_BF[0]
    assert row[0] == 0 and row[1] == 5 and math.isnan(row[2]) and math.isnan(row[3])
    assert decode_one(event(features=["AA", 5, 1.5, "A"]), of=CATEGORIES).x_BF.tolist() == [[0, 5, 1.5, 0]]
    assert kind_of(event(features={"carrier": "AA", "wind": 1}), of=CATEGORIES) is FailureKind.MISSING_FIELD
    assert kind_of(event(features={"carrier": "AA", "delay": None}), of=CATEGORIES) is FailureKind.MISSING_VALUE
    assert kind_of(event(features={"carrier": "ZZ", "delay": 5}), of=CATEGORIES) is FailureKind.UNKNOWN_CATEGORY
    assert kind_of(event(features={"carrier": 1, "delay": 5}), of=CATEGORIES) is FailureKind.WRONG_TYPE
    assert kind_of(event(features={"carrier": "AA", "delay": "5"}), of=CATEGORIES) is FailureKind.WRONG_TYPE


def test_hashed_texts_and_unknown_categories_with_a_code_of_their_own() -> None:
    carrier, wind, gate = TEXTS.features[0], TEXTS.features[2], TEXTS.features[3]
    for decode in (decode_one, validate_one):
        for first, second in (("AA", "B"), ("", "Zürich"), ("x" * 200, "東京")):
            for features in (
                [first, 5, "UA", second],
                {"wind": "UA", "delay": 5, "gate": second, "carrier": first},
            ):
                row = decode(event(features=features), of=TEXTS).x_BF[0]
                assert row.tolist() == [*encode_texts(carrier, [first]), 5, 1, *encode_texts(gate, [second])]
        row = decode(event(features={"carrier": "AA", "delay": 5, "wind": "ZZ"}), of=TEXTS).x_BF[0]
        assert row[2] == wind.num_codes - 1 == 2 and math.isnan(row[3])
        assert math.isnan(decode(event(features=["AA", 5, None, "B"]), of=TEXTS).x_BF[0, 2])
        for wrong, kind in (
            ({"delay": 5}, FailureKind.MISSING_FIELD),
            ({"carrier": None, "delay": 5}, FailureKind.MISSING_VALUE),
            *(({"carrier": value, "delay": 5}, FailureKind.WRONG_TYPE) for value in (1, 1.5, True, ["AA"], {"a": 1})),
            ({"carrier": "AA", "delay": 5, "wind": 1}, FailureKind.WRONG_TYPE),
        ):
            (rejection,) = decode(event(features=wrong), of=TEXTS).rejections
            assert rejection.kind is kind


def test_raw_buckets_are_below_their_number() -> None:
    def raw(*values: float) -> bytes:
        return struct.pack("<4f", *values)

    assert decode_one(raw(15, 5, 2, 2), of=TEXTS, headers=F32, key=b"k").x_BF.tolist() == [[15, 5, 2, 2]]
    for row in ((16, 5, 2, 2), (15, 5, 3, 2), (15, 5, 2, 3), (0.5, 5, 2, 2)):
        assert kind_of(raw(*row), of=TEXTS, headers=F32, key=b"k") is FailureKind.UNKNOWN_CATEGORY


def test_a_string_is_not_an_array_of_categories() -> None:
    of = Signature(tuple(Feature(name, "category", ("A", "B")) for name in ("first", "second")), (2,), "binary", 1)
    assert decode_one(event(features=["A", "B"]), of=of).x_BF.tolist() == [[0, 1]]
    assert kind_of(event(features="AB"), of=of) is FailureKind.WRONG_TYPE


def test_an_image_may_be_flat_or_nested_in_the_shape_of_the_signature() -> None:
    nested = [[[0, 1, 2], [3, 4, 5]], [[6, 7, 8], [9, 10, True]]]
    for features in ([*range(11), 1], nested):
        chunk = decode_one(event(features=features), of=IMAGE)
        assert chunk.x_BF.tolist() == [[*range(11), 1]]
    mixed = Signature(tuple(Feature(f"f{i}", "category", ("a", "b")) for i in range(4)), (2, 2), "binary", 1)
    assert decode_one(event(features=[["a", "b"], ["b", "a"]]), of=mixed).x_BF.tolist() == [[0, 1, 1, 0]]


@pytest.mark.parametrize(
    ("features", "kind", "message"),
    [
        (
            [[[0] * 3] * 2] * 3,
            FailureKind.WRONG_LENGTH,
            "has 3 instead of 2 at depth 1; the model takes nested arrays of 2×2×3",
        ),
        ([[[0] * 2] * 2] * 2, FailureKind.WRONG_LENGTH, "has 2 instead of 3 at depth 3"),
        ([[[0] * 3, [0] * 2]] * 2, FailureKind.WRONG_LENGTH, "arrays of different lengths"),
        ([[0] * 3] * 2, FailureKind.WRONG_LENGTH, "has 3 instead of 2 at depth 2"),
        ([[0] * 2] * 2, FailureKind.WRONG_TYPE, "has values where arrays are expected, at depth 2"),
        ([[[0] * 3] * 2, 0], FailureKind.WRONG_TYPE, "has values where arrays are expected, at depth 1"),
        ([[[0, 0, None], [0] * 3]] * 2, FailureKind.MISSING_VALUE, "features[2] is null"),
        ([[[0, 0, [0]], [0] * 3]] * 2, FailureKind.WRONG_TYPE, "features[2] is an array"),
        ([[[0, 0, 4e38], [0] * 3]] * 2, FailureKind.OUT_OF_RANGE, "features[2] is beyond float32"),
        ([0] * 11, FailureKind.WRONG_LENGTH, "11 features; the model takes 12"),
        ([], FailureKind.WRONG_LENGTH, "0 features; the model takes 12"),
    ],
)
def test_nested_features_of_another_shape_are_rejected(features: object, kind: FailureKind, message: str) -> None:
    (rejection,) = decode_one(event(features=features), of=IMAGE).rejections
    assert rejection.kind is kind and message in rejection.message.replace("`", "")


def test_large_images_may_be_nested_too() -> None:
    of = Signature((), (3, 50, 40), "multiclass", 2)
    image = np.arange(6000, dtype=np.float32).reshape(3, 50, 40)
    value = event(features=image.tolist())
    (chunk,) = Decoder([DecodedModel(MODEL, of)], max_event_bytes=100_000).decode({P0: [FakeRecord(0, value)]}, EPOCH)
    assert chunk.x_BF[0].tolist() == image.ravel().tolist()


def test_messages_name_the_place() -> None:
    (rejection,) = decode_one(event(features={"carrier": "AA", "delay": None}), of=CATEGORIES).rejections
    assert "'delay'" in rejection.message
    (rejection,) = decode_one(event(features=[1, "x", 3])).rejections
    assert "features[1]" in rejection.message


def test_raw_float32() -> None:
    value = struct.pack("<3f", 1, 2, 3)
    plain = decode_one(value, headers=F32, key=b"k1")
    assert plain.ids == ["k1"] and plain.timestamps == [JULY] and plain.x_BF.tolist() == [[1, 2, 3]]
    full = decode_one(
        value,
        headers=(*F32, ("forebay-id", b"i"), ("forebay-timestamp", b"5"), ("forebay-deadline-ms", b"9")),
        key=b"k1",
    )
    assert full.ids == ["i"] and full.timestamps == [5] and full.deadlines == {0: 9}
    assert kind_of(value, headers=F32) is FailureKind.MISSING_FIELD
    assert kind_of(value + b"\0", headers=F32, key=b"k") is FailureKind.WRONG_LENGTH
    assert kind_of(value, headers=F32, key=b"\xff") is FailureKind.WRONG_TYPE
    assert kind_of(value, headers=(*F32, ("forebay-model", b"x")), key=b"k") is FailureKind.UNKNOWN_MODEL
    assert kind_of(value, headers=(*F32, ("forebay-timestamp", b"-1")), key=b"k") is FailureKind.WRONG_TYPE
    assert kind_of(struct.pack("<3f", 1, math.nan, 3), headers=F32, key=b"k") is FailureKind.NOT_FINITE
    assert kind_of(struct.pack("<3f", 1, math.inf, 3), headers=F32, key=b"k") is FailureKind.NOT_FINITE
    assert kind_of(value, headers=(("Content-Type", b"text/plain"),)) is FailureKind.UNSUPPORTED_CONTENT_TYPE
    assert not decode_one(event(), headers=(("content-type", b"application/json; charset=utf-8"),)).rejections


def test_raw_codes_must_be_categories() -> None:
    def raw(*values: float) -> bytes:
        return struct.pack("<4f", *values)

    good = decode_one(raw(1, 5, math.nan, math.nan), of=CATEGORIES, headers=F32, key=b"k")
    assert good.x_BF[0, :2].tolist() == [1, 5] and np.isnan(good.x_BF[0, 2:]).all()
    for code in (2, -1, 0.5):
        assert kind_of(raw(code, 5, 1, 0), of=CATEGORIES, headers=F32, key=b"k") is FailureKind.UNKNOWN_CATEGORY


def test_a_raw_row_that_is_not_finite_does_not_affect_others() -> None:
    records = [
        FakeRecord(i, struct.pack("<3f", i, math.nan if i == 2 else 0, 1), key=b"%d" % i, headers=F32) for i in range(5)
    ]
    (chunk,) = decoder().decode({P0: records}, EPOCH)
    assert chunk.ids == ["0", "1", "3", "4"] and [r.index for r in chunk.rejections] == [2]
    assert chunk.x_BF[:, 0].tolist() == [0, 1, 3, 4]


documents = documents_of(st.sampled_from(["m", "n"]) | values)
payloads = (
    documents
    | st.binary(max_size=40)
    | documents.flatmap(lambda value: st.integers(0, len(value)).map(lambda cut: value[:cut]))
)


@given(
    st.lists(payloads, min_size=1, max_size=8),
    st.sampled_from([signature(), signature(names=True), CATEGORIES, TEXTS, build.TIMES, GRID]),
)
def test_decode_never_raises_and_its_fast_path_agrees_with_the_validator(poll: list[bytes], of: Signature) -> None:
    records = [FakeRecord(offset, value) for offset, value in enumerate(poll)]
    (fast,) = decoder(of).decode({P0: records}, EPOCH)
    (slow,) = without_fast_path(decoder(of)).decode({P0: records}, EPOCH)
    assert fast.num_records == len(fast.records) + len(fast.rejections) == len(poll)
    assert fast.ids == slow.ids and fast.timestamps == slow.timestamps
    assert fast.keys == slow.keys and fast.deadlines == slow.deadlines
    assert fast.rejections == slow.rejections
    assert fast.x_BF.tobytes() == slow.x_BF.tobytes()
    assert not np.isinf(fast.x_BF).any()


@given(st.lists(payloads, min_size=1, max_size=6), st.integers(0, 5), payloads)
def test_the_decision_about_an_event_does_not_depend_on_its_neighbours(
    poll: list[bytes], place: int, value: bytes
) -> None:
    alone = decode_one(value)
    place = min(place, len(poll))
    together = [*poll[:place], value, *poll[place:]]
    (chunk,) = decoder().decode({P0: [FakeRecord(i, v) for i, v in enumerate(together)]}, EPOCH)
    rejected = {r.index: r for r in chunk.rejections}
    if alone.rejections:
        assert rejected[place].kind is alone.rejections[0].kind
    else:
        row = [record.offset for record in chunk.records].index(place)
        assert chunk.ids[row] == alone.ids[0]
        assert chunk.x_BF[row].tobytes() == alone.x_BF[0].tobytes()


@given(st.lists(numbers, min_size=3, max_size=3), st.text(min_size=1, max_size=5))
def test_features_are_the_json_numbers_rounded_to_float32(features: list[float], event_id: str) -> None:
    value = json.dumps({"id": event_id, "timestamp": 0, "features": features})
    numbers = [float(number) for number in json.loads(value)["features"]]
    chunk = decode_one(value.encode())
    if any(abs(number) >= MAX_FLOAT32 for number in numbers):
        assert [r.kind for r in chunk.rejections] == [FailureKind.OUT_OF_RANGE]
    else:
        assert chunk.x_BF.tobytes() == np.array([numbers]).astype(np.float32).tobytes()


@given(st.binary(max_size=20))
def test_any_bytes_as_float32_have_one_outcome(value: bytes) -> None:
    chunk = decode_one(value, headers=F32, key=b"k")
    finite = len(value) == 12 and bool(np.isfinite(np.frombuffer(value, "<f4")).all())
    assert len(chunk.records) == finite
    if finite:
        assert chunk.x_BF.tobytes() == value


@given(st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)))
def test_rfc_3339_times(moment: datetime) -> None:
    value = json.dumps({"id": "a", "timestamp": moment.isoformat(), "features": [1, 2, 3]}).encode()
    assert abs(decode_one(value).timestamps[0] - moment.timestamp() * 1000) <= 1


@pytest.mark.parametrize(("factor", "unit"), [(1000, "microseconds"), (1_000_000, "nanoseconds")])
def test_a_timestamp_in_another_unit_is_rejected_with_the_unit_named(factor: int, unit: str) -> None:
    (rejection,) = decode_one(event(timestamp=JULY * factor)).rejections
    assert rejection.kind is FailureKind.OUT_OF_RANGE
    assert rejection.message.endswith(f"in milliseconds: it looks like {unit} (2013-07-01)")


def test_an_unreadable_batch_is_rejected_with_the_number_of_its_records() -> None:
    records = [FakeRecord(9, event()), unreadable(10, 19, 5), FakeRecord(20, event())]
    (chunk,) = decoder().decode({P0: records}, EPOCH)
    assert [record.offset for record in chunk.records] == [9, 20]
    (rejection,) = chunk.rejections
    assert (rejection.index, rejection.count, rejection.kind) == (1, 5, FailureKind.BATCH_TOO_LARGE)
    assert rejection.message == "offsets 10 to 19 (5 records): too large"
    assert (chunk.num_records, chunk.num_passed, chunk.next_offset) == (3, 7, 21)
    head, tail = chunk.split(2)
    assert (head.num_passed, head.next_offset) == (6, 20) and (tail.num_passed, tail.next_offset) == (1, 21)
    assert decoder().decode({P0: records[:2]}, EPOCH)[0].next_offset == 20


@pytest.mark.parametrize(("timestamp", "kind"), [(-1, FailureKind.MISSING_FIELD), (10**18, FailureKind.OUT_OF_RANGE)])
def test_a_raw_event_needs_a_timestamp_if_its_record_has_none(timestamp: int, kind: FailureKind) -> None:
    value = struct.pack("<3f", 1, 2, 3)
    assert kind_of(value, headers=F32, key=b"k", timestamp=timestamp) is kind
    own = (*F32, ("forebay-timestamp", b"5"))
    assert decode_one(value, headers=own, key=b"k", timestamp=timestamp).timestamps == [5]


def test_headers_count_with_their_size_in_memory() -> None:
    record = FakeRecord(0, event("a", [1, 2, 3]), headers=[("", b"")] * 8000)
    (chunk,) = decoder().decode({P0: [record]}, EPOCH)
    assert chunk.num_bytes > 8000 * 100
    assert chunk.num_bytes == record_bytes(record)
