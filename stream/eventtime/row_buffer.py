"""Limit the events that a window keeps: all up to a limit, or, for sequences, the last ones by event time."""

from __future__ import annotations

import numpy as np

from forebay.stream.eventtime.types import Window, row_type


class RowKeeper:
    """Adds rows to windows and keeps them within their limit.

    keep_last: the number of last events that a sequence needs; 0 keeps all events.
    max_rows: the number of events at which a window is full; sequences are trimmed before.
    """

    def __init__(self, num_features: int, *, keep_last: int, max_rows: int) -> None:
        self._type = row_type(num_features)
        self._width = self._type.itemsize
        self._trim_at = 2 * keep_last * self._width
        self._keep_bytes = keep_last * self._width
        self._max_bytes = max_rows * self._width

    @property
    def width(self) -> int:
        """The size of one row in bytes."""
        return self._width

    def num_rows(self, window: Window) -> int:
        """Return the number of rows in a window."""
        return len(window.rows) // self._width

    def is_full(self, window: Window) -> bool:
        """Return whether a window takes no more rows."""
        return not self._trim_at and len(window.rows) >= self._max_bytes

    def add(self, window: Window, row: bytes) -> int:
        """Add a row to a window that is not full; return by how many rows the window has grown.

        The result is negative if the window was trimmed.
        """
        window.rows += row
        window.num_events += 1
        if self._trim_at and len(window.rows) >= self._trim_at:
            before = len(window.rows) - self._width
            self._trim(window)
            return (len(window.rows) - before) // self._width
        return 1

    def merge(self, into: Window, other: Window) -> int:
        """Add the rows of `other`; return the change of the number of rows in both together, which is never above 0."""
        before = len(into.rows) + len(other.rows)
        into.rows += other.rows
        into.num_events += other.num_events
        into.dropped += other.dropped
        if self._trim_at and len(into.rows) >= self._trim_at:
            self._trim(into)
        return (len(into.rows) - before) // self._width

    def _trim(self, window: Window) -> None:
        # The rows removed here could not be among the last again: each event that follows only displaces older ones.
        rows = np.frombuffer(bytes(window.rows), dtype=self._type)
        order = np.argsort(rows["t"], kind="stable")[-(self._keep_bytes // self._width) :]
        window.rows = bytearray(rows[np.sort(order)].tobytes())
