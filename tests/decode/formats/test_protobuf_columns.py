"""The fast path of Protobuf against the exact one: every column equals the documents, or the payload is a suspect."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.stream.decode.formats.payload import Column, InvalidPayload, Path
from forebay.stream.decode.formats.protobuf import ProtobufFormat
from forebay.stream.decode.formats.protobuf_columns import MAX_ROUNDS
from tests.conftest import examples
from tests.decode.formats.protobuf_texts import OLD_ORDER, ORDER, class_of, protobuf_format, schema

FORMAT, ORDER_CLASS = protobuf_format(ORDER), class_of(ORDER)
OLD_FORMAT, OLD_CLASS = protobuf_format(OLD_ORDER), class_of(OLD_ORDER)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

PATHS: list[Path] = [
    *(
        ("id",),
        ("created_at",),
        ("createdAt",),
        ("discount",),
        ("amount",),
        ("balance",),
        ("status",),
        ("user", "name"),
    ),
    *(("user", "age"), ("user", "address", "lat"), ("user", "address"), ("user",), ("embedding",), ("embedding", "1")),
    *(("scores",), ("scores", "a"), ("card",), ("iban", "number"), ("iban",), ("voucher",), ("image",), ("took",)),
    *(("rating",), ("extra",), ("extra", "a", "0"), ("items",), ("items", "0", "quantity"), ("express",), ("serial",)),
    *(
        ("crc",),
        ("offset",),
        ("tags",),
        ("tags", "0"),
        ("delta",),
        ("count",),
        ("nothing",),
        ("id", "x"),
        ("created_at", "seconds"),
    ),
]
OLD_PATHS: list[Path] = [("id",), ("note",), ("kind",), ("plain",), ("packed",), ("box",), ("box", "width"), ("kinds",)]

texts = st.one_of(st.sampled_from(["", "a", "ab"]), st.text(max_size=4))
integers = st.one_of(st.sampled_from([0, 1, 127, 128]), st.integers(-(2**31), 2**31 - 1))
unsigned = st.integers(0, 2**32 - 1)
large = st.one_of(st.integers(-5, 300), st.integers(-(2**63), 2**63 - 1))
floats = st.one_of(st.sampled_from([0.0, 1.5, -0.0, math.inf, math.nan]), st.floats(width=32))


@st.composite
def orders(draw: st.DrawFn) -> Any:
    """Return a message with some of its fields."""
    order = ORDER_CLASS()
    chosen = draw(st.sets(st.sampled_from([field.name for field in order.DESCRIPTOR.fields]), max_size=12))
    single = {
        **{
            "id": texts,
            "discount": floats,
            "amount": floats,
            "balance": large,
            "status": st.integers(-2, 4),
            "card": texts,
        },
        **{"voucher": integers, "image": st.binary(max_size=3), "express": st.booleans(), "delta": integers},
        **{
            "serial": st.integers(0, 2**64 - 1),
            "crc": st.integers(0, 2**32 - 1),
            "offset": large,
            "count": st.integers(0, 2**32 - 1),
        },
    }
    for name in sorted(chosen):
        if name in single:
            setattr(order, name, draw(single[name]))
    if "created_at" in chosen:
        order.created_at.seconds = draw(st.one_of(st.integers(-10, 2 * 10**9), st.integers(-(2**40), 2**40)))
        order.created_at.nanos = draw(st.one_of(st.just(0), st.integers(-1, 10**9)))
    if "took" in chosen:
        order.took.seconds, order.took.nanos = draw(st.integers(-3, 10**6)), draw(st.integers(-(10**9), 10**9))
    if "user" in chosen:
        order.user.name = draw(texts)
        if draw(st.booleans()):
            order.user.age = draw(integers)
        if draw(st.booleans()):
            order.user.address.lat = draw(floats)
    if "iban" in chosen:
        order.iban.number = draw(texts)
    if "rating" in chosen:
        order.rating.value = draw(integers)
    order.embedding.extend(draw(st.lists(floats, max_size=3)) if "embedding" in chosen else [])
    order.tags.extend(draw(st.lists(texts, max_size=3)) if "tags" in chosen else [])
    for key in draw(st.lists(texts, max_size=2)) if "scores" in chosen else []:
        order.scores[key] = draw(floats)
    for sku in draw(st.lists(texts, max_size=2)) if "items" in chosen else []:
        item = order.items.add(sku=sku)
        item.part.added.seconds = draw(st.integers(-1, 1))
    if "extra" in chosen:
        order.extra.update({"a": [draw(texts), None], "b": {"c": True}})
    return order


@st.composite
def payloads(draw: st.DrawFn) -> bytes:
    """Return a payload: as the library writes it, with fields moved, repeated or added, or damaged."""
    payload = bytearray(draw(orders()).SerializeToString())
    change = draw(st.sampled_from(["none", "none", "none", "none", "append", "unknown", "damage", "cut", "insert"]))
    if change == "append":
        payload += draw(orders()).SerializeToString()
    elif change == "unknown":
        number, content = draw(st.sampled_from([24, 2999, 3001, 5000])), draw(st.binary(max_size=3))
        payload += _varint(number << 3 | 2) + _varint(len(content)) + content
    elif change == "damage" and payload:
        payload[draw(st.integers(0, len(payload) - 1))] = draw(st.integers(0, 255))
    elif change == "cut":
        del payload[draw(st.integers(0, len(payload))) :]
    elif change == "insert":
        at = draw(st.integers(0, len(payload)))
        payload[at:at] = draw(st.binary(max_size=4))
    return bytes(payload)


def _varint(number: int) -> bytes:
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*written, number))


def value_of(column: Column, row: int) -> Any:
    """Return what a column says, in the terms of documents."""
    if column.missing_B is not None and column.missing_B[row]:
        return None
    value = column.values[row]
    if column.unit is not None:
        assert column.unit == "us" and column.values.dtype == np.int64
        return EPOCH + timedelta(microseconds=int(value))
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def at_path(document: Any, path: Path) -> Any:
    for name in path:
        if isinstance(document, list):
            document = document[int(name)] if name.isascii() and name.isdigit() and int(name) < len(document) else None
        else:
            document = document.get(name) if isinstance(document, dict) else None
    return document


def check(order_format: ProtobufFormat, values: Sequence[bytes], paths: Sequence[Path], start: int = 0) -> int:
    """Compare the columns with the documents, and return the number of suspects."""
    parsed = order_format.columns(values, paths, start=start)
    assert parsed is not None
    assert parsed.columns.keys() == set(paths)
    for row, value in enumerate(values):
        if parsed.suspects_B[row]:
            continue
        document = order_format.document(value[start:])
        for path in paths:
            expected, found = at_path(document, path), value_of(parsed.columns[path], row)
            assert repr(found) == repr(expected), (path, row, value)
            assert type(found) is type(expected), path
    return int(parsed.suspects_B.sum())


@settings(max_examples=examples(60), deadline=None)
@given(
    st.lists(payloads(), min_size=1, max_size=6),
    st.sets(st.sampled_from(PATHS), min_size=1, max_size=8),
    st.sampled_from([0, 6]),
)
def test_columns_equal_documents_or_are_suspects(values: list[bytes], paths: set[Path], start: int) -> None:
    check(protobuf_format(ORDER), [b"\0" * start + value for value in values], sorted(paths), start)


@settings(max_examples=50, deadline=None)
@given(st.lists(orders(), min_size=1, max_size=4))
def test_what_the_library_writes_is_suspect_only_for_its_values(values: list[Any]) -> None:
    """Every suspect is invalid, or has an integer beyond int64."""
    encoded = [order.SerializeToString() for order in values]
    order_format = protobuf_format(ORDER)  # one that has not learned another order
    parsed = order_format.columns(encoded, PATHS, start=0)
    assert parsed is not None
    check(order_format, encoded, PATHS)
    for row in np.flatnonzero(parsed.suspects_B):
        try:
            FORMAT.document(encoded[row])
        except InvalidPayload:
            continue
        assert values[row].serial >= 2**63


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_proto2_columns_equal_documents_or_are_suspects(data: st.DataObject) -> None:
    values = []
    for _ in range(data.draw(st.integers(1, 4))):
        order = OLD_CLASS(id=data.draw(integers), plain=data.draw(st.lists(floats, max_size=2)))
        order.packed.extend(data.draw(st.lists(floats, max_size=2)))
        if data.draw(st.booleans()):
            order.note, order.kind = data.draw(texts), data.draw(st.integers(0, 2))
        if data.draw(st.booleans()):
            order.box.width = 3
        for key in data.draw(st.lists(integers, max_size=2)):
            order.kinds[key] = 1
        values.append(order.SerializeToString() + data.draw(st.binary(max_size=3)))
    check(
        protobuf_format(OLD_ORDER),
        values,
        data.draw(st.sampled_from([OLD_PATHS, OLD_PATHS[:1], OLD_PATHS[2:4], OLD_PATHS[-1:]])),
    )


FLAT = (
    'syntax = "proto3"; message Event { string id = 1; '
    + " ".join(f"float f{index} = {index + 2};" for index in range(20))
    + " string note = 30; repeated Event old = 31; }"
)


def test_adjacent_floats_are_read_at_once_or_one_by_one() -> None:
    flat_format, flat_class = protobuf_format(FLAT), class_of(FLAT)
    names = [f"f{index}" for index in range(20)]
    full = [flat_class(id="a", **{name: index + 1.5 for index, name in enumerate(names)}) for _ in range(3)]
    sparse = [flat_class(id="b", f3=1.0), flat_class(), flat_class(f0=1.0, f19=2.0)]
    paths: list[Path] = [("id",), *((name,) for name in names)]
    for messages in (full, sparse, full + sparse):
        assert check(flat_format, [message.SerializeToString() for message in messages], paths) == 0
    parsed = flat_format.columns([message.SerializeToString() for message in full], paths, start=0)
    assert parsed is not None and parsed.columns["f0",].values.dtype == np.float32


def test_fields_that_are_not_asked_for_are_skipped_and_checked() -> None:
    flat_format, flat_class = protobuf_format(FLAT), class_of(FLAT)
    event = flat_class(id="ä", f1=1.0, note="é", old=[flat_class(note="x"), flat_class()]).SerializeToString()
    assert check(flat_format, [event, event + b"\xf8\x07\x01"], [("f1",)]) == 0
    bad = [
        event[:-1],
        event.replace("é".encode(), b"\xc3x"),
        flat_class(old=[flat_class(note="x")]).SerializeToString().replace(b"x", b"\xff"),
        event + b"\x0a\x01b",  # twice
        event + b"\x13\x14",  # a group
        event + b"\x00",
        event + b"\x82\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
        b"\x12" + event,
    ]
    parsed = flat_format.columns([*bad, event], [("f1",)], start=0)
    assert parsed is not None
    assert parsed.suspects_B.tolist() == [True] * 2 + [True, False, True, True, True, True, False]
    assert flat_format.document(bad[3])["id"] == "b"


def test_vectors_of_equal_length_are_a_matrix() -> None:
    orders = [ORDER_CLASS(embedding=[1.0, 2.0, index]).SerializeToString() for index in range(4)]
    parsed = FORMAT.columns(orders, [("embedding",)], start=0)
    assert parsed is not None and parsed.columns["embedding",].values.shape == (4, 3)
    assert check(FORMAT, orders, [("embedding",)]) == 0
    assert check(FORMAT, [*orders, b""], [("embedding",)]) == 0


def test_an_order_that_the_schema_does_not_have_and_merged_messages_are_suspects() -> None:
    order = ORDER_CLASS(id="a", amount=1.0)
    moved = ORDER_CLASS(amount=1.0).SerializeToString() + ORDER_CLASS(id="a").SerializeToString()
    first, second = ORDER_CLASS(), ORDER_CLASS()
    first.user.name, second.user.age = "a", 3
    merged = first.SerializeToString() + second.SerializeToString()
    parsed = FORMAT.columns(
        [order.SerializeToString(), moved, merged], [("id",), ("amount",), ("user", "name")], start=0
    )
    assert parsed is not None and parsed.suspects_B.tolist() == [False, True, True]
    assert FORMAT.document(merged)["user"] == {"name": "a", "age": 3, "address": None}


def test_payloads_that_may_have_too_many_values_are_suspects() -> None:
    many = ORDER_CLASS(id="x" * 400_000).SerializeToString()
    parsed = FORMAT.columns([many, ORDER_CLASS(id="x").SerializeToString()], [("id",)], start=0)
    assert parsed is not None and parsed.suspects_B.tolist() == [True, False]


def test_nothing_is_read_for_no_payloads_or_the_whole_message() -> None:
    assert FORMAT.columns([], [("id",)], start=0) is None
    assert FORMAT.columns([b""], [()], start=0) is None


def test_a_payload_with_very_many_fields_is_a_suspect_and_does_not_delay_others() -> None:
    plain, long = ORDER_CLASS(id="a", serial=3), ORDER_CLASS(id="b", tags=["x"] * (MAX_ROUNDS + 1))
    values = [plain.SerializeToString(), long.SerializeToString()]
    for paths in ([("id",)], [("id",), ("tags",)]):
        parsed = FORMAT.columns(values, paths, start=0)
        assert parsed is not None
        assert parsed.suspects_B.tolist() == [False, True]
        assert parsed.columns["id",].values[0] == "a"


def test_few_payloads_are_read_one_by_one_with_the_same_result() -> None:
    few_format = ProtobufFormat(schema(ORDER))
    order = ORDER_CLASS(id="a", amount=1.5, serial=3, status=1)
    order.created_at.seconds = 5
    values = [order.SerializeToString(), b"\xff", order.SerializeToString() + b"\x0a\x01b", b""]
    parsed = few_format.columns([b"\0\0" + value for value in values], PATHS, start=2)
    assert parsed is not None and parsed.suspects_B.tolist() == [False, True, False, False]
    assert parsed.columns["id",].values.tolist() == ["a", None, "b", ""]
    assert parsed.columns["created_at",].values[0] == EPOCH + timedelta(seconds=5)


def test_durations_of_any_size_are_suspects() -> None:
    """The least int64 has no absolute value."""
    plain = ORDER_CLASS(id="a")
    plain.took.seconds = -2
    values = [plain.SerializeToString()]
    for seconds, nanos in ((-(2**63), 0), (2**63 - 1, 0), (0, -(2**31)), (-1, 1)):
        order = ORDER_CLASS(id="a")
        order.took.seconds, order.took.nanos = seconds, nanos
        values.append(order.SerializeToString())
    assert check(protobuf_format(ORDER), values, [("took",)]) == 4
