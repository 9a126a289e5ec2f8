"""What the exchange needs from a connection of the ranks, whatever it is made of."""

from __future__ import annotations

import struct
from typing import Final, Protocol

import torch
from torch import Tensor

_LENGTH: Final = struct.Struct("<Q")


class Transport(Protocol):
    """Connects the ranks. All ranks call the same methods in the same order; every call has a time-out.

    Each raises RankLost if another rank ended or does not answer in time.
    """

    rank: int
    # The ranks that take part: fewer than at the start only where a lost rank does not end the training.
    members: tuple[int, ...]
    # Payload bytes that this rank has sent.
    sent_bytes: int

    def reduce(self, buffer: Tensor) -> None:
        """Replace a contiguous buffer by its sum over all ranks: the same bits on each rank."""
        ...

    def gather(self, payload: Tensor) -> list[Tensor]:
        """Return the payloads [bytes] uint8 of all ranks, in their order. All have the same size."""
        ...

    def collect(self, payload: Tensor) -> list[Tensor]:
        """Return the payloads of all ranks on rank 0, and nothing on the others. All have the same size."""
        ...

    def close(self) -> None:
        """Leave the ranks."""
        ...


def gather_bytes(transport: Transport, data: bytes) -> list[bytes]:
    """Return the bytes of all ranks, of any lengths, on each rank."""
    return _unpadded(transport.gather(_padded(transport, data)))


def collect_bytes(transport: Transport, data: bytes) -> list[bytes]:
    """Return the bytes of all ranks, of any lengths, on rank 0, and nothing on the others."""
    return _unpadded(transport.collect(_padded(transport, data)))


def _padded(transport: Transport, data: bytes) -> Tensor:
    length = torch.frombuffer(bytearray(_LENGTH.pack(len(data))), dtype=torch.uint8)
    longest = max(_LENGTH.unpack(bytes(other.numpy()))[0] for other in transport.gather(length))
    content = bytearray(_LENGTH.size + longest)
    content[: _LENGTH.size] = _LENGTH.pack(len(data))
    content[_LENGTH.size : _LENGTH.size + len(data)] = data
    return torch.frombuffer(content, dtype=torch.uint8)


def _unpadded(payloads: list[Tensor]) -> list[bytes]:
    contents = [payload.cpu().numpy().tobytes() for payload in payloads]
    return [content[_LENGTH.size : _LENGTH.size + _LENGTH.unpack_from(content)[0]] for content in contents]


class Alone:
    """The connection of a training in one process."""

    def __init__(self) -> None:
        self.rank = 0
        self.members: tuple[int, ...] = (0,)
        self.sent_bytes = 0

    def reduce(self, buffer: Tensor) -> None:
        """Leave the buffer as it is."""

    def gather(self, payload: Tensor) -> list[Tensor]:
        """Return the payload."""
        return [payload]

    def collect(self, payload: Tensor) -> list[Tensor]:
        """Return the payload."""
        return [payload]

    def close(self) -> None:
        """Do nothing."""
