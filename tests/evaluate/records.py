"""Records of predictions and labels, for tests."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

NOW_MS = 1_790_000_000_000


@dataclass(frozen=True, slots=True)
class Polled:
    """A record as the client returns it."""

    offset: int
    value: bytes | None
    key: bytes | None = b"key"
    timestamp: int = NOW_MS
    headers: tuple[tuple[str, bytes], ...] = field(default_factory=tuple)


def prediction(offset: int, **changes: Any) -> Polled:
    """Return a prediction of two classes; `changes` are its fields, and `key`."""
    key = changes.pop("key", b"key")
    document = {
        "id": f"event-{offset}",
        "model": "late",
        "version": 3,
        "prediction": [0.25],
        "confidence": 0.75,
        "class": 0,
        "label": None,
        "source": {"topic": "features", "partition": 1, "offset": offset + 100, "timestamp": NOW_MS - 60_000 + offset},
        **changes,
    }
    return Polled(offset, json.dumps(document).encode(), key)


def label(offset: int, **changes: Any) -> Polled:
    """Return a label of the prediction with the same offset; `changes` are its fields, and `key`."""
    key = changes.pop("key", b"key")
    document = {"id": f"event-{offset}", "label": 1, "timestamp": NOW_MS - 30_000 + offset, **changes}
    return Polled(
        offset, json.dumps({name: value for name, value in document.items() if value is not ...}).encode(), key
    )
