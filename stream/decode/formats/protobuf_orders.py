"""Learns the order in which a producer writes the fields of messages, where it is not that of their numbers.

Protobuf leaves the order to the library. Go and Rust, for example, write all fields of a oneof where its first one belongs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from forebay.stream.decode.formats.protobuf_size import FIXED32, FIXED64, LENGTH_DELIMITED, VARINT, read_varint

Orders = Mapping[str, Sequence[int]]
"""By name of the message type, numbers of fields in the order in which they are written."""

MAX_FIELDS: Final = 1_000
MAX_DEPTH: Final = 16


def learn_orders(descriptor: Descriptor, payload: bytes) -> Orders:
    """Return the orders of the types in a payload that are not those of the numbers; nothing if it cannot be read."""
    orders: dict[str, list[int]] = {}
    if not _learn(descriptor, payload, orders, depth=0):
        return {}
    return {name: order for name, order in orders.items() if order != sorted(order)}


def _learn(descriptor: Descriptor, payload: bytes, orders: dict[str, list[int]], *, depth: int) -> bool:
    """Add the orders of one message and of those in it; return whether each field is in one place."""
    if depth > MAX_DEPTH:
        return False
    order: list[int] = []
    seen: set[int] = set()
    position, end = 0, len(payload)
    while position < end:
        tag, position = read_varint(payload, position, end)
        number, begin = tag >> 3, position
        if tag & 7 == VARINT:
            _, position = read_varint(payload, position, end)
        elif tag & 7 == LENGTH_DELIMITED:
            length, begin = read_varint(payload, position, end)
            position = begin + length
        elif tag & 7 in (FIXED32, FIXED64):
            position += 4 if tag & 7 == FIXED32 else 8
        else:
            return False
        if position > end or len(order) > MAX_FIELDS:
            return False
        if order and order[-1] == number:
            continue
        if number in seen:
            return False
        seen.add(number)
        order.append(number)
        field = descriptor.fields_by_number.get(number)
        if _is_single_message(field) and not _learn(
            field.message_type, payload[begin:position], orders, depth=depth + 1
        ):
            return False
    if len(order) > len(orders.get(descriptor.full_name, ())):
        orders[descriptor.full_name] = order
    return True


def _is_single_message(field: FieldDescriptor | None) -> bool:
    return field is not None and field.type == FieldDescriptor.TYPE_MESSAGE and not field.is_repeated


def in_order(fields: Sequence[FieldDescriptor], order: Sequence[int] | None) -> list[FieldDescriptor]:
    """Return fields in an order. One that the order does not name follows the one with the next lower number."""
    by_number = sorted(fields, key=lambda field: field.number)
    if order is None:
        return by_number
    places = {number: place for place, number in enumerate(order)}
    keys: dict[int, tuple[int, int]] = {}
    last = -1
    for field in by_number:
        last = places.get(field.number, last)
        keys[field.number] = (last, field.number if field.number not in places else -1)
    return sorted(by_number, key=lambda field: keys[field.number])
