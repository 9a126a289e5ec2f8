"""Parse log levels: `info`, or `info,forebay.commit=debug` with levels for certain loggers."""

from __future__ import annotations

from difflib import get_close_matches
from importlib.util import find_spec
from typing import Final

from forebay.stream.config.loggers import LOGGERS, OWN_PACKAGES, ROOT, successor_of

LEVELS: Final = ("debug", "info", "warning", "error")
ALL_LOGGERS: Final = ""


def parse_levels(text: str) -> dict[str, str]:
    """Return the level of each named logger, and under ALL_LOGGERS that of all others (default: info).

    Raises ValueError for text that is neither a level nor logger=level, and for loggers that do not exist.
    """
    levels = {ALL_LOGGERS: "info"}
    for part in text.split(","):
        name, equals, level = (word.strip() for word in part.rpartition("="))
        if level not in LEVELS or (equals and not name):
            raise ValueError(f"{part.strip()!r} is not allowed")
        if name:
            _check_name(name)
        levels[name] = level
    return levels


def _check_name(name: str) -> None:
    """Raise ValueError if no logger has this name."""
    package = name.partition(".")[0]
    if package == ROOT:
        if not any(logger == name or logger.startswith(f"{name}.") for logger in LOGGERS):
            near = get_close_matches(name, LOGGERS, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else f"the loggers are {', '.join(LOGGERS)}"
            raise ValueError(f"there is no logger {name}; {hint}")
    elif successor := successor_of(name):
        raise ValueError(f"the logger {name} is now called {successor}")
    elif package in OWN_PACKAGES or not package.isidentifier() or find_spec(package) is None:
        near = get_close_matches(f"{ROOT}.{name.rpartition('.')[2]}", LOGGERS, n=1)
        raise ValueError(f"there is no logger {name}" + (f"; did you mean {near[0]}?" if near else ""))
