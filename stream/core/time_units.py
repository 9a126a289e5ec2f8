"""Time spans in whole milliseconds, and guesses of the unit of a timestamp. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

SECONDS_FROM: Final = 100_000_000
MILLISECONDS_FROM: Final = 100_000_000_000
"""Smaller numbers are dates before March 1973; current times in seconds are far below."""
_UNITS: Final = (
    ("seconds", SECONDS_FROM, 1.0),
    ("milliseconds", MILLISECONDS_FROM, 1e-3),
    ("microseconds", 10**14, 1e-6),
    ("nanoseconds", 10**17, 1e-9),
)
_END: Final = 10**20
_MILLISECOND: Final = timedelta(milliseconds=1)
_HALF_MILLISECOND: Final = timedelta(microseconds=500)


def guess_unit(value: int) -> str:
    """Return a hint such as `: it looks like seconds (2026-01-31)`; "" for milliseconds or if no unit fits.

    The guess is made by magnitude. Each unit is recognised for dates between 1973 and 5138.
    """
    for name, start, seconds in reversed(_UNITS):
        if start <= value < _END:
            if name == "milliseconds":
                return ""
            return f": it looks like {name} ({datetime.fromtimestamp(value * seconds, UTC):%Y-%m-%d})"
    return ""


def whole_milliseconds(span: timedelta) -> int:
    """Return a time span in milliseconds, rounded to the nearest, halves to even. Exact, as seconds in a float are not."""
    milliseconds, rest = divmod(span, _MILLISECOND)
    rounds_up = rest > _HALF_MILLISECOND or (rest == _HALF_MILLISECOND and milliseconds % 2 == 1)
    return milliseconds + rounds_up
