"""The steps of a plan for unions, arrays and maps, which not all payloads take in the same way. See `avro_steps`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from forebay.stream.decode.formats.avro_cursor import Cursor, Ints
from forebay.stream.decode.formats.avro_steps import MAX_INTEGERS, Step, Text, run_all

_NOT_TAGS: Final = np.uint8(0xFD)
_NOT_SHORT: Final = np.uint8(0x81)
"""The bits of a first byte of a length that is negative or has more bytes."""

MAX_BLOCKS: Final = 16
"""Limit of the blocks of an array or a map that is skipped. Writers write one."""
MAX_ITEMS: Final = 512
"""Limit of the items of a block that is skipped item by item. Payloads with more become suspects."""


@dataclass(slots=True)
class Union:
    """A union, by the steps of each branch. A branch with the number n is the byte 2n; longer ones make suspects."""

    branches: Sequence[Sequence[Step]]

    def run(self, cursor: Cursor) -> None:
        tags = cursor.read_bytes()
        known = np.zeros(len(tags), dtype=np.bool_)
        for number, steps in enumerate(self.branches):
            taken = tags == 2 * number
            known |= taken
            if not steps:
                continue
            if taken.all():
                run_all(steps, cursor)
                return
            index = np.flatnonzero(taken)
            if len(index):
                part = cursor.select(index)
                run_all(steps, part)
                cursor.pos[index] = part.pos
        if not known.all():
            cursor.poll.suspect(cursor.rows, ~known)


@dataclass(slots=True)
class NullableNumber:
    """A union of null and a float or double that is asked for. tag, null_tag: the bytes of the two branches, 0 and 2."""

    slot: int
    dtype: str
    width: int
    tag: int
    null_tag: int
    _widths: Ints = field(init=False)

    def __post_init__(self) -> None:
        self._widths = np.ones(256, dtype=np.int64)
        self._widths[self.tag] += self.width

    def run(self, cursor: Cursor) -> None:
        poll, pos = cursor.poll, cursor.pos
        tags = poll.u8[pos]
        values = poll.gather(pos + 1, self.width).view(self.dtype)
        if (tags & _NOT_TAGS).any():
            poll.suspect(cursor.rows, tags & _NOT_TAGS != 0)
        missing = tags == self.null_tag
        values[missing] = 0  # the bytes at nulls may be numbers that overflow or signal
        poll.write(self.slot, cursor.rows, values, missing)
        cursor.move(self._widths[tags])


@dataclass(slots=True)
class NullableText:
    """A union of null and a string that is asked for. general: the same union, for texts of more than 63 bytes."""

    text: Text
    general: Union
    tag: int
    null_tag: int

    def run(self, cursor: Cursor) -> None:
        poll, pos = cursor.poll, cursor.pos
        tags = poll.u8[pos]
        missing = tags == self.null_tag
        sizes = np.where(missing, 0, poll.u8[pos + 1])
        if (sizes & _NOT_SHORT).any():
            self.general.run(cursor)
            return
        starts = pos + 2
        starts -= missing
        ends = starts + (sizes >> 1)
        bad = (ends >= cursor.limit) | (tags & _NOT_TAGS != 0)
        if bad.any():
            poll.suspect(cursor.rows, bad)
            ends = np.where(bad, starts, ends)
        self.text.take(cursor, starts, ends, missing)
        cursor.move(ends - pos)


@dataclass(slots=True)
class Blocks:
    """An array or a map that is skipped. width: of its items, if it is fixed and they need no check; else 0."""

    steps: Sequence[Step]
    width: int

    def run(self, cursor: Cursor) -> None:
        index = np.arange(len(cursor.pos))
        part = cursor.select(index)
        cursor.offset = None
        for _ in range(MAX_BLOCKS):
            counts = part.read_longs()
            cursor.pos[index] = part.pos
            room = part.limit - 1 - part.pos
            # Blocks with their size in bytes have negative counts. They are rare, and their sizes may be wrong.
            bad = (counts < 0) | (counts > (room // self.width if self.width else np.minimum(room, MAX_ITEMS)))
            if not self.steps and not self.width:
                bad = counts != 0  # items without bytes
            if bad.any():
                part.suspect(np.flatnonzero(bad))
            more = np.flatnonzero((counts > 0) & ~bad)
            if not len(more):
                return
            index, counts, part = index[more], counts[more], part.select(more)
            if self.width:
                part.move(counts * self.width)
            else:
                self._skip_items(part, counts)
        part.suspect(np.arange(len(index)))
        cursor.pos[index] = part.limit

    def _skip_items(self, part: Cursor, counts: Ints) -> None:
        for number in range(int(counts.max())):
            part.poll.items_left -= 1
            index = np.flatnonzero(counts > number)
            if part.poll.items_left < 0:
                part.suspect(index)
                part.pos[index] = part.limit[index]
                return
            item = part.select(index)
            run_all(self.steps, item)
            part.pos[index] = item.pos


@dataclass(slots=True)
class Matrix:
    """An array of numbers that is asked for: as a whole, or single items by their index.

    dtype: of the items; None for integers, which have no fixed width. Arrays in several blocks, and those that have another
    length than most, make suspects.
    """

    whole: int | None
    items: Sequence[tuple[int, int]]
    dtype: str | None
    allowed: tuple[int, int] | None
    as_float: bool

    def run(self, cursor: Cursor) -> None:
        counts = cursor.read_longs()
        width = 1 if self.dtype is None else np.dtype(self.dtype).itemsize
        bad = (counts < 0) | (counts > (cursor.limit - 1 - cursor.pos) // width)
        length = most_common(counts[~bad])
        bad |= counts != length
        if self.dtype is None and length > MAX_INTEGERS:
            bad[:] = True
        if bad.any():
            cursor.poll.suspect(cursor.rows, bad)
            if bad.all():
                return
        self._write(cursor, self._read(cursor, length))
        if length:
            cursor.check(cursor.read_bytes() != 0)

    def _read(self, cursor: Cursor, length: int) -> NDArray[Any]:
        """Return the items [R, length], and advance behind them."""
        if self.dtype is not None:
            width = np.dtype(self.dtype).itemsize
            if not length:
                return np.zeros((len(cursor.pos), 0), dtype=self.dtype)
            block = cursor.poll.gather(cursor.pos, length * width)
            cursor.move(length * width)
            return block.view(self.dtype).reshape(-1, length)
        values = np.zeros((len(cursor.pos), length), dtype=np.int64)
        for number in range(length):
            values[:, number] = cursor.read_longs()
        if self.allowed is not None and length:
            cursor.check(np.any((values < self.allowed[0]) | (values > self.allowed[1]), axis=1))
        return values.astype(np.float64) if self.as_float else values

    def _write(self, cursor: Cursor, values: NDArray[Any]) -> None:
        if self.whole is not None:
            cursor.poll.write(self.whole, cursor.rows, values)
        for slot, number in self.items:
            if number < values.shape[1]:
                cursor.poll.write(slot, cursor.rows, values[:, number])


def most_common(counts: Ints) -> int:
    """Return the most common of some counts that are not negative; 0 if there is none."""
    if not len(counts):
        return 0
    if (counts == counts[0]).all():
        return int(counts[0])
    values, numbers = np.unique(counts, return_counts=True)
    return int(values[numbers.argmax()])
