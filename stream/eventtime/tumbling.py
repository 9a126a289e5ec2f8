"""Tumbling and hopping windows of one partition. A pane holds the windows that have the same start, and so the same end."""

from __future__ import annotations

from typing import Final

from forebay.stream.eventtime.row_buffer import RowKeeper
from forebay.stream.eventtime.spec import WindowSpec
from forebay.stream.eventtime.types import SHARED_KEY_BYTES, Window

ACCEPTED: Final = 0
LATE: Final = 1
FULL: Final = 2

NEVER: Final = 2**63


class Panes:
    """Open windows by start and key. An event at t belongs to the windows that start in (t - size, t]."""

    def __init__(self, spec: WindowSpec, keeper: RowKeeper) -> None:
        self._size, self._hop, self._lateness = spec.size_ms, spec.hop_ms, spec.lateness_ms
        self._keeper = keeper
        self._panes: dict[int, dict[bytes, Window]] = {}
        self.next_close = NEVER
        self.num_windows = 0
        self.num_rows = 0
        self.key_bytes = 0

    def place(self, key: bytes, t: int, offset: int, watermark: int, row: bytes) -> int:
        """Put an event into its windows; return ACCEPTED if at least one took it, else LATE or FULL.

        Each window decides alone, so that its content does not depend on other windows.
        """
        outcome = LATE
        start = t - t % self._hop
        while start > t - self._size:
            if start + self._size + self._lateness > watermark:
                added = self._add(start, key, offset, watermark, row)
                if added:
                    outcome = ACCEPTED
                elif outcome == LATE:
                    outcome = FULL
            start -= self._hop
        return outcome

    def _add(self, start: int, key: bytes, offset: int, watermark: int, row: bytes) -> bool:
        pane = self._panes.get(start)
        if pane is None:
            pane = self._panes[start] = {}
            self.next_close = min(self.next_close, start + self._size + self._lateness)
        window = pane.get(key)
        if window is None:
            if len(key) > SHARED_KEY_BYTES:
                key = self._shared(key, start)
            pane[key] = Window(key, start, start + self._size, offset, watermark, row)
            self.key_bytes += len(key)
            self.num_windows += 1
            self.num_rows += 1
            return True
        if self._keeper.is_full(window):
            window.dropped += 1
            return False
        self.num_rows += self._keeper.add(window, row)
        return True

    def _shared(self, key: bytes, start: int) -> bytes:
        """Return the key object of a neighbouring window, if there is one: one event may be in a thousand windows."""
        for neighbour in (start - self._hop, start + self._hop):
            window = self._panes.get(neighbour, {}).get(key)
            if window is not None:
                return window.key
        return key

    def close_until(self, watermark: int) -> list[Window]:
        """Close the windows whose end and lateness the watermark has reached; return them by end, then by start order."""
        closed: list[Window] = []
        for start in sorted(self._panes):
            if start + self._size + self._lateness > watermark:
                break
            closed.extend(self._panes.pop(start).values())
        for window in closed:
            self.num_rows -= self._keeper.num_rows(window)
            self.key_bytes -= len(window.key)
        self.num_windows -= len(closed)
        self.next_close = min(self._panes, default=NEVER - self._size - self._lateness) + self._size + self._lateness
        return closed

    def oldest(self) -> Window | None:
        """Return the open window with the smallest first offset; None if no window is open."""
        firsts = (next(iter(pane.values())) for pane in self._panes.values())
        return min(firsts, key=lambda window: window.first_offset, default=None)

    def greatest_end(self) -> int:
        """Return the latest end of the open windows, which must not be empty."""
        return max(self._panes) + self._size
