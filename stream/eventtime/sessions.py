"""Session windows of one partition: events of a key that are less than the gap apart.

A session never crosses a multiple of its maximum length since the epoch: it is cut there. These places do not depend on
earlier events, so a replay yields the same sessions although it does not see the beginnings of sessions that are over.
"""

from __future__ import annotations

import heapq
from collections import deque

from forebay.stream.eventtime.row_buffer import RowKeeper
from forebay.stream.eventtime.spec import WindowSpec
from forebay.stream.eventtime.tumbling import ACCEPTED, FULL, LATE, NEVER
from forebay.stream.eventtime.types import Window


class Sessions:
    """Open sessions by key. An event at t opens a session [t, t + gap); overlapping sessions of a key are merged."""

    def __init__(self, spec: WindowSpec, keeper: RowKeeper) -> None:
        self._gap, self._size, self._lateness = spec.gap_ms, spec.size_ms, spec.lateness_ms
        self._keeper = keeper
        self._by_key: dict[bytes, list[Window]] = {}
        # One entry for each session, by an end that it had: by now it may end later, or be closed or merged.
        self._by_end: list[tuple[int, int, Window]] = []
        self._begun: deque[Window] = deque()
        self._serial = 0
        self.next_close = NEVER
        self.num_windows = 0
        self.num_rows = 0
        self.key_bytes = 0

    def place(self, key: bytes, t: int, offset: int, watermark: int, row: bytes) -> int:
        """Put an event into its session; return ACCEPTED, LATE or FULL."""
        end = min(t + self._gap, (t // self._size + 1) * self._size)
        sessions = self._by_key.get(key)
        overlapping = [window for window in sessions if window.start < end and t < window.end] if sessions else ()
        if not overlapping:
            if end + self._lateness <= watermark:
                return LATE
            own = sessions[0].key if sessions else key
            self._begin(Window(own, t, end, offset, watermark, row), sessions)
            return ACCEPTED
        # The session with the smallest first offset absorbs the others, so that `_begun` stays sorted by first offset.
        into = min(overlapping, key=lambda window: window.first_offset)
        if self._keeper.is_full(into):
            into.dropped += 1
            return FULL
        self.num_rows += self._keeper.add(into, row)
        into.start, into.end = min(into.start, t), max(into.end, end)
        for other in overlapping:
            if other is not into:
                self._absorb(into, other)
        return ACCEPTED

    def _begin(self, window: Window, sessions: list[Window] | None) -> None:
        if sessions is None:
            self._by_key[window.key] = [window]
        else:
            sessions.append(window)
        heapq.heappush(self._by_end, (window.end, self._serial, window))
        self._serial += 1
        self._begun.append(window)
        self.next_close = min(self.next_close, window.end + self._lateness)
        self.num_windows += 1
        self.num_rows += 1
        self.key_bytes += len(window.key)

    def _absorb(self, into: Window, other: Window) -> None:
        into.start, into.end = min(into.start, other.start), max(into.end, other.end)
        self.num_rows += self._keeper.merge(into, other)
        self._by_key[into.key].remove(other)
        self.num_windows -= 1
        self.key_bytes -= len(other.key)
        other.is_open = False

    def close_until(self, watermark: int) -> list[Window]:
        """Close the sessions whose end and lateness the watermark has reached; return them by end, then by start order."""
        closed: list[Window] = []
        while self._by_end and self._by_end[0][0] + self._lateness <= watermark:
            end, serial, window = heapq.heappop(self._by_end)
            if not window.is_open:
                continue
            if window.end == end:
                closed.append(window)
                self._forget(window)
            else:
                heapq.heappush(self._by_end, (window.end, serial, window))
        self.next_close = self._by_end[0][0] + self._lateness if self._by_end else NEVER
        # An absorbed session is never the first in `_begun`, since the session that began first absorbs the others.
        while self._begun and not self._begun[0].is_open:
            self._begun.popleft()
        return closed

    def _forget(self, window: Window) -> None:
        of_key = self._by_key[window.key]
        if len(of_key) == 1:
            del self._by_key[window.key]
        else:
            of_key.remove(window)
        self.num_windows -= 1
        self.key_bytes -= len(window.key)
        self.num_rows -= self._keeper.num_rows(window)
        window.is_open = False

    def oldest(self) -> Window | None:
        """Return the open session with the smallest first offset; None if no session is open."""
        return self._begun[0] if self._begun else None

    def greatest_end(self) -> int:
        """Return the latest end of the open sessions, which must not be empty."""
        return max(window.end for sessions in self._by_key.values() for window in sessions)
