"""Parse log levels: `info`, or `info,forebay.commit=debug` with levels for certain loggers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Final

from forebay.stream.config.loggers import LOGGERS, OLD_PACKAGE, OWN_PACKAGES, ROOT, successor_of

LEVELS: Final = ("debug", "info", "warning", "error")
ALL_LOGGERS: Final = ""

_OTHER_WORDS: Final[Mapping[str, str]] = MappingProxyType(
    {"trace": "debug", "notice": "info", "warn": "warning", "err": "error", "critical": "error", "fatal": "error"}
)
"""Levels of other programs, with the nearest level here."""
_NEAR: Final = 0.8
_GET_LOGGER: Final = re.compile(r'getLogger\("([^"]+)"\)')


def parse_levels(text: str) -> dict[str, str]:
    """Return the level of each named logger, and under ALL_LOGGERS that of all others (default: info).

    Raises ValueError for text that is neither a level nor logger=level, for loggers that do not exist, and for a second
    level of a logger.
    """
    if not text.strip():
        raise ValueError(f"the value is empty; leave the setting out to use the default, {LEVELS[1]}")
    levels: dict[str, str] = {}
    for part in text.split(","):
        name, level = _parse_entry(part.strip())
        if name in levels:
            whose = name or "all loggers"
            raise ValueError(f"there are two levels for {whose}, {levels[name]} and {level}; write one")
        levels[name] = level
    return {ALL_LOGGERS: "info"} | levels


def _parse_entry(entry: str) -> tuple[str, str]:
    """Return the logger, or ALL_LOGGERS, and the level. Raises ValueError that states which of them is wrong."""
    if not entry:
        raise ValueError("there is an empty entry; write one level or logger=level between two commas")
    name, equals, level = (word.strip() for word in entry.rpartition("="))
    if not equals:
        if level.lower() not in (*LEVELS, *_OTHER_WORDS) and _is_logger(level):
            raise ValueError(f"{level!r} is a logger without a level; write {level}=debug")
        _check_level(level)
        return ALL_LOGGERS, level
    if not name:
        raise ValueError(f"{entry!r} has no logger before the equals sign")
    if not level:
        raise ValueError(f"{entry!r} has no level after the equals sign")
    _check_name(name)
    _check_level(level, f"in {entry!r}, ")
    return name, level


def _check_level(level: str, place: str = "") -> None:
    if level in LEVELS:
        return
    lower = level.lower()
    if lower in LEVELS:
        raise ValueError(f"{place}{level!r} must be in lower case: {lower}")
    near = _OTHER_WORDS.get(lower) or next(iter(get_close_matches(lower, LEVELS, n=1, cutoff=_NEAR)), None)
    raise ValueError(f"{place}{level!r} is not a level" + (f"; did you mean {near}?" if near else ""))


def _is_logger(name: str) -> bool:
    try:
        _check_name(name)
    except ValueError:
        return False
    return True


def _check_name(name: str) -> None:
    """Raise ValueError if no logger has this name."""
    names = _names()
    package = name.partition(".")[0]
    if name in names or (package not in (ROOT, *OWN_PACKAGES) and _is_installed(package)):
        return
    if successor := successor_of(name):
        raise ValueError(f"the logger {name} is now called {successor}")
    if (loggers := _loggers_of_module(name)) is not None:
        verb = f"logs to {', '.join(loggers)}" if loggers else "logs nothing"
        raise ValueError(f"{name} is a module, not a logger; it {verb}")
    near = get_close_matches(name.lower(), names, n=1, cutoff=_NEAR)
    if not near and package != ROOT:
        near = get_close_matches(f"{ROOT}.{name.rpartition('.')[2]}".lower(), names, n=1, cutoff=_NEAR)
    if near:
        raise ValueError(f"there is no logger {name}; did you mean {near[0]}?")
    if package in (ROOT, *OWN_PACKAGES):
        raise ValueError(f"there is no logger {name}; the loggers are {', '.join(LOGGERS)}")
    raise ValueError(f"there is no logger {name}, and no package {package} is installed")


def _names() -> list[str]:
    """Return the loggers and the names above them."""
    names = {ROOT: None}
    for logger in LOGGERS:
        parts = logger.split(".")
        names |= {".".join(parts[:length]): None for length in range(2, len(parts) + 1)}
    return list(names)


def _is_installed(package: str) -> bool:
    try:
        return package.isidentifier() and find_spec(package) is not None
    except ValueError:  # a module without a spec, such as __main__
        return False


def _loggers_of_module(name: str) -> list[str] | None:
    """Return the loggers that a module or package of Forebay uses, according to its source; None if there is no such module."""
    parts = name.removeprefix(f"{ROOT}.").split(".")
    if not all(part.isidentifier() for part in parts):
        return None
    if parts == [OLD_PACKAGE]:
        return [ROOT]
    root = Path(__file__).parents[2]
    for path in (root.joinpath(*parts), root.joinpath(OLD_PACKAGE, *parts)):
        files = list(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
        if files and all(file.is_file() for file in files):
            used = {logger for file in files for logger in _GET_LOGGER.findall(file.read_text(encoding="utf-8"))}
            return [logger for logger in LOGGERS if logger in used]
    return None
