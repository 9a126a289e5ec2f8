"""Frames between a rank and the parameter server: a header of fixed size, then raw bytes. Nothing in them is executed.

magic "FBPS" | version | kind | element type | 0 | rank or count | sequence number | payload bytes
"""

from __future__ import annotations

import json
import socket
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

MAGIC: Final = b"FBPS"
VERSION: Final = 1
HEADER: Final = struct.Struct("!4sBBBxIQQ")
MAX_SMALL_BYTES: Final = 4_096  # of a greeting and of an error
MAX_PAYLOAD_BYTES: Final = 8 * 1024**3
MEMBER: Final = struct.Struct("!I")

# Element types that are added up, by their number in the header; the index of a numpy type name.
ELEMENTS: Final = ("uint8", "float16", "float32", "float64")


class Kind(IntEnum):
    """What a frame is."""

    HELLO = 1
    REDUCE = 2
    GATHER = 3
    COLLECT = 4  # as GATHER, but only rank 0 gets the payloads
    RESULT = 5
    ERROR = 6
    BYE = 7


class FrameError(Exception):
    """The other side sent something that is not a frame, or ended the connection within one."""


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a frame. number: the rank in a request, the number of members in a result."""

    kind: Kind
    element: int
    number: int
    sequence: int
    num_bytes: int

    def pack(self) -> bytes:
        """Return the header's bytes."""
        return HEADER.pack(MAGIC, VERSION, self.kind, self.element, self.number, self.sequence, self.num_bytes)


def receive_header(connection: socket.socket, max_bytes: int = MAX_PAYLOAD_BYTES) -> Header:
    """Return the next header. Raises FrameError for anything else, EOFError if the connection ended before it."""
    data = bytearray(HEADER.size)
    receive_into(connection, memoryview(data))
    magic, version, kind, element, number, sequence, num_bytes = HEADER.unpack(data)
    if magic != MAGIC or version != VERSION:
        raise FrameError(f"a frame starts with {bytes(data[:5])!r}; expected are {MAGIC!r} and version {VERSION}")
    if kind not in Kind.__members__.values() or element >= len(ELEMENTS):
        raise FrameError(f"a frame is of kind {kind} with elements of type {element}, which do not exist")
    if num_bytes > max_bytes:
        raise FrameError(f"a frame has {num_bytes} bytes; allowed are at most {max_bytes}")
    return Header(Kind(kind), element=element, number=number, sequence=sequence, num_bytes=num_bytes)


def receive(connection: socket.socket, num_bytes: int) -> bytearray:
    """Return the next bytes of a connection."""
    data = bytearray(num_bytes)
    receive_into(connection, memoryview(data))
    return data


def receive_into(connection: socket.socket, target: memoryview) -> None:
    """Fill a buffer from a connection. Raises EOFError if it ends before."""
    while len(target):
        count = connection.recv_into(target)
        if count == 0:
            raise EOFError("the connection ended")
        target = target[count:]


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a rank says first."""

    token: str
    world_size: int
    attempt: int

    def pack(self) -> bytes:
        """Return the greeting as JSON."""
        return json.dumps({"token": self.token, "world_size": self.world_size, "attempt": self.attempt}).encode()

    @classmethod
    def unpack(cls, data: bytes) -> Greeting:
        """Return the greeting in a payload. Raises FrameError."""
        try:
            document = json.loads(data)
            token, world_size, attempt = document["token"], document["world_size"], document["attempt"]
        except (ValueError, TypeError, KeyError) as error:
            raise FrameError("the greeting is not an object with a token, a world_size and an attempt") from error
        if not (isinstance(token, str) and type(world_size) is int and type(attempt) is int):
            raise FrameError("the greeting has values of the wrong type")
        return cls(token, world_size, attempt)
