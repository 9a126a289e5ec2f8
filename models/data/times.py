"""Read values of text formats as times, where a column is stated to hold them."""

from __future__ import annotations

from typing import Final

from forebay.models.artefacts.date_parts import NotATime, TimeFormat

_FORMAT: Final = TimeFormat()


def time_of(value: object) -> int | None:
    """Return microseconds since 1970 of an ISO 8601 text or a number of milliseconds; None if the value is not a time."""
    try:
        return _FORMAT[value.strip() if isinstance(value, str) else value]
    except (NotATime, TypeError):
        return None
