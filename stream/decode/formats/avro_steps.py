"""The steps of a plan: each reads or skips one part of the schema, in all payloads of a poll. See `avro_plan`.

A slot is the number of a column; None for what is only skipped. Skipped parts are checked as strictly as `avro_check` does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Context, Decimal
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from forebay.stream.decode.formats.avro_cursor import Bools, Cursor, Ints

MAX_INTEGERS: Final = 1_024
"""Limit of the integers of an array that is read as a matrix."""


class Step(Protocol):
    """A part of the plan."""

    def run(self, cursor: Cursor) -> None:
        """Read this part of each payload, and advance."""


def run_all(steps: Sequence[Step], cursor: Cursor) -> None:
    """Run steps one after the other."""
    for step in steps:
        step.run(cursor)


@dataclass(slots=True)
class FixedRun:
    """Consecutive fields of fixed width, which are read by one gather.

    numbers: slot, offset and dtype of each number that is asked for.
    booleans: slot and offset of all booleans, because their bytes have to be checked.
    raw: slot, offset and size of each fixed that is asked for.
    """

    width: int = 0
    numbers: list[tuple[int, int, str]] = field(default_factory=list)
    booleans: list[tuple[int | None, int]] = field(default_factory=list)
    raw: list[tuple[int, int, int]] = field(default_factory=list)
    _dtype: np.dtype[Any] | None = None
    _named: list[tuple[int, str]] = field(default_factory=list)
    _first: int = 0

    def freeze(self) -> None:
        """Prepare the gather when all fields have been added: it spans the fields that are read."""
        members = [(offset, dtype, np.dtype(dtype).itemsize) for _, offset, dtype in self.numbers]
        members += [(offset, "u1", 1) for _, offset in self.booleans]
        members += [(offset, f"V{size}", size) for _, offset, size in self.raw]
        if not members:
            return
        self._named = [(slot, str(offset)) for slot, offset, _ in self.numbers]
        self._first = min(offset for offset, _, _ in members)
        self._dtype = np.dtype(
            {
                "names": [str(offset) for offset, _, _ in members],
                "formats": [dtype for _, dtype, _ in members],
                "offsets": [offset - self._first for offset, _, _ in members],
                "itemsize": max(offset + size for offset, _, size in members) - self._first,
            }
        )

    def run(self, cursor: Cursor) -> None:
        offset, poll = cursor.offset, cursor.poll
        if self._dtype is not None:
            if offset is not None and offset + self.width <= poll.stride:
                self._read(cursor, poll.rows_at(offset + self._first, self._dtype))
            else:
                block = poll.gather(np.minimum(cursor.pos + self._first, cursor.limit), self._dtype.itemsize)
                self._read(cursor, block.view(self._dtype))
        cursor.move(self.width)
        if offset is not None and offset + self.width <= poll.stride:
            cursor.offset = offset + self.width

    def _read(self, cursor: Cursor, block: NDArray[Any]) -> None:
        poll, rows = cursor.poll, cursor.rows
        for slot, name in self._named:
            poll.write(slot, rows, block[name])
        for boolean_slot, offset in self.booleans:
            flags = block[str(offset)]
            cursor.check(flags > 1)
            if boolean_slot is not None:
                poll.write(boolean_slot, rows, flags != 0)
        for slot, offset, _ in self.raw:
            poll.write(slot, rows, as_objects([item.tobytes() for item in block[str(offset)]]))


@dataclass(slots=True)
class Integer:
    """An int or long. allowed: the range of its type. convert: what makes the column's values of the integers."""

    slot: int | None
    allowed: tuple[int, int] | None
    convert: Callable[[Ints], NDArray[Any]] | None = None

    def run(self, cursor: Cursor) -> None:
        values = cursor.read_longs()
        if self.allowed is not None:
            bad = (values < self.allowed[0]) | (values > self.allowed[1])
            if bad.any():
                cursor.poll.suspect(cursor.rows, bad)
                values = np.where(bad, self.allowed[0], values)
        if self.slot is not None:
            cursor.poll.write(self.slot, cursor.rows, values if self.convert is None else self.convert(values))


