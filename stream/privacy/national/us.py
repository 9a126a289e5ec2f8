"""The social security number of the United States. It has no check digit, but numbers that are never given."""

from __future__ import annotations

from typing import Final

from forebay.stream.privacy.numbers import NumberRule


def is_valid(digits: str) -> bool:
    """Return whether area, group and serial may be given (Social Security Administration, randomisation of 2011)."""
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    is_sample = digits in ("078051120", "219099999")
    return area not in ("000", "666") and area < "900" and group != "00" and serial != "0000" and not is_sample


RULE: Final = NumberRule(
    written=r"\d{3}-\d{2}-\d{4}",
    bare=r"\d{9}",
    words=r"ssn|social[ _-]?security(?:[ _-]?(?:no|number))?",
    is_valid=is_valid,
)
