"""The exact path of Protobuf: messages to documents, and payloads that are not messages."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.schemas.failures import FailureKind
from forebay.stream.decode.formats.payload import InvalidPayload
from forebay.stream.decode.formats.protobuf_documents import MAX_VALUES
from tests.conftest import examples
from tests.decode.formats.protobuf_texts import OLD_ORDER, ORDER, class_of, protobuf_format

FORMAT, ORDER_CLASS = protobuf_format(ORDER), class_of(ORDER)
OLD_FORMAT, OLD_CLASS = protobuf_format(OLD_ORDER), class_of(OLD_ORDER)


def refusal(payload: bytes, order_format: Any = FORMAT) -> str:
    with pytest.raises(InvalidPayload) as refused:
        order_format.document(payload)
    assert refused.value.kind is FailureKind.INVALID_PAYLOAD
    return refused.value.message


def test_an_empty_payload_has_defaults_where_fields_have_no_presence() -> None:
    document = FORMAT.document(b"")
    assert (
        document["id"] == "" and document["amount"] == 0.0 and document["image"] == b"" and document["express"] is False
    )
    assert document["status"] == "UNKNOWN" and document["embedding"] == [] and document["scores"] == {}
    absent = {"created_at", "discount", "user", "card", "iban", "voucher", "took", "rating", "extra"}
    assert {name for name, value in document.items() if value is None} == absent


def test_values_of_every_kind() -> None:
    order = ORDER_CLASS(id="ä", amount=0.1, balance=-(2**63), status=-1, image=b"\xff", express=True, serial=2**64 - 1)
    order.created_at.seconds, order.created_at.nanos = 1_700_000_000, 123_456_789
    order.took.seconds, order.took.nanos = -1, -500_000_000
    order.rating.value = 0
    order.discount = 0.1
    order.user.address.city = "Bern"
    order.embedding.extend([0.5, 0.25])
    order.scores["x"] = 1.5
    order.iban.number = "CH"
    order.extra.update({"a": [1, None, {"b": True}], "c": "text"})
    order.items.add(sku="s").part.quantity = 2
    order.tags.extend(["a", ""])
    document = FORMAT.document(order.SerializeToString())
    assert {
        **{"id": "ä", "amount": 0.1, "balance": -(2**63), "status": "LOST", "image": b"\xff", "express": True},
        **{"serial": 2**64 - 1, "took": -1.5, "rating": 0, "discount": pytest.approx(0.1, rel=1e-7), "card": None},
        "created_at": datetime(2023, 11, 14, 22, 13, 20, 123456, UTC),
        "user": {"name": "", "age": None, "address": {"city": "Bern", "lat": 0.0, "lon": 0.0}},
        **{"embedding": [0.5, 0.25], "scores": {"x": 1.5}, "iban": {"number": "CH"}, "tags": ["a", ""]},
        "extra": {"a": [1.0, None, {"b": True}], "c": "text"},
    }.items() <= document.items()
    (item,) = document["items"]  # type: ignore[misc]  # a list
    assert item["sku"] == "s" and item["added"] is None and item["part"]["quantity"] == 2


def test_fields_are_found_by_both_of_their_names() -> None:
    order = ORDER_CLASS()
    order.created_at.seconds = 1
    document = FORMAT.document(order.SerializeToString())
    assert document["createdAt"] == document["created_at"] == document.get("createdAt") == document.get("created_at")
    assert "createdAt" in document and "createdAt" not in list(document)
    assert document.get("nothing", 5) == 5 and "nothing" not in document
    with pytest.raises(KeyError):
        document["nothing"]


def test_proto2_has_presence_closed_enums_groups_and_extensions() -> None:
    order = OLD_CLASS(id=0, kind=2)
    order.box.width = 3
    order.box.sides.extend([1, 2])
    order.kinds[-5] = 1
    document = OLD_FORMAT.document(
        order.SerializeToString() + b"\xa0\x06\x05" + b"\xf8\x07\x01"
    )  # extension, unknown field
    expected = {"id": 0, "note": None, "kind": "SALE", "box": {"width": 3, "sides": [1, 2]}, "kinds": {"-5": "GIFT"}}
    assert document == {**expected, "plain": [], "packed": []}
    assert OLD_FORMAT.document(b"\x18\x63")["kind"] is None  # a value that the closed enum does not have
    assert "UTF-8" in refusal(b"\x12\x01\xff", OLD_FORMAT)


def test_open_enums_keep_numbers_without_a_name_and_use_the_first_name() -> None:
    text = 'syntax = "proto3"; message A { E e = 1; enum E { option allow_alias = true; Z = 0; A = 1; B = 1; } }'
    assert [protobuf_format(text).document(bytes([8, number]))["e"] for number in (0, 1, 9)] == ["Z", "A", 9]


def test_decimals_of_confluent() -> None:
    text = 'syntax = "proto3"; import "confluent/type/decimal.proto"; message A { confluent.type.Decimal price = 1; }'
    message = class_of(text)()
    message.price.value, message.price.scale = (-12345).to_bytes(2, "big", signed=True), 2
    assert protobuf_format(text).document(message.SerializeToString()) == {"price": Decimal("-123.45")}
    message.price.scale = 10**6
    assert "scale" in refusal(message.SerializeToString(), protobuf_format(text))


def test_a_type_of_the_schema_itself_is_not_a_well_known_one_whatever_its_name() -> None:
    text = (
        'syntax = "proto3"; package google.protobuf;'
        "message A { Timestamp at = 1; } message Timestamp { string seconds = 1; repeated int32 nanos = 2; }"
    )
    assert protobuf_format(text).document(b"\x0a\x03\x0a\x01x") == {"at": {"seconds": "x", "nanos": []}}


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (b"\x0a\x05ab", "not a message of the type shop.Order"),
        (b"\x0a\x01\xff", "not a message"),
        (b"\x0a", "not a message"),
        (b"\x00", "not a message"),
        (b"{}", "not a message"),
        (b"\x12\x07\x08\xff\xff\xff\xff\xff\x7f", "Timestamp"),
        (b"\x12\x0b\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "Timestamp"),
        (b"\x72\x04\x08\x01\x10\xff", "not a message"),
        (b"\x72\x0d\x08\x01\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "Duration"),
        (b"\x42\x03abc", "not a message"),
    ],
)
def test_other_bytes_are_invalid_payloads(payload: bytes, said: str) -> None:
    assert said in refusal(payload)


def test_depth_is_limited() -> None:
    def nested(depth: int) -> bytes:
        order = ORDER_CLASS()
        item = order.items.add()
        for _ in range(depth):
            item.part.quantity = 1
            item = item.part
        return bytes(order.SerializeToString())

    FORMAT.document(nested(62))
    assert "nested more than 64 levels deep" in refusal(nested(63))
    assert "not a message" in refusal(nested(200))


def test_the_number_of_values_is_limited_before_parsing() -> None:
    items = b"\x8a\x01\x00" * 210_000  # empty items of 5 values each
    assert f"more than {MAX_VALUES} values" in refusal(items)
    FORMAT.document(b"\x8a\x01\x00" * 10_000)
    boxes = b"\x33" + b"\x10\x01" * 1000 + b"\x34"
    assert len(OLD_FORMAT.document(boxes)["box"]["sides"]) == 1000  # type: ignore[index]  # a dict


def test_long_strings_are_not_many_values() -> None:
    assert len(FORMAT.document(ORDER_CLASS(id="x" * 5_000_000).SerializeToString())["id"]) == 5_000_000  # type: ignore[arg-type]


@settings(max_examples=examples(120), deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_give_a_document_or_an_invalid_payload(payload: bytes) -> None:
    for order_format in (FORMAT, OLD_FORMAT):
        try:
            order_format.document(payload)
        except InvalidPayload as fault:
            assert fault.kind is FailureKind.INVALID_PAYLOAD
