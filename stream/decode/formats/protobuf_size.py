"""Bounds the number of values in a Protobuf payload before it is parsed.

Two bytes on the wire are enough for an empty nested message, which takes memory for each of its fields.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from google.protobuf.descriptor import Descriptor

VARINT: Final = 0
FIXED64: Final = 1
LENGTH_DELIMITED: Final = 2
START_GROUP: Final = 3
END_GROUP: Final = 4
FIXED32: Final = 5


@dataclass(slots=True)
class _Shape:
    """How many fields messages of a type have, and those that are messages."""

    num_values: int
    nested: dict[int, _Shape] = field(default_factory=dict)


class SizeLimit:
    """Says whether a payload of a message type may have more values than a limit.

    safe_bytes: payloads up to this length cannot.
    """

    def __init__(self, descriptor: Descriptor, max_values: int) -> None:
        self._max_values = max_values
        self._shapes: dict[str, _Shape] = {}
        self._shape = self._shape_of(descriptor)
        most_fields = max((self._shapes[name].num_values for name in _repeatable(descriptor)), default=0)
        self.safe_bytes = max_values // max(1, (most_fields + 1) // 2)

    def _shape_of(self, descriptor: Descriptor) -> _Shape:
        shape = self._shapes.get(descriptor.full_name)
        if shape is None:
            shape = self._shapes[descriptor.full_name] = _Shape(1 + len(descriptor.fields))
            for item in descriptor.fields:
                if item.message_type is not None:
                    shape.nested[item.number] = self._shape_of(item.message_type)
        return shape

    def allows(self, payload: bytes) -> bool:
        """Return whether the messages in a payload have at most this many values."""
        if len(payload) <= self.safe_bytes:
            return True
        rest = self._max_values
        position, end, shape = 0, len(payload), self._shape
        outer: list[tuple[int, _Shape]] = []  # the messages that contain this one, and where they end
        while True:
            while position >= end:
                if not outer:
                    return True
                end, shape = outer.pop()
            tag, position = read_varint(payload, position, end)
            kind = tag & 7
            if kind == VARINT:
                _, position = read_varint(payload, position, end)
            elif kind == FIXED64:
                position += 8
            elif kind == FIXED32:
                position += 4
            elif kind == END_GROUP:
                if not outer:
                    return True  # invalid, as parsing will find
                end, shape = outer.pop()
            else:
                length = 0
                if kind == LENGTH_DELIMITED:
                    length, position = read_varint(payload, position, end)
                nested = shape.nested.get(tag >> 3, _UNKNOWN if kind == START_GROUP else None)
                if nested is None:
                    position += length
                    continue
                rest -= nested.num_values
                if rest < 0:
                    return False
                outer.append((end, shape))
                end, shape = (min(end, position + length) if kind == LENGTH_DELIMITED else end), nested


_UNKNOWN: Final = _Shape(0)


def _repeatable(descriptor: Descriptor) -> set[str]:
    """Return the names of the message types that a payload may contain any number of times."""
    repeated: set[str] = set()
    seen: set[tuple[str, bool]] = set()
    # A type that contains itself is repeatable, too. It is found from its own fields.
    pending: list[tuple[Descriptor, bool, frozenset[str]]] = [(descriptor, False, frozenset())]
    while pending:
        message, is_repeated, outer = pending.pop()
        is_repeated = is_repeated or message.full_name in outer
        if is_repeated:
            repeated.add(message.full_name)
        if (message.full_name, is_repeated) in seen:
            continue
        seen.add((message.full_name, is_repeated))
        for item in message.fields:
            if item.message_type is not None:
                inner = (item.message_type, is_repeated or item.is_repeated, outer | {message.full_name})
                pending.append(inner)
    return repeated


def read_varint(payload: bytes, position: int, end: int) -> tuple[int, int]:
    """Return a varint and the position after it."""
    number = shift = 0
    while position < end and shift < 70:
        byte = payload[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
        shift += 7
    return number, end  # cut off, as parsing will find
