"""The social security number (NIR) of France."""

from __future__ import annotations

from typing import Final

from forebay.stream.privacy.numbers import NumberRule


def is_valid(number: str) -> bool:
    """Return whether the last two digits are 97 less the remainder of the rest. 2A and 2B (Corsica) count as 19 and 18."""
    rest = number[:-2].replace("2A", "19").replace("2B", "18")
    return rest.isdigit() and 97 - int(rest) % 97 == int(number[-2:])


RULE: Final = NumberRule(
    written=r"[1278] \d\d (?:0[1-9]|1[0-2]|[2-9]\d) (?:\d\d|2[AB]) \d{3} \d{3} \d{2}",
    bare=r"[1278]\d\d(?:0[1-9]|1[0-2]|[2-9]\d)(?:\d\d|2[ABab])\d{8}",
    words=r"nir|insee|s[eé]cu(?:rit[eé][ _-]?sociale)?|num[eé]ro[ _-]?de[ _-]?s[eé]cu(?:rit[eé][ _-]?sociale)?",
    is_valid=is_valid,
)
