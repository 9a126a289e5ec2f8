"""Parsing of event times: numbers in a unit, RFC 3339 text, and times without an offset, which need a time zone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from forebay.models.data.values import Instant, LocalTime
from forebay.schemas.definitions import MAX_TIMESTAMP_MS
from forebay.schemas.errors import ConfigError
from forebay.stream.core.time_units import whole_milliseconds
from forebay.stream.publish.row_fault import RowFault

TimeUnit = Literal["s", "ms", "us", "ns"]
UNITS: Final[dict[TimeUnit, str]] = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
SECONDS_RANGE: Final = range(100_000_000, 10_000_000_000)
"""Numbers that are 1973 to 2286 in seconds, but the first months of 1970 in milliseconds."""

_PER_MS: Final[dict[TimeUnit, int]] = {"ms": 1, "us": 1_000, "ns": 1_000_000}
_EPOCH: Final = datetime(1970, 1, 1)
_WHOLE: Final = re.compile(r"[+-]?\d{1,30}(\.0*)?", re.ASCII)
_TIME: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d(?::\d\d(?:\.\d+)?)?)( ?(?:[Zz]|UTC)|[+-]\d\d:?\d\d)?)?", re.ASCII
)
_RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_OFFSET: Final = re.compile(r"([+-])(\d\d):?(\d\d)", re.ASCII)
_ZONE_REMEDY: Final = "set its time zone, for example --timezone UTC or --timezone Europe/Berlin"
_TIME_REMEDY: Final = "fix it, or remove it to use the time of publishing; --timestamp-column names another column"


def parse_zone(name: str) -> tzinfo:
    """Return the time zone for a name such as Europe/Berlin or an offset such as +02:00. Raises ConfigError."""
    if name.upper() in ("UTC", "Z"):
        return UTC
    if (offset := _OFFSET.fullmatch(name)) is not None and int(offset[2]) < 24 and int(offset[3]) < 60:
        delta = timedelta(hours=int(offset[2]), minutes=int(offset[3]))
        return timezone(-delta if offset[1] == "-" else delta)
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(
            f"--timezone {name!r}: this machine knows no such time zone",
            kind="timezone",
            remedy="write UTC, an offset such as +02:00, or a name such as Europe/Berlin (needs the system's time zone data)",
        ) from None


@dataclass(frozen=True, slots=True)
class TimeRule:
    """How times are parsed.

    zone: time zone of times without an offset; None to refuse them. unit: unit of numbers.
    """

    zone: tzinfo | None = None
    unit: TimeUnit = "ms"

    def event_time(self, name: str, value: object) -> int | str:
        """Return the time for an event: milliseconds, or the text itself if it is RFC 3339. Raises RowFault."""
        if isinstance(value, str):
            text = value.strip()
            if _WHOLE.fullmatch(text):
                return self._in_range(name, int(text.partition(".")[0]), self.unit)
            if (ms := self._parse(name, text)) is not None:
                self._in_range(name, ms, "ms")
                return text if _RFC3339.fullmatch(text) else ms
        elif isinstance(value, Instant):
            return self._in_range(name, value.ms, "ms")
        elif isinstance(value, LocalTime):
            return self._in_range(name, self.localise(name, value), "ms")
        elif isinstance(value, int) and not isinstance(value, bool):
            return self._in_range(name, value, self.unit)
        elif isinstance(value, float | Decimal) and -1e25 < value < 1e25 and value == int(value):
            return self._in_range(name, int(value), self.unit)
        raise RowFault(
            f"{name} is {_shown(value)}; it must be whole {UNITS[self.unit]} since 1970 or an RFC 3339 time",
            _TIME_REMEDY,
        )

    def milliseconds(self, name: str, value: object) -> int:
        """Return the time in milliseconds since the Unix epoch. Raises RowFault."""
        time = self.event_time(name, value)
        if isinstance(time, int):
            return time
        ms = self._parse(name, time)
        assert ms is not None
        return ms

    def localise(self, name: str, value: LocalTime) -> int:
        """Convert a time without an offset to milliseconds since the epoch. Raises RowFault if its zone is not known."""
        if self.zone is UTC:
            return value.ms
        try:
            moment = _EPOCH + timedelta(milliseconds=value.ms)
        except OverflowError:
            raise RowFault(f"{name} is not between the years 1 and 9999", _TIME_REMEDY) from None
        if self.zone is None:
            raise RowFault(f"{name} is {moment}, a time without an offset", _ZONE_REMEDY)
        offset = moment.replace(tzinfo=self.zone).utcoffset()
        if offset is None or offset != moment.replace(tzinfo=self.zone, fold=1).utcoffset():
            raise RowFault(
                f"{name} is {moment}, when the clocks change in {self.zone}: this time does not exist, or exists twice",
                "write times with their offset, or in UTC",
            )
        return value.ms - offset // timedelta(milliseconds=1)

    def _parse(self, name: str, text: str) -> int | None:
        """Return the milliseconds of a date, or of a time with or without an offset; None for other text."""
        match = _TIME.fullmatch(text)
        if match is None:
            return None
        day, time, offset = match.groups()
        offset = "+00:00" if offset and offset[0] not in "+-" else offset or ""
        try:
            moment = datetime.fromisoformat(f"{day}T{time or '00:00'}{offset}")
        except ValueError:
            raise RowFault(f"{name} is {_shown(text)}, which is not a valid date and time", _TIME_REMEDY) from None
        if moment.tzinfo is not None:
            return whole_milliseconds(moment - _EPOCH.replace(tzinfo=UTC))
        return self.localise(name, LocalTime(whole_milliseconds(moment - _EPOCH)))

    def _in_range(self, name: str, value: int, unit: TimeUnit) -> int:
        ms = value * 1000 if unit == "s" else _rounded(value, _PER_MS[unit])
        if 0 <= ms <= MAX_TIMESTAMP_MS:
            return ms
        finer: TimeUnit = "us" if value < MAX_TIMESTAMP_MS * 1000 else "ns"
        if unit == "ms" and value > 0:
            raise RowFault(
                f"{name} {value} is after the year 9999 if it is in milliseconds; it seems to be in {UNITS[finer]}",
                f"--timestamp-unit {finer} reads it as {UNITS[finer]}",
            )
        raise RowFault(f"{name} {value} is not between 1970 and 9999 in {UNITS[unit]}", _TIME_REMEDY)


def _rounded(value: int, divisor: int) -> int:
    return value if divisor == 1 else (value + divisor // 2) // divisor


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "…"
