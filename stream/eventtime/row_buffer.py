"""How many events a window keeps: all up to a bound, or, for sequences, the last ones by event time."""

from __future__ import annotations

import numpy as np

from forebay.stream.eventtime.types import Window, row_type


class RowKeeper:
    """Adds rows to windows. keep_last: of a sequence, how many of its last events are enough (0: keep all).

    max_rows: a window that holds so many takes no more; a sequence never gets there.
    """

    def __init__(self, num_features: int, *, keep_last: int, max_rows: int) -> None:
        self._type = row_type(num_features)
        self._width = self._type.itemsize
        self._trim_at = 2 * keep_last * self._width
        self._keep_bytes = keep_last * self._width
        self._max_bytes = max_rows * self._width

    @property
    def width(self) -> int:
        """Bytes of one row."""
        return self._width

    def num_rows(self, window: Window) -> int:
        """How many it holds."""
        return len(window.rows) // self._width

    def is_full(self, window: Window) -> bool:
        """Whether it takes no more."""
        return not self._trim_at and len(window.rows) >= self._max_bytes

    def add(self, window: Window, row: bytes) -> int:
        """Take a row into a window that is not full. By how many rows it has grown: below 0 where it was trimmed."""
        window.rows += row
        window.num_events += 1
        if self._trim_at and len(window.rows) >= self._trim_at:
            before = len(window.rows) - self._width
            self._trim(window)
            return (len(window.rows) - before) // self._width
        return 1

    def merge(self, into: Window, other: Window) -> int:
        """The rows of `other`, too. By how many rows both together have become more: never above 0."""
        before = len(into.rows) + len(other.rows)
        into.rows += other.rows
        into.num_events += other.num_events
        into.dropped += other.dropped
        if self._trim_at and len(into.rows) >= self._trim_at:
            self._trim(into)
        return (len(into.rows) - before) // self._width

    def _trim(self, window: Window) -> None:
        # What is cut off here could not come back: of the events that follow, each only pushes out older ones.
        rows = np.frombuffer(bytes(window.rows), dtype=self._type)
        order = np.argsort(rows["t"], kind="stable")[-(self._keep_bytes // self._width) :]
        window.rows = bytearray(rows[np.sort(order)].tobytes())
