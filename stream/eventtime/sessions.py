"""Session windows of one partition: events of a key that are less than the gap apart.

A session never goes over a multiple of its greatest length since the epoch: it is cut there. That the places of the cuts do
not depend on what came before is what makes the sessions after a replay those before it, although the replay does not see
the beginnings of sessions that are over.
"""

from __future__ import annotations

import heapq
from collections import deque

from forebay.stream.eventtime.row_buffer import RowKeeper
from forebay.stream.eventtime.spec import WindowSpec
from forebay.stream.eventtime.tumbling import ACCEPTED, FULL, LATE, NEVER
from forebay.stream.eventtime.types import Window


class Sessions:
    """Open sessions by key. An event at t makes a session [t, t + gap); those of a key that overlap become one."""

    def __init__(self, spec: WindowSpec, keeper: RowKeeper) -> None:
        self._gap, self._size, self._lateness = spec.gap_ms, spec.size_ms, spec.lateness_ms
        self._keeper = keeper
        self._by_key: dict[bytes, list[Window]] = {}
        # One entry for each session, by an end that it had: it may end later by now, or be gone.
        self._by_end: list[tuple[int, int, Window]] = []
        self._begun: deque[Window] = deque()
        self._serial = 0
        self.next_close = NEVER
        self.num_windows = 0
        self.num_rows = 0
        self.key_bytes = 0

    def place(self, key: bytes, t: int, offset: int, watermark: int, row: bytes) -> int:
        """Put an event into its session: ACCEPTED, LATE or FULL."""
        end = min(t + self._gap, (t // self._size + 1) * self._size)
        sessions = self._by_key.get(key)
        met = [one for one in sessions if one.start < end and t < one.end] if sessions else ()
        if not met:
            if end + self._lateness <= watermark:
                return LATE
            own = sessions[0].key if sessions else key
            self._begin(Window(own, t, end, offset, watermark, row), sessions)
            return ACCEPTED
        # The one that began first in the log stays, so that its place in `_begun` tells its first offset.
        into = min(met, key=lambda one: one.first_offset)
        if self._keeper.is_full(into):
            into.dropped += 1
            return FULL
        self.num_rows += self._keeper.add(into, row)
        into.start, into.end = min(into.start, t), max(into.end, end)
        for other in met:
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
        """Those whose end and lateness the watermark has reached: by their end, then in the order in which they began."""
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
        # A session that another absorbs never leads `_begun`, since the one that began first absorbs the others.
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
        """Return the open session that began at the least offset; None if none is open."""
        return self._begun[0] if self._begun else None

    def greatest_end(self) -> int:
        """The end of the last of them to end; there must be one."""
        return max(window.end for sessions in self._by_key.values() for window in sessions)
