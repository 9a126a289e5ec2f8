"""Parse log levels: `info`, or `info,forebay.commit=debug` with levels for single loggers."""

from __future__ import annotations

from difflib import get_close_matches
from importlib.util import find_spec
from typing import Final

from forebay.stream.config.loggers import LOGGERS, OWN_PACKAGES, ROOT, successor_of

LEVELS: Final = ("debug", "info", "warning", "error")
ALL_LOGGERS: Final = ""


def parse_levels(text: str) -> dict[str, str]:
    """Return the level of each logger that is named, and that of all others under ALL_LOGGERS (info where it is not set).

    Raises ValueError for anything that is neither a level nor logger=level, and for loggers that do not exist.
    """
    levels = {ALL_LOGGERS: "info"}
    for part in text.split(","):
        name, found, level = (word.strip() for word in part.rpartition("="))
        if level not in LEVELS or (found and not name):
            raise ValueError(f"{part.strip()!r} is not")
        if name:
            _check_name(name)
        levels[name] = level
    return levels


def _check_name(name: str) -> None:
    """Raise ValueError if nothing is ever logged under this name."""
    package = name.partition(".")[0]
    if package == ROOT:
        if not any(logger == name or logger.startswith(f"{name}.") for logger in LOGGERS):
            near = get_close_matches(name, LOGGERS, n=3) or LOGGERS
            raise ValueError(f"there is no logger {name}; there is {', '.join(near)}")
    elif successor := successor_of(name):
        raise ValueError(f"the logger {name} is now called {successor}")
    elif package in OWN_PACKAGES or not package.isidentifier() or find_spec(package) is None:
        near = get_close_matches(f"{ROOT}.{name.rpartition('.')[2]}", LOGGERS, n=1)
        raise ValueError(f"there is no logger {name}" + (f"; did you mean {near[0]}?" if near else ""))
