"""Conversion of a file's values to the types of a schema's fields. Errors name the field, the value and what is allowed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from typing import Final

import orjson

from forebay.models.data.values import Instant, LocalTime, Unreadable
from forebay.stream.publish.event_times import TimeRule, TimeUnit
from forebay.stream.publish.row_fault import RowFault
from forebay.stream.publish.values import identifier

_PER_MS: Final[Mapping[TimeUnit, int]] = {"ms": 1, "us": 1_000, "ns": 1_000_000}
_REMEDY: Final = "fix the value, or the schema; --type and --text-column say how a CSV column is read"
_SHOWN_CHARS: Final = 60


def fault(path: str, value: object, wanted: str) -> RowFault:
    """Return the error of a value that is not what a field must have."""
    shown = value.reason if isinstance(value, Unreadable) else repr(value)
    shown = shown if len(shown) <= _SHOWN_CHARS else shown[:_SHOWN_CHARS] + "…"
    return RowFault(f"field {path} is {shown}; it must be {wanted}", _REMEDY)


def missing(path: str, wanted: str, columns: Collection[str]) -> RowFault:
    """Return the error of a field that has no value."""
    near = get_close_matches(path, columns, n=1)
    remedy = f"is it the column {near[0]!r}?" if near else f"the columns are {', '.join(list(columns)[:20])}"
    return RowFault(
        f"field {path} has no value; it must be {wanted}, and the schema has no default for it",
        f"add a column with this name; {remedy}",
    )


def integer(path: str, value: object, low: int, high: int) -> int:
    """Convert to a whole number in a range. Raises RowFault."""
    wanted = f"a whole number from {low} to {high}"
    number: int | None = None
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif isinstance(value, float):
        number = int(value) if value.is_integer() else None
    elif isinstance(value, Decimal):
        number = int(value) if value.is_finite() and value == value.to_integral_value() else None
    elif isinstance(value, str):
        try:
            number = int(value.strip())
        except ValueError:
            number = None
    if number is None or not low <= number <= high:
        raise fault(path, value, wanted)
    return number


def number(path: str, value: object) -> float:
    """Convert to a floating-point number. Raises RowFault."""
    if isinstance(value, int | float | Decimal | str) and not isinstance(value, bool):
        try:
            return float(value)
        except (ValueError, OverflowError):
            pass
    raise fault(path, value, "a number")


def boolean(path: str, value: object) -> bool:
    """Convert to true or false. Raises RowFault."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    raise fault(path, value, "true or false")


def text(path: str, value: object) -> str:
    """Convert to text without changing it; floating-point numbers are refused. Raises RowFault."""
    found = identifier(f"field {path}", value)
    if isinstance(found, bytes):
        try:
            return found.decode()
        except UnicodeDecodeError:
            raise fault(path, value, "text in UTF-8") from None
    if found is None:
        raise fault(path, value, "text")
    return found


def binary(path: str, value: object, size: int | None = None) -> bytes:
    """Convert to bytes; text becomes its UTF-8. Raises RowFault."""
    content = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
    if not isinstance(content, bytes) or (size is not None and len(content) != size):
        raise fault(path, value, "bytes" if size is None else f"{size} bytes")
    return content


def decimal(path: str, value: object, precision: int, scale: int) -> Decimal:
    """Convert to a decimal that has at most these digits. Raises RowFault."""
    wanted = f"a decimal with at most {precision} digits, {scale} of them after the point"
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        raise fault(path, value, wanted)
    try:
        found = Decimal(str(value).strip())
    except InvalidOperation:
        raise fault(path, value, wanted) from None
    _, digits, exponent = found.as_tuple()
    if not isinstance(exponent, int) or -exponent > scale or len(digits) + exponent > precision - scale:
        raise fault(path, value, wanted)
    return found


def symbol(path: str, value: object, symbols: Collection[str]) -> str:
    """Return text that is one of the symbols of an enum. Raises RowFault."""
    found = text(path, value)
    if found not in symbols:
        near = get_close_matches(found, symbols, n=1)
        hint = f" (is it {near[0]}?)" if near else ""
        raise fault(path, value, f"one of {', '.join(list(symbols)[:20])}{hint}")
    return found


def time(path: str, value: object, unit: TimeUnit, times: TimeRule) -> int:
    """Convert to a time since the Unix epoch in a unit. Numbers are in the unit of `times`. Raises RowFault."""
    ms = times.milliseconds(f"field {path}", value)
    return ms // 1000 if unit == "s" else ms * _PER_MS[unit]


def day(path: str, value: object) -> int:
    """Convert to days since the Unix epoch; a whole number is one already. Raises RowFault."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, LocalTime):
        return value.ms // 86_400_000
    if isinstance(value, str | Instant):
        # A date has no zone, so any zone gives the same day.
        return TimeRule(UTC).milliseconds(f"field {path}", value) // 86_400_000
    raise fault(path, value, "a date such as 2026-11-28")


def structure(path: str, value: object, wanted: type[list[object]] | type[dict[str, object]]) -> object:
    """Return a list or an object; text, as a CSV file has it, is parsed as JSON. Raises RowFault."""
    name = "a list" if wanted is list else "an object"
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except ValueError:
            raise fault(path, value, f"{name}, as JSON") from None
    if wanted is list and isinstance(value, list | tuple):
        return list(value)
    if wanted is dict and isinstance(value, Mapping):
        return dict(value)
    raise fault(path, value, name)
