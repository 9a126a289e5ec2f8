"""Times and durations as text, for messages, tables and records."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

NO_TIME: Final = "(no time)"
UNBOUNDED_MS: Final = 1 << 60
"""Durations from here on have no limit: Kafka uses 2^63 - 1 ms for that."""


def rfc3339(ms: int) -> str:
    """Return milliseconds since the Unix epoch, between 1970 and 9999, as `2026-07-30T12:00:00.000Z`."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def utc_minute(ms: int) -> str:
    """Return the minute of a time in UTC, as `2026-07-30 12:00`. Raises ValueError, OverflowError or OSError."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def local_date_time(ms: int | None) -> str:
    """Return a time in the reader's time zone, as `2026-07-30 12:00:00`; `(no time)` if there is no time."""
    moment = _local(ms)
    return NO_TIME if moment is None else moment.strftime("%Y-%m-%d %H:%M:%S")


def local_day_time(ms: int | None) -> str:
    """Return a time in the reader's time zone without the year, as `07-30 12:00:00`."""
    moment = _local(ms)
    return NO_TIME if moment is None else moment.strftime("%m-%d %H:%M:%S")


def local_time(ms: int | None) -> str:
    """Return the time of day in the reader's time zone to the millisecond, as `12:00:00.000`."""
    moment = _local(ms)
    return NO_TIME if moment is None else moment.strftime("%H:%M:%S.%f")[:-3]


def duration(ms: int) -> str:
    """Return a duration in the largest unit that divides it: `7 days`, `90 seconds`, `1 ms`.

    Negative and unlimited durations are `forever`.
    """
    if ms < 0 or ms >= UNBOUNDED_MS:
        return "forever"
    for unit, size in (("day", 86_400_000), ("hour", 3_600_000), ("minute", 60_000), ("second", 1000)):
        if ms % size == 0 and ms >= size:
            return f"{ms // size} {unit}{'' if ms == size else 's'}"
    return f"{ms} ms"


def latency(ms: float | None) -> str:
    """Return a latency with at least two digits: `1.2 ms`, `1,234 ms`; a dash for None."""
    if ms is None:
        return "–"
    return f"{ms:,.0f} ms" if ms >= 10 else f"{ms:.1f} ms"


def _local(ms: int | None) -> datetime | None:
    """Return a time in the reader's time zone; None for no time (-1 in Kafka) or one outside the calendar."""
    if ms is None or ms < 0:
        return None
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).astimezone()
    except (ValueError, OverflowError, OSError):
        return None
