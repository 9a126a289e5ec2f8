"""Parse a setting that is given as JSON, in the environment or on the command line."""

from __future__ import annotations

import json


def parse_json(text: str) -> object:
    """Return the value. Raises ValueError that says why it is not JSON, also for a key that occurs twice in an object."""
    try:
        return json.loads(text, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values: dict[str, object] = {}
    for key, value in pairs:
        if key in values:
            raise ValueError(f"the key {key!r} occurs twice in an object")
        values[key] = value
    return values
