"""The windows of one partition and its watermark. Pure: the same events in the same order give the same windows.

The content of a window depends only on the events, not on how they were split into polls, so that a replay reproduces it.
"""

from __future__ import annotations

from typing import NamedTuple

from forebay.stream.eventtime.row_buffer import RowKeeper
from forebay.stream.eventtime.sessions import Sessions
from forebay.stream.eventtime.spec import WindowKind, WindowSpec
from forebay.stream.eventtime.tumbling import ACCEPTED, LATE, Panes
from forebay.stream.eventtime.types import KEY_COPIES, NO_WATERMARK, WINDOW_BYTES, AddResult, Events, Window


class Checkpoint(NamedTuple):
    """The offsets and watermarks from which the open windows can be rebuilt.

    head: the offset before which everything is decided.
    replay_from: the offset of the first event of the oldest open window; the head if no window is open.
    watermark_before: the watermark just before that event.
    watermark: the watermark at the head.
    """

    head: int
    replay_from: int
    watermark_before: int
    watermark: int


class PartitionWindows:
    """The open windows of one partition.

    head: the offset of the next record.
    watermark: the watermark before that record, in ms.
    """

    def __init__(self, spec: WindowSpec, keeper: RowKeeper, *, head: int, watermark: int = NO_WATERMARK) -> None:
        self._out_of_orderness = spec.out_of_orderness_ms
        self._lateness = spec.lateness_ms
        # The longest time by which the end of a window can exceed the watermark.
        self._reach = spec.out_of_orderness_ms + (spec.gap_ms if spec.kind is WindowKind.SESSION else spec.size_ms)
        self._open: Panes | Sessions = (Sessions if spec.kind is WindowKind.SESSION else Panes)(spec, keeper)
        self._width = keeper.width
        self.head = head
        self.watermark = watermark

    @property
    def num_windows(self) -> int:
        """The number of open windows."""
        return self._open.num_windows

    @property
    def num_rows(self) -> int:
        """The number of events in open windows; an event in several windows counts in each."""
        return self._open.num_rows

    @property
    def num_bytes(self) -> int:
        """The approximate memory of the open windows and their predictions: the sum of `Window.num_bytes`."""
        opened = self._open
        return WINDOW_BYTES * opened.num_windows + self._width * opened.num_rows + KEY_COPIES * opened.key_bytes

    def add(self, events: Events, head: int) -> AddResult:
        """Add events to their windows and advance the watermark.

        head: the offset of the record after the events.
        """
        result = AddResult()
        opened, width, out_of_orderness = self._open, self._width, self._out_of_orderness
        place, watermark = opened.place, self.watermark
        packed = events.packed()
        start = 0
        for index, (offset, key, t) in enumerate(zip(events.offsets, events.keys, events.timestamps, strict=True)):
            outcome = place(key, t, offset, watermark, packed[start : start + width])
            start += width
            if outcome != ACCEPTED:
                (result.late if outcome == LATE else result.full).append(index)
            if t - out_of_orderness > watermark:
                watermark = t - out_of_orderness
                if watermark >= opened.next_close:
                    result.closed.extend(opened.close_until(watermark))
        self.watermark, self.head = watermark, head
        return result

    def close_all(self) -> list[Window]:
        """Close all open windows and move the watermark past them: further events of these windows are late."""
        if not self._open.num_windows:
            return []
        # Far enough that the watermark alone shows each of them to be closed.
        watermark = self._open.greatest_end() + self._lateness
        closed = self._open.close_until(watermark)
        self.watermark = max(self.watermark, watermark)
        return closed

    def max_end_ms(self) -> int:
        """Return a time, in ms, that the end of no open window exceeds."""
        return self.watermark + self._reach

    def checkpoint(self) -> Checkpoint:
        """Return the checkpoint from which a replay would rebuild the open windows."""
        oldest = self._open.oldest()
        if oldest is None:
            return Checkpoint(self.head, self.head, self.watermark, self.watermark)
        return Checkpoint(self.head, oldest.first_offset, oldest.watermark_before, self.watermark)
