"""The citizen service number (BSN) of the Netherlands."""

from __future__ import annotations

from typing import Final

from forebay.stream.privacy.checksums import weighted
from forebay.stream.privacy.numbers import NumberRule

_WEIGHTS: Final = (9, 8, 7, 6, 5, 4, 3, 2, -1)


def is_valid(digits: str) -> bool:
    """Return whether the number passes the eleven test with -1 as the last weight."""
    return len(set(digits)) > 1 and weighted(digits, _WEIGHTS) % 11 == 0


RULE: Final = NumberRule(
    written=r"\d{4}\.\d{2}\.\d{3}",
    bare=r"\d{9}",
    words=r"bsn|burgerservice(?:nummer|nr)|sofi(?:[ _-]?(?:nummer|nr))?|sofinummer",
    is_valid=is_valid,
)
