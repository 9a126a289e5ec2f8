"""What the fields of a sample of events hold: types, missing values, distinct values, times. Pure."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from statistics import median
from typing import Final, Literal

from forebay.stream.decode.features import InvalidFeatures
from forebay.stream.decode.formats.payload import MAX_DEPTH, Path
from forebay.stream.decode.mapping.times import milliseconds_of

NumberUnit = Literal["s", "ms", "us", "ns"]

MAX_FIELDS: Final = 1_000
MAX_DISTINCT: Final = 20_000
MAX_KEPT_CHARS: Final = 128
_MAX_TIMES: Final = 500
_MAX_ARRAY: Final = 4_096
_UNITS: Final[tuple[tuple[float, float, NumberUnit], ...]] = (
    (3e8, 1e10, "s"),
    (3e11, 1e13, "ms"),
    (3e14, 1e16, "us"),
    (3e17, 1e19, "ns"),
)
"""Numbers that may be times between 1979 and 2286, by unit."""

Value = float | int | bool | str


@dataclass(slots=True)
class FieldProfile:
    """What one field holds in N events.

    present: events that have a value other than null.
    kinds: the number of values of each kind: integer, number, boolean, text, time, array, object, bytes.
    distinct: the number of occurrences of each value, long texts cut at 128 characters; at most 20,000 values.
    largest: the largest absolute value of a finite number.
    non_finite: the number of NaN and infinite values.
    longest: the length of the longest text.
    lengths: of arrays of numbers; `bad_arrays` counts other arrays.
    times: pairs of a value that may be a time and the timestamp of its record in ms.
    unzoned: texts that are times without an offset.
    """

    path: Path
    present: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    distinct: Counter[Value] = field(default_factory=Counter)
    largest: float = 0.0
    non_finite: int = 0
    longest: int = 0
    lengths: set[int] = field(default_factory=set)
    bad_arrays: int = 0
    times: list[tuple[object, int]] = field(default_factory=list)
    unzoned: int = 0

    @property
    def name(self) -> str:
        """The last name of the path."""
        return self.path[-1]

    @property
    def is_scalar(self) -> bool:
        """Whether all values are numbers, truth values, texts or times."""
        return bool(self.kinds) and not self.kinds.keys() & {"array", "object", "bytes", "other"}

    @property
    def is_numeric(self) -> bool:
        """Whether all values are numbers or truth values."""
        return bool(self.kinds) and self.kinds.keys() <= {"integer", "number", "boolean"}

    @property
    def is_text(self) -> bool:
        """Whether all values are texts."""
        return self.kinds.keys() == {"text"}

    @property
    def is_integer(self) -> bool:
        """Whether all values are whole numbers."""
        return self.kinds.keys() == {"integer"}

    @property
    def type(self) -> str:
        """The kinds of values in words, the most frequent first."""
        if self.kinds.keys() == {"array"} and len(self.lengths) == 1 and not self.bad_arrays:
            return f"array of {next(iter(self.lengths))} numbers"
        if self.kinds.keys() == {"integer", "number"}:
            return "number"
        return " or ".join(kind for kind, _ in self.kinds.most_common()) or "null"

    @property
    def is_unique(self) -> bool:
        """Whether no value occurs twice. Beyond 20,000 values, whether none of these does."""
        return bool(self.distinct) and all(count == 1 for count in self.distinct.values())

    def time_unit(self) -> NumberUnit | None:
        """Return the unit if the values may be times: `ms` for texts and times, what fits the size for numbers. None if not."""
        if not self.times or len(self.times) < min(self.present, _MAX_TIMES):
            return None
        numbers = [value for value, _ in self.times if isinstance(value, int | float)]
        if not numbers:
            return "ms"
        if len(numbers) < len(self.times):
            return None
        found = {next((unit for low, high, unit in _UNITS if low <= value < high), None) for value in numbers}
        return found.pop() if len(found) == 1 else None

    def distance_from_records_s(self) -> float:
        """Return the median of |time − record's timestamp| in seconds; infinite if the values are not times."""
        unit = self.time_unit()
        if unit is None:
            return math.inf
        distances = []
        for value, record_ms in self.times:
            try:
                distances.append(abs(milliseconds_of(value, self.name, unit) - record_ms) / 1000)
            except InvalidFeatures:
                return math.inf
        return median(distances)

    def add(self, value: object, record_ms: int) -> None:
        """Count a value that is not null."""
        self.present += 1
        kind = _kind(value)
        self.kinds[kind] += 1
        if kind in ("integer", "number"):
            self._add_number(value, record_ms)
        elif isinstance(value, str):
            self.longest = max(self.longest, len(value))
            self._add_text(value, record_ms)
        elif isinstance(value, bool):
            self._count(value)
        elif isinstance(value, datetime):
            self._keep_time(value, record_ms)
        elif isinstance(value, list):
            if len(value) <= _MAX_ARRAY and all(_kind(item) in ("integer", "number") for item in value):
                self.lengths.add(len(value))
            else:
                self.bad_arrays += 1

    def _add_number(self, value: object, record_ms: int) -> None:
        number = float(value) if isinstance(value, Decimal) else value
        assert isinstance(number, int | float)
        if not abs(number) <= sys.float_info.max:  # also NaN, and integers beyond all floats
            self.non_finite += 1
            return
        self.largest = max(self.largest, float(abs(number)))
        self._count(number)
        self._keep_time(number, record_ms)

    def _add_text(self, value: str, record_ms: int) -> None:
        # Long texts differ although they begin alike.
        self._count(value if len(value) <= MAX_KEPT_CHARS else f"{value[:MAX_KEPT_CHARS]}…{hash(value):x}")
        if not (len(value) <= 40 and value[:4].isdigit() and "-" in value[4:5]):
            return
        try:
            milliseconds_of(value, self.name, "ms")
        except InvalidFeatures:
            self.unzoned += _is_unzoned(value)
        else:
            self._keep_time(value, record_ms)

    def _keep_time(self, value: object, record_ms: int) -> None:
        if len(self.times) < _MAX_TIMES:
            self.times.append((value, record_ms))

    def _count(self, value: Value) -> None:
        if value in self.distinct or len(self.distinct) < MAX_DISTINCT:
            self.distinct[value] += 1


