"""The PESEL number of Poland."""

from __future__ import annotations

from calendar import monthrange
from typing import Final

from forebay.stream.privacy.checksums import weighted
from forebay.stream.privacy.numbers import NumberRule

_WEIGHTS: Final = (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)
_CENTURIES: Final = (1900, 2000, 2100, 2200, 1800)


def is_valid(digits: str) -> bool:
    """Return whether the first six digits are a date, with the century in the month, and the check digit is right."""
    century, month = divmod(int(digits[2:4]), 20)
    if not 1 <= month <= 12:
        return False
    year = _CENTURIES[century] + int(digits[:2])
    return 1 <= int(digits[4:6]) <= monthrange(year, month)[1] and weighted(digits, _WEIGHTS) % 10 == 0


RULE: Final = NumberRule(written=None, bare=r"\d{11}", words=r"pesel(?:[ _-]?(?:nr|numer))?", is_valid=is_valid)
