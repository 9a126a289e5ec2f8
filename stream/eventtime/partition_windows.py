"""The windows of one partition, and its watermark. Pure: the same events in the same order give the same windows.

What is in a window depends on the events alone and not on how the polls cut them, so that a replay gives it again.
"""

from __future__ import annotations

from typing import NamedTuple

from forebay.stream.eventtime.row_buffer import RowKeeper
from forebay.stream.eventtime.sessions import Sessions
from forebay.stream.eventtime.spec import WindowKind, WindowSpec
from forebay.stream.eventtime.tumbling import ACCEPTED, LATE, Panes
from forebay.stream.eventtime.types import KEY_COPIES, NO_WATERMARK, WINDOW_BYTES, Events, Verdict, Window


class Checkpoint(NamedTuple):
    """From where the open windows can be made again.

    head: all before it is decided; replay_from: the first event of the oldest open window, else the head; watermark_before: the
    watermark just before that event; watermark: at the head.
    """

    head: int
    replay_from: int
    watermark_before: int
    watermark: int


class PartitionWindows:
    """The open windows of one partition. head: the offset of the next record; watermark: before it, in ms."""

    def __init__(self, spec: WindowSpec, keeper: RowKeeper, *, head: int, watermark: int = NO_WATERMARK) -> None:
        self._out_of_orderness = spec.out_of_orderness_ms
        self._lateness = spec.lateness_ms
        # How long after the newest event the last window can end.
        self._reach = spec.out_of_orderness_ms + (spec.gap_ms if spec.kind is WindowKind.SESSION else spec.size_ms)
        self._open: Panes | Sessions = (Sessions if spec.kind is WindowKind.SESSION else Panes)(spec, keeper)
        self._width = keeper.width
        self.head = head
        self.watermark = watermark

    @property
    def num_windows(self) -> int:
        """Windows that are open."""
        return self._open.num_windows

    @property
    def num_rows(self) -> int:
        """Events that they hold; one that is in several counts in each."""
        return self._open.num_rows

    @property
    def num_bytes(self) -> int:
        """About what they and their predictions take in memory: the sum of `Window.num_bytes`."""
        opened = self._open
        return WINDOW_BYTES * opened.num_windows + self._width * opened.num_rows + KEY_COPIES * opened.key_bytes

    def add(self, events: Events, head: int) -> Verdict:
        """Take in the events up to `head`, the offset of the record after them."""
        verdict = Verdict()
        opened, width, out_of_orderness = self._open, self._width, self._out_of_orderness
        place, watermark = opened.place, self.watermark
        packed = events.packed()
        at = 0
        for index, (offset, key, t) in enumerate(zip(events.offsets, events.keys, events.timestamps, strict=True)):
            fate = place(key, t, offset, watermark, packed[at : at + width])
            at += width
            if fate != ACCEPTED:
                (verdict.late if fate == LATE else verdict.full).append(index)
            if t - out_of_orderness > watermark:
                watermark = t - out_of_orderness
                if watermark >= opened.next_close:
                    verdict.closed.extend(opened.close_until(watermark))
        self.watermark, self.head = watermark, head
        return verdict

    def close_all(self) -> list[Window]:
        """Close what is open, and let the watermark pass it: events that would have gone there are late from now on."""
        if not self._open.num_windows:
            return []
        # So far that each of them is closed by the watermark too, whoever looks at it.
        passed = self._open.greatest_end() + self._lateness
        closed = self._open.close_until(passed)
        self.watermark = max(self.watermark, passed)
        return closed

    def last_end_at_most(self) -> int:
        """No open window ends later than that, in ms."""
        return self.watermark + self._reach

    def checkpoint(self) -> Checkpoint:
        """Where a replay would have to begin."""
        oldest = self._open.oldest()
        if oldest is None:
            return Checkpoint(self.head, self.head, self.watermark, self.watermark)
        return Checkpoint(self.head, oldest.first_offset, oldest.watermark_before, self.watermark)