@dataclass(slots=True)
class Enumeration:
    """An enum. symbols: the reader's symbol for each index, None for those that the reader does not have."""

    slot: int | None
    symbols: NDArray[Any]
    _known: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        self._known = np.array([symbol is not None for symbol in self.symbols], dtype=np.bool_)

    def run(self, cursor: Cursor) -> None:
        indexes = cursor.read_longs()
        bad = (indexes < 0) | (indexes >= len(self.symbols))
        if bad.any():
            cursor.poll.suspect(cursor.rows, bad)
            indexes = np.where(bad, 0, indexes)
        if not len(self.symbols):
            return
        cursor.check(~self._known[indexes])
        if self.slot is not None:
            cursor.poll.write(self.slot, cursor.rows, self.symbols[indexes])


@dataclass(slots=True)
class Text:
    """A string or bytes. is_text: whether the bytes must be UTF-8. as_text: whether the column has str."""

    slot: int | None
    is_text: bool
    as_text: bool

    def run(self, cursor: Cursor) -> None:
        starts, ends = cursor.read_sizes()
        self.take(cursor, starts, ends)

    def take(self, cursor: Cursor, starts: Ints, ends: Ints, missing: Bools | None = None) -> None:
        """Read the bytes between positions. missing: which are null."""
        poll, slot = cursor.poll, self.slot
        places: Iterable[tuple[int, int]] = zip(starts.tolist(), ends.tolist(), strict=True)
        if self.as_text and slot is not None:
            poll.write(slot, cursor.rows, as_objects(_texts(cursor, places)), missing)
            return
        if self.is_text:
            places = list(places)
            _texts(cursor, places)
        if slot is not None:
            poll.write(slot, cursor.rows, as_objects([poll.data[start:end] for start, end in places]), missing)


def _texts(cursor: Cursor, places: Iterable[tuple[int, int]]) -> list[str]:
    """Return the texts at places of the buffer. Those that are not UTF-8 make suspects."""
    text = cursor.poll.text
    texts = [text[start:end] for start, end in places]
    if not "".join(texts).isascii():
        for index, part in enumerate(texts):
            if not part.isascii():
                try:
                    texts[index] = part.encode("latin-1").decode()
                except UnicodeDecodeError:
                    cursor.suspect(np.array([index]))
                    texts[index] = ""
    return texts


@dataclass(slots=True)
class DecimalStep:
    """A decimal. size: of a fixed; None for bytes with a length. as_raw: whether the reader takes the bytes as they are."""

    slot: int | None
    size: int | None
    precision: int
    scale: int
    max_bytes: int

    def run(self, cursor: Cursor) -> None:
        if self.size is None:
            starts, ends = cursor.read_sizes()
        else:
            starts = cursor.pos
            cursor.move(self.size)
            ends = cursor.pos
        data, limit = cursor.poll.data, 10**self.precision
        context = Context(prec=self.precision)
        values: list[Decimal | None] = []
        for index, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
            number = int.from_bytes(data[start:end], "big", signed=True) if end - start <= self.max_bytes else limit
            if abs(number) >= limit:
                cursor.suspect(np.array([index]))
                values.append(None)
            elif self.slot is not None:
                values.append(context.create_decimal(number).scaleb(-self.scale, context))
        if self.slot is not None:
            cursor.poll.write(self.slot, cursor.rows, as_objects(values))


@dataclass(slots=True)
class Constant:
    """A field that the writer does not have. None is null."""

    slot: int
    value: object

    def run(self, cursor: Cursor) -> None:
        if self.value is not None:
            size, value = len(cursor.pos), self.value
            is_number = isinstance(value, (bool, float)) or (isinstance(value, int) and abs(value) < 1 << 63)
            values = np.full(size, value) if is_number else as_objects([value] * size)
            cursor.poll.write(self.slot, cursor.rows, values)


@dataclass(slots=True)
class Fail:
    """A part that the reader cannot take: it makes suspects."""

    def run(self, cursor: Cursor) -> None:
        cursor.poll.suspect_all(cursor.rows)


@dataclass(slots=True)
class Call:
    """A recursive type, which is skipped. steps: set when they have been compiled."""

    steps: list[Step]
    max_depth: int

    def run(self, cursor: Cursor) -> None:
        poll = cursor.poll
        if poll.calls >= self.max_depth:
            poll.suspect_all(cursor.rows)
            return
        poll.calls += 1
        run_all(self.steps, cursor)
        poll.calls -= 1


def as_objects(values: list[Any]) -> NDArray[Any]:
    """Return a list as an array of objects."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array
