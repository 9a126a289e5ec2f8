"""Reject events whose timestamp cannot be right: a single one could close every window, or open one in 1970. Pure.

Two bounds compare an event with its record, so a replay decides the same. If the record's timestamp is the producer's
(`CreateTime`), a producer with a wrong clock sets both timestamps ahead, so a third bound compares the event with the
worker's clock. A replay would decide that differently, because the clock has advanced. Therefore the decision is recorded: a
checkpoint lists the events in its replay range that were rejected by the clock, and a replay does not use the clock. An
event newer than all accepted events need not be listed: the checkpoint's watermark shows that it was rejected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from forebay.stream.core.time_format import rfc3339
from forebay.stream.core.time_units import guess_unit

MAX_LISTED: Final = 200
"""The number of events that a checkpoint may list: at most 2,600 of its 4,096 bytes, or 3,800 if all are rows of records."""
MAX_REMEMBERED: Final = 10_000
"""The number of rejected events that are remembered in case a checkpoint has to list them."""


Place = int | tuple[int, int]
"""The position of an event: its offset, or its offset and row if its record holds several events."""


def offset_of(place: Place) -> int:
    """Return the offset of an event's record."""
    return place if isinstance(place, int) else place[0]


@dataclass(frozen=True, slots=True)
class TimestampBounds:
    """The bounds of event timestamps, in ms.

    ahead_ms: how far an event may be ahead of its record and of the worker's clock.
    behind_ms: how far an event may be behind its record.
    broker_time: whether the records have the broker's timestamps (`LogAppendTime`), so that the worker's clock is not used.
    """

    ahead_ms: int
    behind_ms: int
    broker_time: bool = False


class ReplayDecisions(NamedTuple):
    """The decisions by the clock that a replay repeats.

    newest: the newest event time that was accepted before the checkpoint's head.
    places: the events that were rejected by the clock although they are not newer than that.
    """

    newest: int
    places: frozenset[Place]


class TimestampGuard:
    """The bounds for the events of one partition, and the events rejected by the clock that a replay could see again."""

    def __init__(self, bounds: TimestampBounds) -> None:
        self._bounds = bounds
        self._by_clock: list[tuple[Place, int]] = []

    def reject(
        self,
        times: Sequence[int],
        stamps: Sequence[int],
        places: Sequence[Place],
        *,
        wall_ms: int,
        replay: ReplayDecisions | None,
    ) -> dict[int, str]:
        """Return the rows whose timestamp cannot be right, each with the bound that it violates: `ahead`, `behind` or `clock`.

        Those that violate only `clock` are remembered for checkpoints.

        times: the events' timestamps, in ms.
        stamps: their records' timestamps, in ms; negative for a record without one.
        wall_ms: the worker's clock.
        replay: the decisions to repeat, while records are read again.
        """
        bounds = self._bounds
        ahead_ms, behind_ms = bounds.ahead_ms, bounds.behind_ms
        rows = {
            row: "ahead" if t > stamp else "behind"
            for row, (t, stamp) in enumerate(zip(times, stamps, strict=True))
            if stamp >= 0 and not -behind_ms <= t - stamp <= ahead_ms
        }
        if replay is not None:
            newest, listed = replay
            rejected = [row for row, t in enumerate(times) if t > newest or places[row] in listed]
        elif bounds.broker_time or not times or max(times) <= wall_ms + ahead_ms:
            return rows
        else:
            rejected = [row for row, t in enumerate(times) if t > wall_ms + ahead_ms]
        for row in rejected:
            if row not in rows:
                rows[row] = "clock"
                self._by_clock.append((places[row], times[row]))
        return rows

    def listed(self, replay_from: int, newest: int) -> tuple[Place, ...]:
        """Return the events for a checkpoint from which a replay begins at `replay_from`.

        newest: the newest event time accepted so far.
        """
        return tuple(place for place, t in self._by_clock if offset_of(place) >= replay_from and t <= newest)

    def forget_before(self, replay_from: int) -> None:
        """Forget the events before `replay_from`, which no replay will read again."""
        if self._by_clock and offset_of(self._by_clock[0][0]) < replay_from:
            self._by_clock = [(place, t) for place, t in self._by_clock if offset_of(place) >= replay_from]

    @property
    def num_remembered(self) -> int:
        """The number of events that were rejected by the clock and may have to be listed."""
        return len(self._by_clock)

    def explain(self, bound: str, t: int, stamp: int, wall_ms: int) -> str:
        """Return the message for an event that violates a bound."""
        ahead_ms, behind_ms = self._bounds.ahead_ms, self._bounds.behind_ms
        if bound == "behind":
            bound_ms = f"window.max_timestamp_behind_ms is {behind_ms}"
            return f"timestamp {t} is {stamp - t} ms behind its record; {bound_ms}{guess_unit(t)}"
        if bound == "ahead":
            bound_ms = f"window.max_timestamp_ahead_ms is {ahead_ms}"
            return f"timestamp {t} is {t - stamp} ms ahead of its record; {bound_ms}{guess_unit(t)}"
        return (
            f"timestamp {t} is {t - wall_ms} ms ahead of this worker's clock ({rfc3339(wall_ms)}): check the clocks of its "
            f"producer and of this worker; window.max_timestamp_ahead_ms is {ahead_ms}"
        )
