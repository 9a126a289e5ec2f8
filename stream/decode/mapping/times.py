"""Event times: from values of documents, one by one, and from columns.

Shapes: B events.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from forebay.schemas.definitions import MAX_TIMESTAMP_MS
from forebay.schemas.failures import FailureKind
from forebay.stream.core.time_units import guess_unit, whole_milliseconds
from forebay.stream.decode.features import InvalidFeatures, describe
from forebay.stream.decode.formats.payload import Column

_RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_PER_MS: Final = {"us": 1_000, "ns": 1_000_000}
_MAX_DIGITS: Final = 20
_EXACT_FLOAT: Final = 2.0**53


def milliseconds_of(value: object, name: str, unit: str) -> int:
    """Return a time in ms since the Unix epoch. Raises InvalidFeatures.

    value: a time, RFC 3339 text, or a number (or its digits) in the unit.
    """
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise _wrong_type(value, name)
        return _in_range(whole_milliseconds(value - _EPOCH), name)
    if isinstance(value, str):
        if not (value.isascii() and value.isdigit() and len(value) <= _MAX_DIGITS):
            return _of_text(value, name)
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong_type(value, name)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidFeatures(FailureKind.NOT_FINITE, f"{name} is not finite")
        milliseconds = value * 1000 if unit == "s" else value / _PER_MS.get(unit, 1)
        if not abs(milliseconds) < _EXACT_FLOAT:  # also infinity, which has no integer
            raise InvalidFeatures(FailureKind.OUT_OF_RANGE, f"{name} {value} is not between 1970 and 9999")
        value = round(milliseconds)
    elif unit == "s":
        value *= 1000
    elif unit != "ms":
        value = _rounded(value, _PER_MS[unit])
    return _in_range(value, name)


def milliseconds_of_column(column: Column, unit: str) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the times of a column, int64 [B], and which of them the exact path has to decide, bool [B]."""
    values = column.values
    unit = column.unit or unit
    unsure_B = np.zeros(len(values), dtype=np.bool_) if column.missing_B is None else column.missing_B.copy()
    if values.dtype == np.int64 and values.ndim == 1:
        if unit == "s":
            unsure_B |= (values < 0) | (values > MAX_TIMESTAMP_MS)
            ms_B = np.where(unsure_B, 0, values) * 1000
        elif unit == "ms":
            ms_B = values
        else:
            per_ms = _PER_MS[unit]
            if unit == "ns" and column.unit is not None:
                unsure_B |= values % 1000 != 0  # a document has whole microseconds
            quotient_B, rest_B = np.divmod(values, per_ms)
            half = per_ms // 2
            ms_B = quotient_B + ((rest_B > half) | ((rest_B == half) & (quotient_B % 2 == 1)))
    elif values.dtype == np.float64 and values.ndim == 1 and column.unit is None and unit != "ns":
        unsure_B |= ~(np.abs(values) < _EXACT_FLOAT)
        safe_B = np.where(unsure_B, 0.0, values)
        ms_B = np.rint(safe_B * 1000.0 if unit == "s" else safe_B / _PER_MS.get(unit, 1)).astype(np.int64)
    else:
        return _of_objects(values, unit, unsure_B)
    unsure_B |= (ms_B < 0) | (ms_B > MAX_TIMESTAMP_MS)
    return ms_B, unsure_B


def _of_objects(
    values: NDArray[Any], unit: str, unsure_B: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    ms_B = np.zeros(len(values), dtype=np.int64)
    for index, value in enumerate(values.tolist()):
        if not unsure_B[index]:
            try:
                ms_B[index] = milliseconds_of(value, "", unit)
            except InvalidFeatures:
                unsure_B[index] = True
    return ms_B, unsure_B


def _rounded(value: int, divisor: int) -> int:
    """Return the quotient, rounded to the nearest, halves to even."""
    quotient, rest = divmod(value, divisor)
    return quotient + (2 * rest > divisor or (2 * rest == divisor and quotient % 2 == 1))


def _of_text(text: str, name: str) -> int:
    if not _RFC3339.fullmatch(text):
        raise InvalidFeatures(
            FailureKind.WRONG_TYPE, f"{name} {text[:40]!r} is neither an RFC 3339 time with an offset nor a number"
        )
    try:
        moment = datetime.fromisoformat(text.upper())
        milliseconds = whole_milliseconds(moment - _EPOCH)
    except (ValueError, OverflowError):
        raise InvalidFeatures(FailureKind.OUT_OF_RANGE, f"{name} {text[:40]!r} is not a date") from None
    return _in_range(milliseconds, name)


def _in_range(milliseconds: int, name: str) -> int:
    if not 0 <= milliseconds <= MAX_TIMESTAMP_MS:
        hint = guess_unit(milliseconds)
        raise InvalidFeatures(
            FailureKind.OUT_OF_RANGE, f"{name} {milliseconds} is not between 1970 and 9999 in milliseconds{hint}"
        )
    return milliseconds


def _wrong_type(value: object, name: str) -> InvalidFeatures:
    found = "a date without a time" if isinstance(value, date) and not isinstance(value, datetime) else describe(value)
    return InvalidFeatures(FailureKind.WRONG_TYPE, f"{name} is {found}; a time is expected")
