"""Tumbling and hopping windows of one partition. All windows that begin together end together: they make a pane."""

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
    """Open windows, by their beginning and key. An event at t is in those that begin in (t - size, t]."""

    def __init__(self, spec: WindowSpec, keeper: RowKeeper) -> None:
        self._size, self._hop, self._lateness = spec.size_ms, spec.hop_ms, spec.lateness_ms
        self._keeper = keeper
        self._panes: dict[int, dict[bytes, Window]] = {}
        self.next_close = NEVER
        self.num_windows = 0
        self.num_rows = 0
        self.key_bytes = 0

    def place(self, key: bytes, t: int, offset: int, watermark: int, row: bytes) -> int:
        """Put an event into its windows: ACCEPTED where one of them took it, else LATE or FULL.

        Each decides for itself, so that a window is the same whatever became of others.
        """
        fate = LATE
        start = t - t % self._hop
        while start > t - self._size:
            if start + self._size + self._lateness > watermark:
                added = self._add(start, key, offset, watermark, row)
                if added:
                    fate = ACCEPTED
                elif fate == LATE:
                    fate = FULL
            start -= self._hop
        return fate

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
        """Return the key's bytes as a window beside this one holds them: one event's may be in a thousand windows."""
        for beside in (start - self._hop, start + self._hop):
            window = self._panes.get(beside, {}).get(key)
            if window is not None:
                return window.key
        return key

    def close_until(self, watermark: int) -> list[Window]:
        """Those whose end and lateness the watermark has reached: by their end, then in the order in which they began."""
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
        """The open window that began at the least offset."""
        firsts = (next(iter(pane.values())) for pane in self._panes.values())
        return min(firsts, key=lambda window: window.first_offset, default=None)

    def greatest_end(self) -> int:
        """The end of the last of them to end; there must be one."""
        return max(self._panes) + self._size
