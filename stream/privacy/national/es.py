"""The identity numbers of Spain: DNI, and NIE of foreigners."""

from __future__ import annotations

from typing import Final

from forebay.stream.privacy.numbers import NumberRule

_LETTERS: Final = "TRWAGMYFPDXBNJZSQVHLCKE"


def is_valid(number: str) -> bool:
    """Return whether the letter at the end is the remainder by 23. X, Y and Z at the start of a NIE count as 0, 1 and 2."""
    digits = number[:-1]
    if digits[0] in "XYZ":
        digits = str("XYZ".index(digits[0])) + digits[1:]
    return _LETTERS[int(digits) % 23] == number[-1]


RULE: Final = NumberRule(
    written=r"\d{2}\.\d{3}\.\d{3}-?[A-HJ-NP-TV-Z]",
    bare=r"(?:\d{8}|[xyz]\d{7})[a-hj-np-tv-z]",
    token=r"(?:\d{8}|[XYZ]\d{7})-?[A-HJ-NP-TV-Z]",  # noqa: S106 - a pattern
    words=r"dni|nif|nie",
    is_valid=is_valid,
)
