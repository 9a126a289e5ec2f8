"""Reads Avro's primitives from all payloads of a poll at once: one position for each payload in one joined buffer.

Nothing is read outside the buffer, and a payload that does not fit its schema never affects another. A position beyond the end
of its payload stays there, at `limit`, so one comparison after the last field finds all payloads that are too short: positions
never decrease. Values that were read meanwhile belong to suspects and are discarded.

Shapes: B payloads of the poll, R payloads that a cursor covers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from forebay.stream.decode.formats.payload import Column

PADDING: Final = 32
"""Bytes after the last payload, so that the longest integer can be read at any position."""
MAX_POLL_ITEMS: Final = 4_096
"""Limit of the steps over items of arrays and maps for one poll. Payloads that need more become suspects."""
MAX_CALLS: Final = 32
"""Limit of the depth of recursive types. Payloads that are nested more deeply become suspects."""

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_ZIGZAG: Final[Ints] = np.array([(value >> 1) ^ -(value & 1) for value in range(128)], dtype=np.int64)
_HIGH_BITS: Final = np.uint64(0x8080808080808080)
_LOW_BITS: Final = np.uint64(0x7F7F7F7F7F7F7F7F)
_ONE: Final = np.uint64(1)
# Each step joins pairs of groups of bits: the mask of the lower groups, that of the upper ones, and their distance.
_JOINS: Final = tuple(
    (np.uint64(lower), np.uint64(upper), np.uint64(shift))
    for lower, upper, shift in (
        (0x007F007F007F007F, 0x7F007F007F007F00, 1),
        (0x00003FFF00003FFF, 0x3FFF00003FFF0000, 2),
        (0x000000000FFFFFFF, 0x0FFFFFFF00000000, 4),
    )
)


class Poll:
    """The payloads of a poll, and what has been read from them.

    suspects_B: the payloads that do not plainly fit.
    stride: the length of each value if all have the same, else 0.
    items_left: how many steps over items are still allowed.
    calls: how many recursive types are being read.
    """

    __slots__ = (
        "_columns",
        "_missing",
        "_text",
        "_windows",
        "calls",
        "data",
        "end_B",
        "items_left",
        "size",
        "start",
        "stride",
        "suspects_B",
        "u8",
    )

    def __init__(self, values: Sequence[bytes], start: int) -> None:
        lengths = np.fromiter(map(len, values), dtype=np.int64, count=len(values))
        self.data = b"".join((*values, bytes(PADDING)))
        self.size = len(self.data)
        self.u8 = np.frombuffer(self.data, dtype=np.uint8)
        self.start = start
        self.stride = int(lengths[0]) if len(lengths) and lengths.min() == lengths.max() else 0
        self.end_B: Ints = lengths.cumsum()
        self.suspects_B: Bools = np.zeros(len(lengths), dtype=np.bool_)
        self.items_left = MAX_POLL_ITEMS
        self.calls = 0
        self._text: str | None = None
        self._windows: dict[int, NDArray[np.void]] = {}
        self._columns: dict[int, NDArray[Any]] = {}
        self._missing: dict[int, Bools] = {}

    def cursor(self) -> Cursor:
        """Return a cursor at the start of all payloads."""
        begins_B = np.zeros_like(self.end_B)
        begins_B[1:] = self.end_B[:-1]
        cursor = Cursor(self, begins_B + self.start, self.end_B + 1, None)
        if self.stride:
            cursor.offset = self.start
        np.minimum(cursor.pos, cursor.limit, out=cursor.pos)
        return cursor

    def gather(self, pos: Ints, width: int) -> NDArray[np.void]:
        """Return `width` bytes at each position. Positions at the limit may yield any bytes."""
        window = self._windows.get(width)
        if window is None:
            if width > self.size:  # then no payload has that many bytes
                return np.zeros(len(pos), dtype=f"V{width}")
            window = np.ndarray((self.size - width + 1,), dtype=f"V{width}", buffer=self.data, strides=(1,))
            self._windows[width] = window
        if width >= PADDING:
            pos = np.minimum(pos, self.size - width)
        return window[pos]

    @property
    def text(self) -> str:
        """The buffer as text with one character for each byte. Slices of it are cheaper than those of bytes, decoded."""
        if self._text is None:
            self._text = self.data.decode("latin-1")
        return self._text

    def rows_at(self, offset: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return a view of the bytes at the same offset of each value. All values have the same length, which fits."""
        return np.ndarray((len(self.end_B),), dtype=dtype, buffer=self.data, offset=offset, strides=(self.stride,))

    def suspect(self, rows: Ints | None, bad: Bools) -> None:
        """Mark the payloads of `rows` for which `bad` is true."""
        if rows is None:
            self.suspects_B |= bad
        else:
            self.suspects_B[rows[bad]] = True

    def suspect_all(self, rows: Ints | None) -> None:
        """Mark all payloads of `rows`."""
        self.suspects_B[slice(None) if rows is None else rows] = True

    def write(self, slot: int, rows: Ints | None, values: NDArray[Any], missing: Bools | None = None) -> None:
        """Set the values of a column. missing: which are null; None if none is."""
        size = len(self.end_B)
        if rows is None:
            self._columns[slot] = values
            if missing is not None:
                self._missing[slot] = missing
            return
        if slot not in self._columns:
            empty = np.empty if values.dtype == object else np.zeros  # empty objects are None
            self._columns[slot] = empty((size, *values.shape[1:]), dtype=values.dtype)
            self._missing[slot] = np.ones(size, dtype=np.bool_)
        self._columns[slot][rows] = values
        self._missing[slot][rows] = False if missing is None else missing

    def columns(self, number: int) -> list[Column]:
        """Return the columns of the slots below a number. Those that were never written have only missing values."""
        size = len(self.end_B)
        if self._missing or len(self._columns) < number:
            return [self._column(slot, size) for slot in range(number)]
        return [Column(self._columns[slot]) for slot in range(number)]

    def _column(self, slot: int, size: int) -> Column:
        values = self._columns.get(slot)
        if values is None:
            return Column(np.zeros(size), np.ones(size, dtype=np.bool_))
        missing_B = self._missing.get(slot)
        return Column(values, missing_B if missing_B is not None and missing_B.any() else None)


