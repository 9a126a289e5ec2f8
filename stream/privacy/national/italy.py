"""The tax code (codice fiscale) of Italy."""

from __future__ import annotations

from typing import Final

from forebay.stream.privacy.numbers import NumberRule

_ODD: Final = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)
"""The value of 0 to 9, and of A to Z, at odd places (decree of 23 December 1976)."""


def is_valid(code: str) -> bool:
    """Return whether the letter at the end is the sum of the values of the characters, modulo 26."""
    values = [int(character) if character.isdigit() else ord(character) - ord("A") for character in code]
    total = sum(_ODD[value] if place % 2 == 0 else value for place, value in enumerate(values[:-1]))
    return total % 26 == values[-1]


RULE: Final = NumberRule(
    written=None,
    token=r"[A-Z]{6}\d{2}[ABCDEHLMPRST]\d{2}[A-Z]\d{3}[A-Z]",  # noqa: S106 - a pattern
    bare=r"[a-z]{6}\d{2}[abcdehlmprst]\d{2}[a-z]\d{3}[a-z]",
    words=r"codice[ _-]?fiscale|cf",
    is_valid=is_valid,
)
