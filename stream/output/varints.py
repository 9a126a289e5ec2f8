"""Variable-length integers as Avro and Protobuf have them, for whole columns. Shapes: B rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
Unsigned = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]

_SHIFTS: Final = np.arange(0, 70, 7, dtype=np.uint64)


def varint(value: int) -> bytes:
    """Return an integer from 0 to 2^64 - 1, 7 bits in each byte, the lowest first."""
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


def zigzag(value: int) -> int:
    """Return the number that Avro writes for an integer: 0, 1, 2, ... for 0, -1, 1, ..."""
    return value << 1 if value >= 0 else (-value << 1) - 1


def zigzags(values_B: Integers) -> Unsigned:
    """Return `zigzag` of each value."""
    return ((values_B << 1) ^ (values_B >> 63)).view(np.uint64)


def varint_matrix(values_B: Unsigned) -> Bytes | None:
    """Return the varint of each value as a row of bytes; None if they differ in length."""
    length = _length(int(values_B.max()))
    if length != _length(int(values_B.min())):
        return None
    bytes_BN = ((values_B[:, np.newaxis] >> _SHIFTS[:length]) & np.uint64(0x7F)).astype(np.uint8)
    bytes_BN[:, :-1] |= 0x80
    return bytes_BN


def varints(values_B: Unsigned) -> list[bytes]:
    """Return the varint of each value."""
    return [varint(value) for value in values_B.tolist()]


def row_bytes(parts: Sequence[bytes | Bytes], num_rows: int) -> list[bytes]:
    """Return the bytes of each row. parts: what follows each other in a row, either the same in all rows or [B, n]."""
    width = sum(len(part) if isinstance(part, bytes) else part.shape[1] for part in parts)
    if not width:
        return [b""] * num_rows
    rows_BN = np.empty((num_rows, width), np.uint8)
    start = 0
    for part in parts:
        if isinstance(part, bytes):
            end = start + len(part)
            rows_BN[:, start:end] = np.frombuffer(part, np.uint8)
        else:
            end = start + part.shape[1]
            rows_BN[:, start:end] = part
        start = end
    # NumPy's untyped items are bytes of a fixed size, which it converts much faster than Python slices them.
    return cast("list[bytes]", rows_BN.view(f"V{width}").reshape(num_rows).tolist())


def _length(value: int) -> int:
    return max(1, -(-value.bit_length() // 7))
