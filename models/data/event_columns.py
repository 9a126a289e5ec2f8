"""Events as rows of a table: the features become columns beside the other fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

FEATURE_FIELDS: Final = ("features", "input")
ENVELOPE_FIELDS: Final = frozenset({"id", "key", "timestamp"})
"""The columns that describe an event and are not its features."""
EVENT_ROWS: Final = {b"forebay.rows": b"events"}
"""The metadata of a table's schema if its rows are events whose features became columns."""


def flat_event(values: Mapping[str, object]) -> Mapping[str, object]:
    """Return the fields of an event with its features as fields of their own; other objects as they are.

    The features of an object keep their names, and take precedence over other fields: a key column is often a feature too.
    Those of an array are called `feature_0`, `feature_1` and so on. Nested arrays, such as images, stay one column.
    """
    field = next((name for name in FEATURE_FIELDS if name in values), None)
    if field is None:
        return values
    features = values[field]
    if isinstance(features, list) and not any(isinstance(value, list | dict) for value in features):
        features = {f"feature_{index}": value for index, value in enumerate(features)}
    if not isinstance(features, dict):
        return values
    rest = {name: value for name, value in values.items() if name not in FEATURE_FIELDS and name not in features}
    return {**rest, **features}
