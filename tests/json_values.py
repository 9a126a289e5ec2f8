"""Documents with a JSON value of another kind or size in the place of one."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any, Final

SIZES: Final = (1, 5_000, 2**31, 2**40, 2**53, 2**62, 2**63 - 1, 2**63, 10**30, 10**400)
INTEGERS: Final = (0, *SIZES, *(-size for size in SIZES))
"""Also far beyond 64 bits and float64."""
VALUES: Final = (*INTEGERS, None, True, 0.5, 1e308, -1e308, "", "[/x]\x1b[31m\n", [], [0], {}, {"a": 1})

Place = tuple[str | int, ...]


def places(document: Any, *, before: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Yield the place of every value in a document with the value, but only the first and the last of lists."""
    if isinstance(document, dict):
        parts = list(document.items())
    elif isinstance(document, list):
        parts = [(index, document[index]) for index in sorted({0, len(document) - 1}) if index in range(len(document))]
    else:
        return
    for name, value in parts:
        yield (*before, name), value
        yield from places(value, before=(*before, name))


def changed_documents(document: Any) -> Iterator[bytes]:
    """Yield the document as JSON with each of VALUES in each place, and with each of INTEGERS in all of a list."""
    for place, value in places(document):
        changed = part = copy.deepcopy(document)
        for name in place[:-1]:
            part = part[name]
        filled = [[number] * len(value) for number in INTEGERS] if isinstance(value, list) else []
        for other in (*VALUES, *filled):
            part[place[-1]] = other
            yield json.dumps(changed).encode()
