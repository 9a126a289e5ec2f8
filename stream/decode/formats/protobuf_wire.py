"""Reads Protobuf's wire format of many payloads at once: each function reads at one position of each payload.

Positions beyond the end of a payload never lead outside the buffer, which is padded. What was read there is discarded, because
the position never returns to the end exactly.

Shapes: P positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final

import numpy as np
from google.protobuf.descriptor import FieldDescriptor
from numpy.typing import NDArray

from forebay.stream.decode.formats.protobuf_size import FIXED32, FIXED64, LENGTH_DELIMITED, VARINT

Positions = NDArray[np.int64]

PADDING: Final = 64
TOO_LONG: Final = 1 << 40
"""The length of what has no end. Positions are limited by the end of the payload."""

_STOP_BITS: Final = np.uint64(0x8080808080808080)
_ONE: Final = np.uint64(1)
_SEVEN: Final = np.uint64(7)
_F = FieldDescriptor


class WireBuffer:
    """The joined payloads with views of numbers that begin at any byte.

    padding: number of zero bytes after the last payload.
    """

    def __init__(self, values: Sequence[bytes], padding: int) -> None:
        self.raw = b"\0".join(values) + bytes(
            padding + PADDING
        )  # 0 is not a tag, so that a tag never spans two payloads
        self.bytes = np.frombuffer(self.raw, np.uint8)
        self._views: dict[Any, NDArray[Any]] = {}

    @cached_property
    def text(self) -> str:
        """The bytes as characters: slices of ASCII are the texts themselves."""
        return self.raw.decode("latin-1")

    def view(self, dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return the numbers that begin at each byte."""
        found = self._views.get(dtype)
        if found is None:
            length = len(self.raw) - dtype.itemsize + 1
            found = self._views[dtype] = np.ndarray((length,), dtype, buffer=self.raw, strides=(1,))
        return found

    def rows(self, at_P: Positions, width: int) -> NDArray[np.uint8]:
        """Return `width` bytes from each position, [P, width]. Positions may be up to `padding` behind the last payload."""
        windows = np.ndarray((len(self.raw) - width + 1, width), np.uint8, buffer=self.raw, strides=(1, 1))
        return np.asarray(windows[np.minimum(at_P, len(windows) - 1)])

    def has_tag(self, at_P: Positions, tag: bytes) -> NDArray[np.bool_]:
        """Return where the tag is."""
        found_P: NDArray[np.bool_] = self.bytes[at_P] == tag[0]
        for offset, byte in enumerate(tag[1:], start=1):
            found_P &= self.bytes[at_P + offset] == byte
        return found_P

    def varints(self, at_P: Positions) -> tuple[NDArray[np.uint64], Any]:
        """Return the varints at the positions, and how many bytes each has; TOO_LONG for what is not a varint."""
        first_P = self.bytes[at_P]
        more_P = first_P >= 0x80
        if not more_P.any():
            return first_P.astype(np.uint64), 1
        second_P = self.bytes[at_P + 1]
        value_P = (first_P & 0x7F).astype(np.uint64)
        value_P |= ((second_P & 0x7F) * more_P).astype(np.uint64) << _SEVEN
        length_P = 1 + more_P.astype(np.int64)
        wide = np.flatnonzero(more_P & (second_P >= 0x80))
        if len(wide):
            value_P[wide], length_P[wide] = self._wide_varints(at_P[wide])
        return value_P, length_P

    def _wide_varints(self, at_P: Positions) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """Return varints of any length: eight bytes at once, the rest one by one."""
        word_P = self.view(np.dtype("<u8"))[at_P]
        stops_P = ~word_P & _STOP_BITS
        upto_P = stops_P ^ (stops_P - _ONE)  # all bits up to the first stop bit
        length_P = (np.bitwise_count(upto_P) >> 3).astype(np.int64)
        value_P = _compress(word_P & upto_P & ~_STOP_BITS)
        long = np.flatnonzero(stops_P == 0)
        if len(long):
            self._extend(at_P, long, value_P, length_P)
        return value_P, length_P

    def _extend(
        self, at_P: Positions, long: NDArray[np.intp], value_P: NDArray[np.uint64], length_P: NDArray[np.int64]
    ) -> None:
        """Add the ninth and tenth byte of varints that have them."""
        ninth, tenth = (self.bytes[at_P[long] + offset].astype(np.uint64) for offset in (8, 9))
        has_nine, has_ten = ninth < 0x80, (ninth >= 0x80) & (tenth <= 1)
        value_P[long] |= (ninth & np.uint64(0x7F)) << np.uint64(56)
        value_P[long[has_ten]] |= tenth[has_ten] << np.uint64(63)
        length_P[long] = np.where(has_nine, 9, np.where(has_ten, 10, TOO_LONG))

    def spans(self, at_P: Positions) -> tuple[Positions, Positions]:
        """Return where the contents begin and end whose lengths are at the positions."""
        length_P, width_P = self.varints(at_P)
        begin_P = at_P + width_P
        return begin_P, begin_P + np.minimum(length_P, np.uint64(TOO_LONG)).astype(np.int64)

    def tokens(self, at_P: Positions) -> tuple[NDArray[np.int64], NDArray[np.int64], Positions]:
        """Return the number and the wire type of the fields at the positions, and where each ends.

        The end is far away for what cannot be skipped: groups, and what is not a field.
        """
        tag_P, width_P = self.varints(at_P)
        kind_P = (tag_P & np.uint64(7)).astype(np.int64)
        number_P = np.minimum(tag_P >> np.uint64(3), np.uint64(TOO_LONG)).astype(np.int64)
        if not isinstance(width_P, int):
            is_tag_P = width_P < TOO_LONG
            number_P, width_P = np.where(is_tag_P, number_P, TOO_LONG), np.where(is_tag_P, width_P, 0)
        after_P = at_P + width_P
        kind = int(kind_P[0])
        if (kind_P == kind).all():
            return number_P, kind_P, self._after(after_P, kind)
        end_P = after_P + TOO_LONG
        for kind in (VARINT, FIXED64, LENGTH_DELIMITED, FIXED32):
            of_kind = np.flatnonzero(kind_P == kind)
            if len(of_kind):
                end_P[of_kind] = self._after(after_P[of_kind], kind)
        return number_P, kind_P, end_P

    def _after(self, at_P: Positions, kind: int) -> Positions:
        if kind == LENGTH_DELIMITED:
            return self.spans(at_P)[1]
        width_P = self.varints(at_P)[1] if kind == VARINT else {FIXED64: 8, FIXED32: 4}.get(kind, TOO_LONG)
        return np.add(at_P, width_P)


