"""Which log lines are wanted, as a text: `info`, or `info,stream.commit=debug` with levels of their own for modules."""

from __future__ import annotations

from typing import Final

LEVELS: Final = ("debug", "info", "warning", "error")
ALL_MODULES: Final = ""


def parse_levels(text: str) -> dict[str, str]:
    """The level of each module that is named, and of all others under ALL_MODULES (info where it is not named).

    Raises ValueError for what is neither a level nor module=level.
    """
    levels = {ALL_MODULES: "info"}
    for part in text.split(","):
        module, found, level = (word.strip() for word in part.rpartition("="))
        if level not in LEVELS or (found and not module):
            raise ValueError(f"{part.strip()!r} is not")
        levels[module] = level
    return levels
