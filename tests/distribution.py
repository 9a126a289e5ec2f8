"""How tests are dealt out to the processes of `make test`, by pytest-xdist with `--dist loadgroup --no-loadscope-reorder`.

A test that is slow or needs a broker, and so mostly waits, is dealt out alone; the others go by file, as do those that share
what their module has made. The slow ones come first, so that at the end nobody waits for one that began late.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

_WAITING: Final = ("slow", "kafka", "embedded")


def distribute(items: list[pytest.Item]) -> None:
    """Sort, and name the group of each."""
    together = {item.path for item in items if _shares_with_its_module(item)}
    slow = {item.path for item in items if item.path in together and item.get_closest_marker("slow")}
    items.sort(key=lambda item: _rank(item, slow))
    for number, item in enumerate(items):
        alone = item.path not in together and _waits(item)
        item.add_marker(pytest.mark.xdist_group(f"{item.path.stem}-{number}" if alone else str(item.path)))


def _rank(item: pytest.Item, slow: set[Path]) -> int:
    if item.path in slow or item.get_closest_marker("slow"):
        return 0
    return 1 if _waits(item) else 2


def _waits(item: pytest.Item) -> bool:
    return any(item.get_closest_marker(name) for name in _WAITING)


def _shares_with_its_module(item: pytest.Item) -> bool:
    info: Any = getattr(item, "_fixtureinfo", None)
    definitions: Mapping[str, Sequence[Any]] = {} if info is None else info.name2fixturedefs
    # With an underscore begin those of pytest and its plugins.
    return any(
        one.scope in ("class", "module", "package")
        for name, some in definitions.items()
        if not name.startswith("_")
        for one in some
    )
