"""Moments and durations on the command line. Pure."""

from __future__ import annotations

import re
from typing import Final

from pydantic import TypeAdapter, ValidationError

from forebay.schemas.errors import ConfigError
from forebay.stream.config.values import Moment

_DURATION: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h|d)", re.ASCII)
_UNIT_MS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_MOMENT: Final = TypeAdapter(Moment)


def parse_moment(option: str, text: str, *, now_ms: int) -> int:
    """Parse a time: RFC 3339, milliseconds since 1970, or a duration before now (15m, 2h). Raises ConfigError.

    Returns milliseconds since the Unix epoch.
    """
    if ago := _DURATION.fullmatch(text.strip()):
        return max(0, now_ms - round(float(ago[1]) * _UNIT_MS[ago[2]]))
    try:
        return _MOMENT.validate_python(int(text) if text.strip().isdecimal() else text.strip())
    except (ValidationError, ValueError):
        raise ConfigError(
            f"{option} {text!r} is not a time",
            kind="moment",
            remedy="write a duration before now (90s, 15m, 2h, 3d), a date and time with its offset "
            "(2026-01-31T12:00:00Z), or milliseconds since 1970",
        ) from None


def parse_duration(option: str, text: str) -> int:
    """Parse a duration such as 90s, 15m or 2h into milliseconds. Raises ConfigError."""
    if match := _DURATION.fullmatch(text.strip()):
        return round(float(match[1]) * _UNIT_MS[match[2]])
    raise ConfigError(
        f"{option} {text!r} is not a duration",
        kind="duration",
        remedy="write a number and a unit: 500ms, 90s, 15m, 2h, 1d",
    )
