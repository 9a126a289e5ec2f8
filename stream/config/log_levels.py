"""Which log lines are wanted, as a text: `info`, or `info,forebay.stream.commit=debug` with levels of their own for modules."""

from __future__ import annotations

from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Final

LEVELS: Final = ("debug", "info", "warning", "error")
ALL_MODULES: Final = ""
OWN_PACKAGE: Final = "forebay"
_LOGS: Final = b"\nlog = logging.getLogger("


def parse_levels(text: str) -> dict[str, str]:
    """The level of each module that is named, and of all others under ALL_MODULES (info where it is not named).

    Raises ValueError for what is neither a level nor module=level, and for modules that do not log.
    """
    levels = {ALL_MODULES: "info"}
    for part in text.split(","):
        module, found, level = (word.strip() for word in part.rpartition("="))
        if level not in LEVELS or (found and not module):
            raise ValueError(f"{part.strip()!r} is not")
        if module:
            _check_module(module)
        levels[module] = level
    return levels


def own_loggers() -> list[str]:
    """Return the modules of Forebay that log, which are the names of its loggers."""
    root = Path(__file__).resolve().parents[2]
    files = (path for package in ("stream", "models", "schemas") for path in (root / package).rglob("*.py"))
    modules = (path.relative_to(root).with_suffix("") for path in files if _LOGS in path.read_bytes())
    return sorted(".".join((OWN_PACKAGE, *module.parts)) for module in modules)


def _check_module(module: str) -> None:
    """Raise ValueError if nothing is ever logged under this name."""
    package = module.partition(".")[0]
    if package == OWN_PACKAGE:
        loggers = own_loggers()
        if not any(name == module or name.startswith(f"{module}.") for name in loggers):
            near = get_close_matches(module, loggers, n=3) or [
                "forebay.stream.worker",
                "forebay.stream.commit",
                "forebay.stream.kafka",
            ]
            raise ValueError(f"{module} logs nothing; what does is, for example, {', '.join(near)}")
    elif not package.isidentifier() or find_spec(package) is None:
        near = get_close_matches(f"forebay.stream.{module}", own_loggers(), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"there is no module {module}{hint}")
