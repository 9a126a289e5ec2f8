"""Parse times and take their parts: the same code for a training table as for the events of a worker.

A time is an int64: microseconds since 1970 in UTC, which float32 could not hold. Its parts are float32 columns.

Shapes: B times of one column, P parts of each.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from forebay.models.artefacts.arrays import FloatArray

MISSING: Final = -(2**63)
"""The time of a missing value; numpy's NaT."""

UNITS: Final = ("milliseconds", "seconds")
CLOCKS: Final = ("utc", "text")

_MICROSECONDS: Final = {"milliseconds": 1_000, "seconds": 1_000_000}
_DAY: Final = 86_400_000_000
_ISO: Final = re.compile(
    r"\d{4}-\d\d-\d\d([T ]([01]\d|2[0-3]):\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d)?)?", re.ASCII | re.IGNORECASE
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LOCAL_EPOCH: Final = datetime(1970, 1, 1)  # of clocks as texts show them
MIN_TIME: Final = -62_135_596_800_000_000
"""The first microsecond of the year 1."""

MAX_TIME: Final = 253_402_300_799_999_999
"""The last microsecond of the year 9999."""

Ints = npt.NDArray[np.int64]


class NotATime(ValueError):
    """A text or a number is not a time. is_range: whether its form is right and its numbers are out of range."""

    def __init__(self, message: str, *, is_range: bool) -> None:
        super().__init__(message)
        self.message = message
        self.is_range = is_range


@dataclass(frozen=True, slots=True)
class TimeFormat:
    """How values are read as times.

    unit: of numbers since 1970, `milliseconds` or `seconds`.
    clock: the clock whose parts are taken: `utc`, or `text` for that which a text shows, whatever its offset.
    nullable: whether a value that is missing or no time is missing, rather than an error.
    """

    unit: str = "milliseconds"
    clock: str = "utc"
    nullable: bool = False

    def __getitem__(self, value: object) -> int:
        """Return the time of a text or a number. Raises NotATime, and TypeError for a value of another type.

        Texts are ISO 8601: a date, or date and time of day with an offset or `Z`; without one they are in UTC.
        """
        try:
            if isinstance(value, str):
                return self._of_text(value)
            if isinstance(value, int | float) and not isinstance(value, bool):
                return self._of_number(value)
        except NotATime:
            if self.nullable:
                return MISSING
            raise
        if value is None and self.nullable:
            return MISSING
        raise TypeError

    def _of_text(self, text: str) -> int:
        if not _ISO.fullmatch(text):
            raise NotATime("is not an ISO 8601 date or time", is_range=False)
        try:
            moment = datetime.fromisoformat(text.upper())
        except ValueError:
            raise NotATime("is not a date", is_range=True) from None
        as_shown = moment.tzinfo is None or self.clock == "text"
        since = moment.replace(tzinfo=None) - _LOCAL_EPOCH if as_shown else moment - _EPOCH
        return _in_range((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds)

    def _of_number(self, number: float) -> int:
        scale = _MICROSECONDS[self.unit]
        if isinstance(number, float) and not math.isfinite(number):
            raise NotATime("is not finite", is_range=True)
        # Whole numbers are exact, however the parser delivers them.
        return _in_range(int(number) * scale if number == int(number) else round(number * scale))


def _in_range(time: int) -> int:
    if not MIN_TIME <= time <= MAX_TIME:
        raise NotATime("is not between the years 1 and 9999", is_range=True)
    return time


class _Calendar:
    """Times taken apart: whole numbers, int64 [B], that the parts share."""

    def __init__(self, time_B: Ints) -> None:
        self.time_B = time_B
        self.day_B: Ints = time_B // _DAY  # since 1970
        self.second_B: Ints = (time_B - self.day_B * _DAY) // 1_000_000  # of the day
        date_B = self.day_B.astype("datetime64[D]")
        self.year_B: Ints = date_B.astype("datetime64[Y]").astype(np.int64)
        self.month_B: Ints = date_B.astype("datetime64[M]").astype(np.int64)
        self._date_B = date_B

    def day_of_month(self) -> Ints:
        start_B: Ints = self.month_B.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
        return self.day_B - start_B + 1

    def day_of_year(self) -> Ints:
        return self.day_B - _first_days(self.year_B) + 1

    def weekday(self) -> Ints:
        return (self.day_B + 3) % 7  # 1970 began on a Thursday

    def week(self) -> Ints:
        # A week belongs to the year of its Thursday (ISO 8601).
        thursday_B = self.day_B - self.weekday() + 3
        year_B: Ints = thursday_B.astype("datetime64[D]").astype("datetime64[Y]").astype(np.int64)
        return (thursday_B - _first_days(year_B)) // 7 + 1


def _first_days(year_B: Ints) -> Ints:
    days_B: Ints = year_B.astype("datetime64[Y]").astype("datetime64[D]").astype(np.int64)
    return days_B


_WHOLE: Final[Mapping[str, tuple[int, int, Callable[[_Calendar], Ints]]]] = MappingProxyType(
    {
        "year": (1, 9999, lambda calendar: calendar.year_B + 1970),
        "quarter": (1, 4, lambda calendar: calendar.month_B % 12 // 3 + 1),
        "month": (1, 12, lambda calendar: calendar.month_B % 12 + 1),
        "week": (1, 53, _Calendar.week),
        "day": (1, 31, _Calendar.day_of_month),
        "day_of_year": (1, 366, _Calendar.day_of_year),
        "weekday": (0, 6, _Calendar.weekday),
        "is_weekend": (0, 1, lambda calendar: (calendar.weekday() >= 5).astype(np.int64)),
        "hour": (0, 23, lambda calendar: calendar.second_B // 3600),
        "minute": (0, 59, lambda calendar: calendar.second_B // 60 % 60),
        "second": (0, 59, lambda calendar: calendar.second_B % 60),
    }
)
"""Parts that are whole numbers: the least, the greatest, and the function."""

_CYCLES: Final = ("quarter", "month", "week", "day_of_year", "weekday", "hour", "minute")
_SINCE: Final = MappingProxyType({"seconds_since": 1e6, "days_since": float(_DAY)})

PARTS: Final = (
    *_WHOLE,
    *(f"{name}_{function}" for name in _CYCLES for function in ("sin", "cos")),
    *_SINCE,
)
"""The parts of a time."""

NEEDS_REFERENCE: Final = frozenset(_SINCE)
"""The parts that are counted from a reference."""


def value_range(part: str) -> tuple[int, int] | None:
    """Return the least and the greatest value of a part that is a whole number; None for other parts."""
    return _WHOLE[part][:2] if part in _WHOLE else None


def parts_of(time_B: Ints, parts: Sequence[str], reference: int = 0) -> FloatArray:
    """Return the parts of times, float32 [B, P]; all are NaN for a missing time. reference: a time."""
    is_missing_B = time_B == MISSING
    calendar = _Calendar(np.where(is_missing_B, 0, time_B))
    whole: dict[str, Ints] = {}
    part_BP = np.empty((len(time_B), len(parts)), dtype=np.float32)
    for column, part in enumerate(parts):
        part_BP[:, column] = _part(part, calendar, whole, reference)
    part_BP[is_missing_B] = np.nan
    return part_BP


def _part(part: str, calendar: _Calendar, whole: dict[str, Ints], reference: int) -> npt.NDArray[Any]:
    if part in _SINCE:
        # The difference is exact; then float64, and float32 at last.
        return (calendar.time_B - reference) / _SINCE[part]
    name, _, function = part.rpartition("_") if part.endswith(("_sin", "_cos")) else (part, "", "")
    low, high, take = _WHOLE[name]
    if name not in whole:
        whole[name] = take(calendar)
    if not function:
        return whole[name]
    angle_B = (whole[name] - low) * (2 * math.pi / (high - low + 1))
    cyclic_B: npt.NDArray[Any] = np.sin(angle_B) if function == "sin" else np.cos(angle_B)
    return cyclic_B


def times_of(values: Sequence[object] | npt.NDArray[Any], time_format: TimeFormat) -> Ints:
    """Return the times of a column, int64 [B], as a worker reads them from JSON.

    values: texts, numbers, None, datetimes, or numpy's datetime64. Aware datetimes count in UTC, or as their own clock shows.
    Raises NotATime and TypeError like `TimeFormat`, with the row in the message.
    """
    if isinstance(values, np.ndarray) and values.dtype.kind == "M":
        time_B: Ints = values.astype("datetime64[us]").astype(np.int64)
        if not time_format.nullable and (time_B == MISSING).any():
            raise NotATime(f"row {int((time_B == MISSING).argmax())} has no value", is_range=False)
        return time_B
    items = values.tolist() if isinstance(values, np.ndarray) else values
    times = np.empty(len(items), dtype=np.int64)
    for row, value in enumerate(items):
        plain = _plain(value)
        try:
            times[row] = time_format[plain]
        except NotATime as fault:
            raise NotATime(f"row {row} {fault.message}", is_range=fault.is_range) from None
        except TypeError:
            problem = "has no value" if plain is None else f"is a {type(value).__name__}, not a time"
            raise NotATime(f"row {row} {problem}", is_range=False) from None
    return times


def _plain(value: object) -> object:
    """Return the value as JSON would hold it."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and math.isnan(value) else value


def reference_time(text: str) -> int:
    """Return the time of a reference, an ISO 8601 text. Raises NotATime."""
    return TimeFormat()[text]


def text_of(time: int) -> str:
    """Return a time as an ISO 8601 text in UTC."""
    return (_EPOCH + timedelta(microseconds=time)).isoformat()
