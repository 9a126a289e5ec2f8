"""Conversion of a file's values for events: JSON for features, exact text for ids and keys."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Final
from uuid import UUID

from forebay.models.data.values import Instant, LocalTime, Unreadable
from forebay.stream.publish.event_times import TimeRule
from forebay.stream.publish.row_fault import RowFault

_PLAIN: Final = frozenset({type(None), bool, int, str})
_NUMBERS: Final = frozenset({bool, int, float})
_COLUMN_REMEDY: Final = "convert the column, or remove it from the file"


class _ValueFault(Exception):
    """The reason why a value cannot be part of an event. path: its place within the column."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy
        self.path = ""


def scalar_value(name: str, value: object, times: TimeRule) -> object:
    """Convert a column's value to one feature: null, a boolean, a number or text. Raises RowFault."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, list | Mapping):
        raise RowFault(
            f"column {name} is {'a list' if isinstance(value, list) else 'an object'}; "
            "it must be a number, a boolean, text or null",
            "a column of lists with the name `features` is sent as all features; remove any other from the file",
        )
    return json_value(name, value, times)


def json_value(name: str, value: object, times: TimeRule) -> object:
    """Convert a value to JSON, with everything nested in it. Raises RowFault.

    NaN becomes null, and a time becomes milliseconds; infinity is refused.
    """
    if type(value) in _PLAIN:
        return value
    try:
        return _convert(value, times)
    except _ValueFault as fault:
        raise RowFault(f"column {name}{fault.path} is {fault.reason}", fault.remedy) from None


def identifier(name: str, value: object) -> str | bytes | None:
    """Convert an id or key without changing it: text, a whole number or bytes; None if it is missing. Raises RowFault.

    Floating-point numbers are refused: they cannot represent every whole number, and 123 would become 123.0.
    """
    match value:
        case None:
            return None
        case bool():
            return "true" if value else "false"
        case str() | bytes():
            return value
        case int() | UUID():
            return str(value)
        case Decimal() if value.as_tuple().exponent == 0:
            return str(int(value))
        case float() if math.isnan(value):
            return None
        case float() | Decimal():
            kind = "floating-point number" if isinstance(value, float) else "decimal with a fraction"
            description, remedy = f"the {kind} {value}", "store the column as integers or as text"
        case Unreadable():
            description, remedy = value.reason, _COLUMN_REMEDY
        case Instant() | LocalTime():
            description, remedy = "a time", "store the column as text"
        case list() | Mapping():
            description, remedy = "a list" if isinstance(value, list) else "an object", "name another column"
        case _:
            description, remedy = f"a {type(value).__name__}", "name another column"
    raise RowFault(f"{name} is {description}; it must be text or a whole number", remedy)


def _convert(value: object, times: TimeRule) -> object:
    if type(value) in _PLAIN:
        return value
    match value:
        case float():
            if math.isinf(value):
                raise _ValueFault("infinite", "replace it with a number, or leave it empty")
            return None if math.isnan(value) else value
        case list():
            return _convert_list(value, times)
        case Mapping():
            return {key: _convert_at(f".{key}", inner, times) for key, inner in value.items()}
        case Decimal():
            return _convert(float(value), times)
        case Instant():
            return value.ms
        case LocalTime():
            try:
                return times.localise("", value)
            except RowFault as fault:
                raise _ValueFault(fault.reason.removeprefix(" is "), fault.remedy) from None
        case Unreadable():
            raise _ValueFault(value.reason, _COLUMN_REMEDY)
        case UUID():
            return str(value)
        case bytes():
            raise _ValueFault("bytes, which JSON cannot express", _COLUMN_REMEDY)
        case _:
            raise _ValueFault(f"a {type(value).__name__}, which JSON cannot express", _COLUMN_REMEDY)


def _convert_list(values: list[object], times: TimeRule) -> list[object]:
    kinds = set(map(type, values))
    # Most lists hold only numbers; a finite sum proves with one operation that all of them are finite.
    if kinds <= _PLAIN or (kinds <= _NUMBERS and _is_finite_sum(values)):
        return values
    return [_convert_at(f"[{index}]", value, times) for index, value in enumerate(values)]


def _is_finite_sum(values: list[object]) -> bool:
    try:
        return math.isfinite(sum(values))  # type: ignore[arg-type]
    except OverflowError:
        return False


def _convert_at(place: str, value: object, times: TimeRule) -> object:
    try:
        return _convert(value, times)
    except _ValueFault as fault:
        fault.path = place + fault.path
        raise
