"""Producers that write fields in another order than that of their numbers."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.stream.decode.formats.payload import Path
from forebay.stream.decode.formats.protobuf_orders import in_order, learn_orders
from tests.decode.formats.protobuf_texts import ORDER, class_of, protobuf_format
from tests.decode.formats.test_protobuf_columns import PATHS, check, orders

ORDER_CLASS = class_of(ORDER)
DESCRIPTOR = ORDER_CLASS.DESCRIPTOR


def parts(message: Any) -> list[bytes]:
    """Return each field of a message as its own payload, in the order of numbers."""
    found = []
    for field, _ in message.ListFields():
        only = type(message)()
        only.CopyFrom(message)
        for other, _ in message.ListFields():
            if other.number != field.number:
                only.ClearField(other.name)
        found.append(only.SerializeToString())
    return found


def full_order(number: int) -> Any:
    order = ORDER_CLASS(
        id=f"o{number}", amount=number + 0.5, status=1, voucher=number + 1, express=True, delta=-number - 1
    )
    order.created_at.seconds = 1_700_000_000 + number
    order.tags.extend(["a", "b"])
    return order


@pytest.mark.parametrize("seed", range(4))
def test_the_order_of_a_producer_is_learned(seed: int) -> None:
    order_format = protobuf_format(ORDER)
    places = list(range(8))
    random.Random(seed).shuffle(places)
    payloads = [b"".join(parts(full_order(number))[place] for place in places) for number in range(20)]
    paths: list[Path] = [("id",), ("amount",), ("created_at",), ("voucher",), ("delta",), ("tags",)]
    assert check(order_format, payloads, paths) == 0
    assert check(order_format, payloads, paths[:2]) == 0, "for other paths, too"
    usual = [full_order(number).SerializeToString() for number in range(20)]
    assert check(order_format, usual, paths) == 0, "the usual order is learned again"
    assert check(order_format, payloads[:2] + usual, paths) == 2


def test_the_order_within_messages_is_learned() -> None:
    order_format = protobuf_format(ORDER)
    user_class = type(ORDER_CLASS().user)
    users = [user_class(name="n", age=number, address={"lat": 1.5}) for number in range(5)]
    bodies = [b"".join(reversed(parts(user))) for user in users]
    payloads = [b"\x3a" + bytes([len(body)]) + body for body in bodies]
    assert check(order_format, payloads, [("user", "age"), ("user", "address", "lat")]) == 0
    assert learn_orders(DESCRIPTOR, payloads[0]) == {"shop.Order.User": [3, 2, 1]}


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        ORDER_CLASS(id="a", amount=1.0).SerializeToString(),
        b"\x0a\x01a\x20\x05\x0a\x01a",  # a field in two places
        b"\x0a\x7fa",
        b"\x0b\x0c",
        b"\xff" * 20,
    ],
)
def test_nothing_is_learned_from_the_usual_order_and_from_damaged_payloads(payload: bytes) -> None:
    assert learn_orders(DESCRIPTOR, payload) == {}


def test_fields_that_were_not_seen_follow_their_predecessors() -> None:
    fields = [DESCRIPTOR.fields_by_number[number] for number in (1, 2, 3, 4, 5, 6)]
    assert [field.number for field in in_order(fields, None)] == [1, 2, 3, 4, 5, 6]
    assert [field.number for field in in_order(fields, [5, 2])] == [1, 5, 6, 2, 3, 4]


@settings(max_examples=40, deadline=None)
@given(st.lists(orders(), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_columns_in_any_order_equal_documents_or_are_suspects(messages: list[Any], source: random.Random) -> None:
    payloads = []
    for message in messages:
        pieces = parts(message)
        source.shuffle(pieces)
        payloads.append(b"".join(pieces))
    check(protobuf_format(ORDER), payloads, source.sample(PATHS, 6))
