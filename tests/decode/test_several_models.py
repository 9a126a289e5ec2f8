"""Each event goes to the model that it names or that its topic has, and the chunks divide the records of a poll exactly."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.schemas.failures import FailureKind
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.record_sizes import record_bytes
from forebay.stream.core.records import Chunk, Record, TopicPartition, Unreadable
from forebay.stream.decode import DecodedModel, Decoder
from tests.core.build import EPOCH, JULY, P0, FakeRecord, event, signature, unreadable
from tests.decode.build import CATEGORIES, F32, GRID, IMAGE, documents_of, values, without_fast_path

NARROW, WIDE, BOUND = ModelRef("narrow", 1), ModelRef("wide", 7), ModelRef("bound", 2)
BOUND_TOPIC = TopicPartition("deliveries", 0)
MODELS = (
    DecodedModel(NARROW, signature(2)),
    DecodedModel(WIDE, signature(3, names=True)),
    DecodedModel(BOUND, signature(2), frozenset({"deliveries", "returns"})),
)


def decoder(models: Sequence[DecodedModel] = MODELS) -> Decoder:
    return Decoder(models, max_event_bytes=10_000, max_key_bytes=100)


def model_of(value: bytes | None, *, partition: TopicPartition = P0, **record: Any) -> ModelRef:
    """Return the model of a single event, which must be valid, whatever path decodes it."""
    (chunk,) = decoder().decode({partition: [FakeRecord(7, value, **record)]}, EPOCH)
    assert chunk.num_rows == 1 and not chunk.rejections and chunk.next_offset == 8
    return chunk.model


def rejected(
    value: bytes | None, *, partition: TopicPartition = P0, **record: Any
) -> tuple[FailureKind, ModelRef, str]:
    (chunk,) = decoder().decode({partition: [FakeRecord(7, value, **record)]}, EPOCH)
    (rejection,) = chunk.rejections
    assert not chunk.num_rows and chunk.num_records == 1
    return rejection.kind, chunk.model, rejection.message


def header(name: bytes) -> tuple[tuple[str, bytes], ...]:
    return (("forebay-model", name),)


THREE, TWO = [1.0, 2.0, 3.0], [1.0, 2.0]


def test_an_event_is_for_the_model_of_its_field_else_header_else_topic_else_the_first() -> None:
    assert model_of(event(features=TWO)) == NARROW
    assert model_of(event(features=TWO), partition=BOUND_TOPIC) == BOUND
    assert model_of(event(features=TWO), partition=TopicPartition("returns", 4)) == BOUND
    assert model_of(event(features=THREE), headers=header(b"wide")) == WIDE
    assert model_of(event(features=THREE), headers=(("Forebay-Model", b"wide"),), partition=BOUND_TOPIC) == WIDE
    assert model_of(event(features=THREE, model="wide")) == WIDE
    assert model_of(event(features=TWO, model="narrow"), partition=BOUND_TOPIC) == NARROW
    assert model_of(event(features=THREE, model="wide"), headers=header(b"narrow")) == WIDE
    assert model_of(event(features=TWO, model="bound"), headers=header(b"narrow")) == BOUND
    assert model_of(event(features=THREE, model="wide"), headers=header(b"unknown")) == WIDE
    assert model_of(event(features=THREE, model="wide"), headers=header(b"\xff")) == WIDE
    assert model_of(event(features=THREE, model=None), headers=header(b"wide")) == WIDE
    assert model_of(event(features=TWO, model=None), partition=BOUND_TOPIC) == BOUND
    assert model_of(event(features={"f0": 1, "f1": 2, "f2": 3}, model="wide", more=1)) == WIDE
    assert model_of(event(features=THREE), headers=(*header(b"narrow"), *header(b"wide"))) == WIDE


def test_raw_events_are_for_the_model_of_their_header_else_topic() -> None:
    two, three = struct.pack("<2f", *TWO), struct.pack("<3f", *THREE)
    assert model_of(two, headers=F32, key=b"k") == NARROW
    assert model_of(two, headers=F32, key=b"k", partition=BOUND_TOPIC) == BOUND
    assert model_of(three, headers=(*F32, *header(b"wide")), key=b"k") == WIDE
    assert model_of(three, headers=(*header(b"wide"), *F32), key=b"k", partition=BOUND_TOPIC) == WIDE
    assert model_of(three, headers=(*F32, *header(b"wide"), ("forebay-id", b"i"))) == WIDE
    assert rejected(two, headers=(*F32, *header(b"wide")), key=b"k")[:2] == (FailureKind.WRONG_LENGTH, WIDE)


def test_a_rejected_record_counts_for_the_model_that_it_names_if_known_else_for_its_topics() -> None:
    unknown = FailureKind.UNKNOWN_MODEL
    assert rejected(event(features=TWO, model="other"))[:2] == (unknown, NARROW)
    assert rejected(event(features=TWO, model="other"), partition=BOUND_TOPIC)[:2] == (unknown, BOUND)
    assert rejected(event(features=TWO, model="other"), headers=header(b"wide"))[:2] == (unknown, NARROW)
    assert rejected(event(features=TWO), headers=header(b"other"))[:2] == (unknown, NARROW)
    assert rejected(event(features=TWO), headers=header(b""))[:2] == (unknown, NARROW)
    assert rejected(event(features=TWO, model=""))[:2] == (unknown, NARROW)
    assert rejected(event(features=TWO), headers=header(b"\xff"))[:2] == (FailureKind.WRONG_TYPE, NARROW)
    assert rejected(event(features=TWO, model=3), headers=header(b"wide"))[:2] == (FailureKind.WRONG_TYPE, NARROW)
    assert rejected(event(features=TWO, model="wide"))[:2] == (FailureKind.WRONG_LENGTH, WIDE)
    assert rejected(event("", features=THREE, model="wide"))[:2] == (FailureKind.WRONG_TYPE, WIDE)
    assert rejected(b"{", headers=header(b"wide"))[:2] == (FailureKind.NOT_JSON, WIDE)
    assert rejected(b"{", partition=BOUND_TOPIC)[:2] == (FailureKind.NOT_JSON, BOUND)
    assert rejected(None, headers=header(b"wide"), key=b"k" * 101)[:2] == (FailureKind.KEY_TOO_LARGE, WIDE)
    assert rejected(None, partition=BOUND_TOPIC)[:2] == (FailureKind.EMPTY_VALUE, BOUND)


def test_the_message_about_an_unknown_model_lists_what_is_served() -> None:
    message = rejected(event(features=TWO, model="other"))[2]
    assert message == "model 'other' is not served here; 'narrow', 'wide' and 'bound' are"
    for count, listed in (
        (1, "'m0' is"),
        (2, "'m0' and 'm1' are"),
        (7, "'m0', 'm1', 'm2', 'm3', 'm4' and … 2 more are"),
    ):
        models = [DecodedModel(ModelRef(f"m{number}", 1), signature(2)) for number in range(count)]
        (chunk,) = decoder(models).decode({P0: [FakeRecord(0, event(model="x" * 200))]}, EPOCH)
        assert chunk.rejections[0].message == f"model {'x' * 80!r} is not served here; {listed}"


@pytest.mark.parametrize(
    "models",
    [
        (),
        (MODELS[0], DecodedModel(ModelRef("narrow", 2), signature())),
        (MODELS[2], DecodedModel(WIDE, signature(), frozenset({"returns"}))),
    ],
)
def test_models_must_differ_in_their_names_and_topics(models: Sequence[DecodedModel]) -> None:
    with pytest.raises(ValueError, match="different names and topics"):
        decoder(models)


def test_the_chunks_of_a_partition() -> None:
    records = [
        FakeRecord(3, event("a", TWO)),
        FakeRecord(4, event("b", THREE, model="wide")),
        FakeRecord(6, b"garbage"),
        unreadable(10, 19, 5),
        FakeRecord(20, event("c", THREE, model="wide", key="k", deadline_ms=JULY), key=None),
        FakeRecord(21, event("d", [1], model="wide")),
        FakeRecord(23, event("e", TWO, model="narrow"), key=b"key"),
        FakeRecord(24, event("f", THREE, model="wide")),
    ]
    narrow, wide = decoder().decode({P0: records}, EPOCH)
    assert (narrow.model, wide.model) == (NARROW, WIDE)
    assert (narrow.ids, wide.ids) == (["a", "e"], ["b", "c", "f"])
    assert (narrow.x_BF.shape, wide.x_BF.shape) == ((2, 2), (3, 3))
    assert [(r.index, r.kind) for r in narrow.rejections] == [
        (1, FailureKind.NOT_JSON),
        (2, FailureKind.BATCH_TOO_LARGE),
    ]
    assert [(r.index, r.kind) for r in wide.rejections] == [(2, FailureKind.WRONG_LENGTH)]
    assert (wide.keys, wide.deadlines) == ({1: b"k"}, {1: JULY})
    assert (narrow.first_offset, narrow.next_offset, narrow.num_passed) == (3, 24, 8)
    assert (wide.first_offset, wide.next_offset, wide.num_passed) == (4, 25, 4)
    head, tail = wide.split(2)
    assert (head.model, tail.model) == (WIDE, WIDE)
    assert (head.ids, tail.ids, tail.rejections[0].index) == (["b", "c"], ["f"], 0)


def test_a_poll_of_one_model_is_not_copied() -> None:
    records = [FakeRecord(offset, event(str(offset), TWO)) for offset in range(3)]
    (chunk,) = decoder().decode({P0: records}, EPOCH)
    assert chunk.records is records


class NoValidator:
    def validate(self, record: Record, topic: str) -> None:
        raise AssertionError(f"the fast path left {record.value!r} to the validator")


ALL_SHAPES = (
    DecodedModel(ModelRef("vector", 1), signature(3)),
    DecodedModel(ModelRef("twin", 1), signature(3)),
    DecodedModel(ModelRef("named", 1), signature(2, names=True)),
    DecodedModel(ModelRef("categories", 1), CATEGORIES),
    DecodedModel(ModelRef("grid", 1), GRID),
    DecodedModel(ModelRef("image", 1), IMAGE),
)
PLAIN_FEATURES: tuple[tuple[str, object], ...] = (
    ("vector", [1, 2.5, 3]),
    ("twin", [1, 2.5, 3]),
    ("named", {"f0": 1, "f1": 2, "other": None}),
    ("named", [1, 2]),
    ("categories", ["AA", 1, 2, "B"]),
    ("categories", {"carrier": "UA", "delay": 1, "wind": 0.5, "gate": "A"}),
    ("grid", [1, 2, 3, 4]),
    ("grid", [[1, 2], [3, 4]]),
    ("image", [[[0, 1, 2], [3, 4, 5]], [[6, 7, 8], [9, 10, 11]]]),
)


@pytest.mark.parametrize("left_out", ["none", "image", "grid", "categories"])
@pytest.mark.parametrize("named_by", ["field", "header"])
def test_plain_events_of_all_shapes_need_no_validator(named_by: str, left_out: str) -> None:
    models = [model for model in ALL_SHAPES if model.ref.name != left_out]
    of = decoder(models)
    of._shared_topics.add(P0.topic)
    of._shared._validator = NoValidator()  # type: ignore[assignment]
    records = [
        FakeRecord(offset, event(features=features, model=name))
        if named_by == "field"
        else FakeRecord(offset, event(features=features), headers=header(name.encode()))
        for offset, (name, features) in enumerate(PLAIN_FEATURES)
        if name != left_out
    ]
    if named_by == "header":
        for name, size in (("vector", 3), ("grid", 4)):
            headers = (*F32, *header(name.encode()))
            value = struct.pack(f"<{size}f", *range(size))
            records += [FakeRecord(len(records), value, key=b"k", headers=headers)] * (name != left_out)
    chunks = of.decode({P0: records}, EPOCH)
    assert [chunk.model.name for chunk in chunks] == [model.ref.name for model in models]
    assert sum(chunk.num_rows for chunk in chunks) == len(records)


MODEL_NAMES = [model.ref.name for model in ALL_SHAPES]
named = st.sampled_from([*MODEL_NAMES, *MODEL_NAMES, "other", None])
plain_events = st.builds(
    lambda plain, name, event_id: json.dumps(
        {"id": event_id, "timestamp": 5, "features": plain[1], "model": name or plain[0]}
    ).encode(),
    st.sampled_from(PLAIN_FEATURES),
    st.sampled_from([None, None, *MODEL_NAMES]),
    st.sampled_from(["a", 3]),
)
ends_with_a_name = st.builds(
    lambda plain, field, end: json.dumps(
        {"model": plain[0], "id": "a", "timestamp": 5, "features": plain[1]} | {field: end}
    ).encode(),
    st.sampled_from(PLAIN_FEATURES),
    st.sampled_from(["id", "key", "unknown"]),
    st.sampled_from(MODEL_NAMES),
)
events_without_model = st.sampled_from(PLAIN_FEATURES).map(lambda plain: event(features=plain[1]))
names_twice = st.tuples(named, named).map(
    lambda pair: (
        b'{"model":%s,"id":"a","timestamp":1,"features":[1,2,3],"m\\u006fdel":%s}'
        % tuple(json.dumps(name).encode() for name in pair)
    )
)
raw_rows = st.lists(st.floats(width=32), min_size=2, max_size=4).map(lambda row: struct.pack(f"<{len(row)}f", *row))
headers = st.lists(
    st.sampled_from(
        [
            F32[0],
            ("Content-Type", b"application/json"),
            ("trace", b"1"),
            ("forebay-id", b"i"),
            ("forebay-model", b"\xff"),
            ("forebay-model", None),
            *[("forebay-model", name.encode()) for name in [*MODEL_NAMES, "other"]],
        ]
    ),
    max_size=3,
).map(tuple)
payloads = (
    plain_events
    | events_without_model
    | ends_with_a_name
    | names_twice
    | documents_of(named | values)
    | raw_rows
    | st.none()
    | st.binary(max_size=10)
)
plain_records = st.builds(lambda value: (value, None, ()), payloads)
records_with_headers = st.tuples(payloads, st.sampled_from([None, b"", b"k", b"\xff", b"k" * 101]), headers)
header_or_none = named.map(lambda name: header(name.encode()) if name else ())
named_records = st.tuples(plain_events | events_without_model, st.none(), header_or_none)
raw_records = st.tuples(
    raw_rows,
    st.sampled_from([b"k", b"k", b"", None]),
    header_or_none.map(lambda name: (*F32, *name)),
)
polls = (
    st.lists(plain_records, min_size=1, max_size=8)
    | st.lists(st.tuples(plain_events | events_without_model, st.none(), st.just(())), min_size=1, max_size=8)
    | st.lists(named_records | records_with_headers | raw_records, min_size=1, max_size=8)
    | st.lists(raw_records, min_size=1, max_size=8)
)


def as_records(poll: Sequence[tuple[bytes | None, bytes | None, Any]], with_unreadable: bool = False) -> list[Record]:
    records: list[Record] = [
        FakeRecord(2 * offset, value, key=key, headers=headers) for offset, (value, key, headers) in enumerate(poll)
    ]
    return [*records, unreadable(100, 109, 3)] if with_unreadable else records


def assert_same(one: Sequence[Chunk], other: Sequence[Chunk]) -> None:
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert (a.partition, a.epoch, a.model) == (b.partition, b.epoch, b.model)
        assert (list(a.records), a.ids, a.timestamps) == (list(b.records), b.ids, b.timestamps)
        assert (a.rejections, a.keys, a.deadlines) == (b.rejections, b.keys, b.deadlines)
        assert (a.num_records, a.num_bytes, a.next_offset) == (b.num_records, b.num_bytes, b.next_offset)
        assert a.x_BF.shape == b.x_BF.shape and a.x_BF.tobytes() == b.x_BF.tobytes()


@given(polls, st.sampled_from([*MODEL_NAMES, None]), st.booleans())
def test_the_fast_path_agrees_with_the_validator_about_event_and_model(
    poll: list[Any], bound: str | None, is_shared: bool
) -> None:
    topics = {name: frozenset({P0.topic}) if name == bound else frozenset[str]() for name in MODEL_NAMES}
    models = [DecodedModel(model.ref, model.signature, topics[model.ref.name]) for model in ALL_SHAPES]
    fast, slow = decoder(models), without_fast_path(decoder(models))
    if is_shared:
        fast._shared_topics.add(P0.topic)
    records = as_records(poll)
    chunks = fast.decode({P0: records}, EPOCH)
    assert_same(chunks, slow.decode({P0: records}, EPOCH))
    assert_same(chunks, fast.decode({P0: records}, EPOCH))
    assert all(not np.isinf(chunk.x_BF).any() for chunk in chunks)


@given(polls, st.booleans())
def test_the_chunks_divide_the_records_exactly(poll: list[Any], with_unreadable: bool) -> None:
    records = as_records(poll, with_unreadable)
    chunks = decoder(ALL_SHAPES).decode({P0: records}, EPOCH)
    offsets = []
    for chunk in chunks:
        own = sorted(
            [*chunk.records, *(rejection.record for rejection in chunk.rejections)], key=lambda record: record.offset
        )
        offsets += [record.offset for record in own]
        rejected_at = {rejection.index: rejection.record for rejection in chunk.rejections}
        rows = [record for index, record in enumerate(own) if index not in rejected_at]
        assert all(own[index] is record for index, record in rejected_at.items())
        assert list(map(id, rows)) == list(map(id, chunk.records)), "rows are in offset order"
        assert chunk.num_records == len(own) and chunk.num_bytes == sum(map(record_bytes, own))
        assert chunk.next_offset == own[-1].offset + 1
        first = own[0]
        assert chunk.first_offset == (first.first_offset if isinstance(first, Unreadable) else first.offset)
        assert len(chunk.ids) == len(chunk.timestamps) == len(chunk.x_BF) == chunk.num_rows
    assert sorted(offsets) == [record.offset for record in records]
    assert sum(chunk.num_bytes for chunk in chunks) == sum(map(record_bytes, records))
    assert max(chunk.next_offset for chunk in chunks) == records[-1].offset + 1
    assert len({chunk.model for chunk in chunks}) == len(chunks)


@given(polls, st.sampled_from(ALL_SHAPES), st.booleans())
def test_one_model_is_decoded_alike_by_the_code_for_one_and_for_several(
    poll: list[Any], model: DecodedModel, with_unreadable: bool
) -> None:
    records = as_records(poll, with_unreadable)
    one, several = decoder([model]), decoder([model])
    several._shared_topics.add(P0.topic)
    assert_same(one.decode({P0: records}, EPOCH), several.decode({P0: records}, EPOCH))


@given(polls)
def test_each_model_gets_the_rows_that_a_worker_of_its_own_would_give_it(poll: list[Any]) -> None:
    records = as_records(poll)
    for chunk in decoder(ALL_SHAPES).decode({P0: records}, EPOCH):
        (model,) = [model for model in ALL_SHAPES if model.ref == chunk.model]
        for row, record in enumerate(chunk.records):
            (alone,) = decoder([model]).decode({P0: [record]}, EPOCH)
            assert alone.x_BF.tobytes() == chunk.x_BF[row].tobytes()
            assert (alone.ids[0], alone.timestamps[0]) == (chunk.ids[row], chunk.timestamps[row])
