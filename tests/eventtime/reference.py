"""Windows over event time, as slowly and plainly as they can be written: one list, looked through for each event."""

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
class Said:
    """closed: (at the offset after which it closed, key, start, end, offsets by event time, dropped)."""

    late: list[int] = field(default_factory=list)
    full: list[int] = field(default_factory=list)
    closed: list[tuple[int, bytes, int, int, tuple[int, ...], int]] = field(default_factory=list)


def windows(spec: WindowSpec, events: list[Event], *, max_rows: int) -> tuple[Said, list[Open], int | None]:
    """What becomes of the events, what is open after them, and the watermark."""
    said, opened, newest = Said(), list[Open](), None
    for event in events:
        watermark = None if newest is None else newest - spec.out_of_orderness_ms

        def over(end: int, watermark: int | None = watermark) -> bool:
            return watermark is not None and end + spec.lateness_ms <= watermark

        fates = set()
        if spec.kind is WindowKind.SESSION:
            begin = event.t
            end = min(event.t + spec.gap_ms, (event.t // spec.size_ms + 1) * spec.size_ms)
            met = [one for one in opened if one.key == event.key and one.start < end and begin < one.end]
            if not met and over(end):
                fates.add("late")
            else:
                into = min(met, key=lambda one: min(one.events).offset) if met else Open(event.key, begin, end)
                if len(into.events) >= max_rows:
                    into.dropped += 1
                    fates.add("full")
                else:
                    into.events.append(event)
                    into.start, into.end = min(into.start, begin), max(into.end, end)
                    for other in met:
                        if other is not into:
                            into.events += other.events
                            into.dropped += other.dropped
                            into.start, into.end = min(into.start, other.start), max(into.end, other.end)
                            opened.remove(other)
                    if not met:
                        opened.append(into)
                    fates.add("accepted")
        else:
            for start in range(-(-(event.t - spec.size_ms + 1) // spec.hop_ms) * spec.hop_ms, event.t + 1, spec.hop_ms):
                if over(start + spec.size_ms):
                    fates.add("late")
                    continue
                found = [one for one in opened if (one.key, one.start) == (event.key, start)]
                one = found[0] if found else Open(event.key, start, start + spec.size_ms)
                if not found:
                    opened.append(one)
                if len(one.events) >= max_rows:
                    one.dropped += 1
                    fates.add("full")
                else:
                    one.events.append(event)
                    fates.add("accepted")
        if "accepted" not in fates:
            (said.full if "full" in fates else said.late).append(event.offset)
        newest = event.t if newest is None else max(newest, event.t)
        now = newest - spec.out_of_orderness_ms
        for one in sorted((one for one in opened if one.end + spec.lateness_ms <= now), key=lambda one: one.end):
            opened.remove(one)
            said.closed.append((event.offset, *described(one)))
    return said, opened, None if newest is None else newest - spec.out_of_orderness_ms


def described(one: Open) -> tuple[bytes, int, int, tuple[int, ...], int]:
    by_time = tuple(event.offset for event in sorted(one.events, key=lambda event: (event.t, event.offset)))
    return one.key, one.start, one.end, by_time, one.dropped
