"""Values of files that Python or JSON cannot express exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Instant(NamedTuple):
    """A moment in time, in milliseconds since the Unix epoch."""

    ms: int


class LocalTime(NamedTuple):
    """A date and time without an offset, as milliseconds since 1970-01-01T00:00 of an unknown time zone."""

    ms: int


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A placeholder for a value that cannot be read. reason: completes "column x is ..."."""

    reason: str
