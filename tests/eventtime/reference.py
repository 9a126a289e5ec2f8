"""A slow and simple reference of event-time windows: one list, searched for each event."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from forebay.stream.eventtime.spec import WindowKind, WindowSpec


class Event(NamedTuple):
    offset: int
    key: bytes
    t: int


@dataclass
class Open:
    key: bytes
    start: int
    end: int
    events: list[Event] = field(default_factory=list)
    dropped: int = 0


@dataclass
class Result:
    """closed: (at the offset after which it closed, key, start, end, offsets by event time, dropped)."""

    late: list[int] = field(default_factory=list)
    full: list[int] = field(default_factory=list)
    closed: list[tuple[int, bytes, int, int, tuple[int, ...], int]] = field(default_factory=list)


def windows(spec: WindowSpec, events: list[Event], *, max_rows: int) -> tuple[Result, list[Open], int | None]:
    """Return the outcomes of the events, the windows that are open after them, and the watermark."""
    result, opened, newest = Result(), list[Open](), None
    for event in events:
        watermark = None if newest is None else newest - spec.out_of_orderness_ms

        def over(end: int, watermark: int | None = watermark) -> bool:
            return watermark is not None and end + spec.lateness_ms <= watermark

        outcomes = set()
        if spec.kind is WindowKind.SESSION:
            begin = event.t
            end = min(event.t + spec.gap_ms, (event.t // spec.size_ms + 1) * spec.size_ms)
            overlapping = [
                window for window in opened if window.key == event.key and window.start < end and begin < window.end
            ]
            if not overlapping and over(end):
                outcomes.add("late")
            else:
                into = (
                    min(overlapping, key=lambda window: min(window.events).offset)
                    if overlapping
                    else Open(event.key, begin, end)
                )
                if len(into.events) >= max_rows:
                    into.dropped += 1
                    outcomes.add("full")
                else:
                    into.events.append(event)
                    into.start, into.end = min(into.start, begin), max(into.end, end)
                    for other in overlapping:
                        if other is not into:
                            into.events += other.events
                            into.dropped += other.dropped
                            into.start, into.end = min(into.start, other.start), max(into.end, other.end)
                            opened.remove(other)
                    if not overlapping:
                        opened.append(into)
                    outcomes.add("accepted")
        else:
            for start in range(-(-(event.t - spec.size_ms + 1) // spec.hop_ms) * spec.hop_ms, event.t + 1, spec.hop_ms):
                if over(start + spec.size_ms):
                    outcomes.add("late")
                    continue
                existing = [window for window in opened if (window.key, window.start) == (event.key, start)]
                window = existing[0] if existing else Open(event.key, start, start + spec.size_ms)
                if not existing:
                    opened.append(window)
                if len(window.events) >= max_rows:
                    window.dropped += 1
                    outcomes.add("full")
                else:
                    window.events.append(event)
                    outcomes.add("accepted")
        if "accepted" not in outcomes:
            (result.full if "full" in outcomes else result.late).append(event.offset)
        newest = event.t if newest is None else max(newest, event.t)
        now = newest - spec.out_of_orderness_ms
        for window in sorted(
            (window for window in opened if window.end + spec.lateness_ms <= now), key=lambda window: window.end
        ):
            opened.remove(window)
            result.closed.append((event.offset, *described(window)))
    return result, opened, None if newest is None else newest - spec.out_of_orderness_ms


def described(window: Open) -> tuple[bytes, int, int, tuple[int, ...], int]:
    by_time = tuple(event.offset for event in sorted(window.events, key=lambda event: (event.t, event.offset)))
    return window.key, window.start, window.end, by_time, window.dropped
