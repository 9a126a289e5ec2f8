"""Which events have a timestamp that cannot be right: one of them could close every window, or open one in 1970. Pure.

Two bounds compare an event with its record, and come out the same whenever the record is read again. Where the record's
timestamp is the producer's (`CreateTime`), a producer whose clock is wrong is ahead with both, so a third bound compares the
event with the worker's clock. That decision would come out differently in a replay, when the clock has moved on. Therefore it
is kept: a checkpoint lists the offsets that were rejected by the clock and lie in the replay, and a replay asks no clock. An
event newer than all accepted ones need not be listed: the checkpoint's watermark shows that it was rejected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from forebay.stream.core.time_format import rfc3339
from forebay.stream.core.time_units import guess_unit

MAX_LISTED: Final = 200
"""Offsets that a checkpoint may list: at most 2,600 of its 4,096 bytes."""
MAX_KEPT: Final = 10_000
"""Events that are remembered in case they have to be listed."""


@dataclass(frozen=True, slots=True)
class TimestampBounds:
    """In ms. ahead_ms, behind_ms: how far an event may be from its record, ahead also from the clock.

    broker_time: the records' timestamps are the broker's (`LogAppendTime`), so that no other clock is asked.
    """

    ahead_ms: int
    behind_ms: int
    broker_time: bool = False


class Decided(NamedTuple):
    """What a checkpoint says about a replay: newest: the newest event time accepted before its head; offsets: rejected by the
    clock although not newer than that."""

    newest: int
    offsets: frozenset[int]


class TimestampGuard:
    """The bounds for the events of one partition, and the events rejected by the clock that a replay could see again."""

    def __init__(self, bounds: TimestampBounds) -> None:
        self._bounds = bounds
        self._by_clock: list[tuple[int, int]] = []

    def reject(
        self,
        times: Sequence[int],
        stamps: Sequence[int],
        offsets: Sequence[int],
        *,
        wall_ms: int,
        replay: Decided | None,
    ) -> dict[int, str]:
        """Return the rows whose timestamp cannot be right, each with the bound that it violates: `ahead`, `behind` or `clock`.

        Those that violate only `clock` are remembered for checkpoints.

        times: of the events; stamps: of their records; wall_ms: the worker's clock; replay: set while records are read again.
        """
        bounds = self._bounds
        ahead_ms, behind_ms = bounds.ahead_ms, bounds.behind_ms
        rows = {
            row: "ahead" if t > stamp else "behind"
            for row, (t, stamp) in enumerate(zip(times, stamps, strict=True))
            if stamp >= 0 and not -behind_ms <= t - stamp <= ahead_ms  # negative: the record has none
        }
        if replay is not None:
            newest, listed = replay
            rejected = [row for row, t in enumerate(times) if t > newest or offsets[row] in listed]
        elif bounds.broker_time or not times or max(times) <= wall_ms + ahead_ms:
            return rows
        else:
            rejected = [row for row, t in enumerate(times) if t > wall_ms + ahead_ms]
        for row in rejected:
            if row not in rows:
                rows[row] = "clock"
                self._by_clock.append((offsets[row], times[row]))
        return rows

    def listed(self, replay_from: int, newest: int) -> tuple[int, ...]:
        """Return the offsets for a checkpoint from which a replay begins at `replay_from`.

        newest: the newest event time accepted so far.
        """
        return tuple(offset for offset, t in self._by_clock if offset >= replay_from and t <= newest)

    def forget_before(self, replay_from: int) -> None:
        """Forget the events before `replay_from`, which no replay sees any more."""
        if self._by_clock and self._by_clock[0][0] < replay_from:
            self._by_clock = [(offset, t) for offset, t in self._by_clock if offset >= replay_from]

    @property
    def num_kept(self) -> int:
        """Events that were rejected by the clock and could still have to be listed."""
        return len(self._by_clock)

    def explain(self, bound: str, t: int, stamp: int, wall_ms: int) -> str:
        """A message for a rejected event."""
        ahead_ms, behind_ms = self._bounds.ahead_ms, self._bounds.behind_ms
        if bound == "behind":
            bound_ms = f"window.max_timestamp_behind_ms is {behind_ms}"
            return f"timestamp {t} is {stamp - t} ms behind its record; {bound_ms}{guess_unit(t)}"
        if bound == "ahead":
            return f"{t - stamp} ms ahead of its record; window.max_timestamp_ahead_ms is {ahead_ms}{guess_unit(t)}"
        return (
            f"{t - wall_ms} ms ahead of this worker's clock ({rfc3339(wall_ms)}), and its producer's clock with it; "
            f"window.max_timestamp_ahead_ms is {ahead_ms}"
        )