def _compress(word_P: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Join the lower seven bits of each of eight bytes: first pairs, then fours, then all."""
    for low, high, shift in _HALVES:
        word_P = (word_P & low) | ((word_P >> shift) & high)
    return word_P


# The bits of the lower halves, those of the upper halves after they are shifted, and by how much.
_HALVES: Final = [
    (np.uint64(0x007F007F007F007F), np.uint64(0x3F803F803F803F80), np.uint64(1)),
    (np.uint64(0x00003FFF00003FFF), np.uint64(0x0FFFC0000FFFC000), np.uint64(2)),
    (np.uint64(0x000000000FFFFFFF), np.uint64(0x00FFFFFFF0000000), np.uint64(4)),
]


def as_numbers(value_P: NDArray[np.uint64], kind: int) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Return varints as the numbers of a field type, and which are beyond int64 (None if that is impossible)."""
    if kind == _F.TYPE_BOOL:
        return value_P != 0, None
    if kind in (_F.TYPE_INT32, _F.TYPE_ENUM):
        return value_P.astype(np.uint32).view(np.int32).astype(np.int64), None
    if kind == _F.TYPE_UINT32:
        return value_P.astype(np.uint32).astype(np.int64), None
    if kind == _F.TYPE_SINT32:
        value_P = value_P & np.uint64(0xFFFFFFFF)
    if kind in (_F.TYPE_SINT32, _F.TYPE_SINT64):
        return (value_P >> _ONE).view(np.int64) ^ -(value_P & _ONE).view(np.int64), None
    if kind == _F.TYPE_UINT64:
        return value_P.view(np.int64), value_P > np.uint64(2**63 - 1)
    return value_P.view(np.int64), None