class Cursor:
    """A position in each of some payloads.

    pos: int64 [R]. limit: one after the end of each payload.
    rows: the numbers of the payloads in the poll; None if these are all.
    offset: the distance of each position from the start of its value, while that is the same for values of equal length.
    """

    __slots__ = ("limit", "offset", "poll", "pos", "rows")

    def __init__(self, poll: Poll, pos: Ints, limit: Ints, rows: Ints | None) -> None:
        self.poll = poll
        self.pos = pos
        self.limit = limit
        self.rows = rows
        self.offset: int | None = None

    def select(self, index: Ints) -> Cursor:
        """Return a cursor for some of the payloads, by index of this cursor's arrays."""
        rows = index if self.rows is None else self.rows[index]
        return Cursor(self.poll, self.pos[index], self.limit[index], rows)

    def move(self, widths: Ints | int) -> None:
        """Advance by numbers of bytes that are not negative."""
        self.offset = None
        pos = self.pos + widths
        np.minimum(pos, self.limit, out=pos)
        self.pos = pos

    def read_bytes(self) -> NDArray[np.uint8]:
        """Return the next byte of each payload, and advance."""
        values: NDArray[np.uint8] = self.poll.u8[self.pos]
        self.move(1)
        return values

    def read_longs(self) -> Ints:
        """Return the next integer of each payload, and advance. An integer of more than 64 bits makes a suspect."""
        first = self.poll.u8[self.pos]
        if len(first) and int(first.max()) < 0x80:
            self.move(1)
            return _ZIGZAG[first]
        words = self.poll.gather(self.pos, 8).view("<u8")
        stops = ~words & _HIGH_BITS
        lowest = stops & (~stops + _ONE)
        mask = lowest ^ (lowest - _ONE)  # all bits up to the end of the integer; all 64 if it has more than 8 bytes
        sizes = (np.bitwise_count(mask) >> 3).astype(np.int64)
        words &= mask & _LOW_BITS
        for lower, upper, shift in _JOINS:
            words = (words & lower) | ((words & upper) >> shift)
        if not stops.all():
            self._read_ends(words, sizes, np.flatnonzero(stops == 0))
        self.move(sizes)
        result: Ints = (words >> _ONE).view(np.int64) ^ -(words & _ONE).view(np.int64)
        return result

    def _read_ends(self, words: NDArray[np.uint64], sizes: Ints, index: Ints) -> None:
        """Add the last bytes of integers with more than 8 bytes, which have 56 bits until now."""
        pos = self.pos[index]
        ninth = self.poll.u8[pos + 8].astype(np.uint64)
        tenth = self.poll.u8[pos + 9].astype(np.uint64)
        has_tenth = ninth > 0x7F
        self.suspect(index[has_tenth & (tenth > 1)])
        words[index] |= (ninth & np.uint64(0x7F)) << np.uint64(56)
        words[index] |= np.where(has_tenth, tenth & _ONE, np.uint64(0)) << np.uint64(63)
        sizes[index] = 9 + has_tenth

    def read_sizes(self) -> tuple[Ints, Ints]:
        """Return where the following bytes with a length begin and end, and advance to their ends.

        Those that do not fit make suspects and appear empty.
        """
        sizes = self.read_longs()
        starts = self.pos
        bad = (sizes < 0) | (sizes >= self.limit - starts)
        if bad.any():
            self.poll.suspect(self.rows, bad)
            sizes = np.where(bad, 0, sizes)
        self.move(sizes)
        return starts, starts + sizes

    def suspect(self, index: Ints) -> None:
        """Mark payloads as suspects, by index of this cursor's arrays."""
        self.poll.suspects_B[index if self.rows is None else self.rows[index]] = True

    def check(self, bad: Bools) -> None:
        """Mark payloads for which `bad` is true."""
        if bad.any():
            self.poll.suspect(self.rows, bad)
