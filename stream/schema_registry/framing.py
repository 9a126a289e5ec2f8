"""Confluent's framing: how a record names the schema of its value. Pure.

In the value: byte 0, the id as a big-endian 32-bit integer, then the payload. In the header `__value_schema_id`: byte 1 and the
16 bytes of the GUID, or byte 0 and the id; the value is the payload then. The header takes precedence.

For Protobuf, the path of the message type within its file follows the id or the GUID, as zigzag varints: the number of indexes,
then the indexes. A single 0 stands for the first message type.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from forebay.stream.schema_registry.schema import SchemaRef

VALUE_SCHEMA_HEADER: Final = "__value_schema_id"
APICURIO_HEADERS: Final = ("apicurio.value.globalId", "apicurio.value.contentId", "apicurio.value.contentHash")
"""How Apicurio's serializers name schemas in headers. These are not read, only recognized."""
ID_MAGIC: Final = 0
GUID_MAGIC: Final = 1
ID_PREFIX_BYTES: Final = 5
MAX_MESSAGE_INDEXES: Final = 100
"""How deeply a message type may be nested. The compiler of Protobuf has a lower limit."""

_ID_PREFIX: Final = struct.Struct(">BI")
_GUID_HEADER_BYTES: Final = 17
_MAX_VARINT_BYTES: Final = 5


class InvalidFraming(ValueError):
    """The bytes that should name a schema do not."""


@dataclass(frozen=True, slots=True)
class Framing:
    """Which schema a value has, and where its payload begins.

    start: index of the payload in the value. For Protobuf in a value, the message indexes begin here.
    indexes: the message indexes, if the header has them; None if they would be in the value.
    """

    ref: SchemaRef
    start: int
    indexes: tuple[int, ...] | None = None


def read_framing(value: bytes | None, headers: Sequence[tuple[str, bytes | None]]) -> Framing | None:
    """Return which schema a record names; None if it names none.

    Raises InvalidFraming if the header is not one that Confluent's serialisers write.
    """
    for name, content in headers:
        if name == VALUE_SCHEMA_HEADER:
            return _read_header(content or b"")
    if value is None or len(value) < ID_PREFIX_BYTES or value[0] != ID_MAGIC:
        return None
    return Framing(SchemaRef(id=_ID_PREFIX.unpack_from(value)[1]), ID_PREFIX_BYTES)


def is_possible_id(ref: SchemaRef) -> bool:
    """Return whether a registry can have a schema. Ids begin at 1; 0 is the first half of an id of 8 bytes."""
    return ref.id != 0


def names_schema_as_apicurio(headers: Sequence[tuple[str, bytes | None]]) -> bool:
    """Return whether headers of Apicurio name the schema of a value."""
    return bool(headers) and any(name in APICURIO_HEADERS for name, _ in headers)


def begins_with_type_ref(value: bytes, start: int) -> bool:
    """Return whether a name that Apicurio's serializers write instead of message indexes may begin at `start`.

    It is a message with its size before it, of up to 127 bytes here, whose first field is the name.
    """
    return len(value) >= start + 3 and value[start + 1] == 0x0A and value[start + 2] == value[start] - 2


def _read_header(content: bytes) -> Framing:
    if len(content) >= _GUID_HEADER_BYTES and content[0] == GUID_MAGIC:
        ref, end = SchemaRef(guid=UUID(bytes=content[1:_GUID_HEADER_BYTES])), _GUID_HEADER_BYTES
    elif len(content) >= ID_PREFIX_BYTES and content[0] == ID_MAGIC:
        ref, end = SchemaRef(id=_ID_PREFIX.unpack_from(content)[1]), ID_PREFIX_BYTES
    else:
        raise InvalidFraming(
            f"the header {VALUE_SCHEMA_HEADER} has {len(content)} bytes and begins with {content[:1].hex() or 'nothing'}; "
            "byte 1 and a GUID of 16 bytes are expected, or byte 0 and an id of 4 bytes"
        )
    if len(content) == end:
        return Framing(ref, 0)
    indexes, end = read_message_indexes(content, end)
    if end != len(content):
        raise InvalidFraming(
            f"the header {VALUE_SCHEMA_HEADER} has {len(content) - end} bytes after its message indexes"
        )
    return Framing(ref, 0, indexes)


def read_message_indexes(value: bytes, start: int) -> tuple[tuple[int, ...], int]:
    """Return the message indexes that begin at `start`, and where the payload begins. Raises InvalidFraming."""
    count, start = _read_varint(value, start)
    if count == 0:
        return (0,), start
    if not 0 < count <= MAX_MESSAGE_INDEXES:
        raise InvalidFraming(f"{count} message indexes; 0 to {MAX_MESSAGE_INDEXES} are possible")
    indexes = []
    for _ in range(count):
        index, start = _read_varint(value, start)
        if index < 0:
            raise InvalidFraming(f"the message index {index} is negative")
        indexes.append(index)
    return tuple(indexes), start


def _read_varint(value: bytes, start: int) -> tuple[int, int]:
    """Return a zigzag varint of at most 32 bits, and the index after it."""
    number = 0
    for position, byte in enumerate(value[start : start + _MAX_VARINT_BYTES]):
        number |= (byte & 0x7F) << 7 * position
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), start + position + 1
    raise InvalidFraming("the message indexes are cut off or too large")


def frame(schema_id: int, payload: bytes, indexes: Sequence[int] | None = None) -> bytes:
    """Return a value with the prefix of the schema's id.

    indexes: the message indexes, for Protobuf only.
    """
    prefix = _ID_PREFIX.pack(ID_MAGIC, schema_id)
    return prefix + payload if indexes is None else prefix + write_message_indexes(indexes) + payload


def write_message_indexes(indexes: Sequence[int]) -> bytes:
    """Return message indexes as they stand before a Protobuf payload."""
    if tuple(indexes) == (0,):
        return b"\0"
    return b"".join(_write_varint(number) for number in (len(indexes), *indexes))


def _write_varint(number: int) -> bytes:
    rest = number << 1  # zigzag of a number that is not negative
    written = bytearray()
    while rest > 0x7F:
        written.append(rest & 0x7F | 0x80)
        rest >>= 7
    written.append(rest)
    return bytes(written)