@dataclass(frozen=True, slots=True)
class SampleProfile:
    """What N events hold. fields: by path, in the order in which they occur. left_out: fields beyond the first 1,000."""

    count: int
    fields: Mapping[Path, FieldProfile]
    left_out: int = 0

    def missing(self, profile: FieldProfile) -> int:
        """Return the number of events without a value of a field."""
        return self.count - profile.present

    def below(self, base: Path) -> list[FieldProfile]:
        """Return the fields within an object, at any depth."""
        return [profile for path, profile in self.fields.items() if path[: len(base)] == base and path != base]


def profile_documents(documents: Sequence[tuple[Mapping[str, object], int]]) -> SampleProfile:
    """Return what documents hold. documents: with the timestamp of their record in ms."""
    fields: dict[Path, FieldProfile] = {}
    dropped: set[Path] = set()
    for document, record_ms in documents:
        for path, value in _leaves(document, ()):
            profile = fields.get(path)
            if profile is None:
                if len(fields) >= MAX_FIELDS:
                    if len(dropped) < MAX_FIELDS:
                        dropped.add(path)
                    continue
                profile = fields[path] = FieldProfile(path)
            if value is not None:
                profile.add(value, record_ms)
    return SampleProfile(len(documents), fields, len(dropped))


def _leaves(document: Mapping[str, object], above: Path) -> Iterator[tuple[Path, object]]:
    for name, value in document.items():
        path = (*above, str(name))
        if isinstance(value, Mapping) and value and len(path) < MAX_DEPTH // 2:
            yield from _leaves(value, path)
        else:
            yield path, value


def _kind(value: object) -> str:
    match value:
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float() | Decimal():
            return "number"
        case str():
            return "text"
        case datetime():
            return "time"
        case list() | tuple():
            return "array"
        case Mapping():
            return "object"
        case bytes():
            return "bytes"
        case date():
            return "date"
    return "other"


def _is_unzoned(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is None
    except ValueError:
        return False
