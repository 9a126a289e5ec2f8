"""The tax identification number of Germany."""

from __future__ import annotations

from collections import Counter
from typing import Final

from forebay.stream.privacy.checksums import mod_11_10
from forebay.stream.privacy.numbers import NumberRule


def is_valid(digits: str) -> bool:
    """Return whether one of the first ten digits occurs two or three times, no other does, and the check digit is right.

    From the Federal Central Tax Office: no leading zero, and since 2016 also three of one digit.
    """
    counts = sorted(Counter(digits[:10]).values(), reverse=True)
    return digits[0] != "0" and counts[0] in (2, 3) and counts[1] == 1 and mod_11_10(digits)


RULE: Final = NumberRule(
    written=r"\d{2} \d{3} \d{3} \d{3}",
    bare=r"\d{11}",
    words=r"steuer(?:[ _-]?(?:id|nummer|identifikationsnummer))?|steuerid|idnr|tin|tax[ _-]?(?:id|no|number)|taxid",
    is_valid=is_valid,
)
