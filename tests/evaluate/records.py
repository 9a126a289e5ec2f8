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


def shadow_pair(number: int, *, offset: int | None = None, failure: str | None = None) -> Polled:
    """Return a pair of the event with this number: version 3 served; version 4, the shadow, is right or failed."""

    def side(version: int, score: float) -> dict[str, Any]:
        return {
            "version": version,
            "prediction": [score],
            "confidence": max(score, 1 - score),
            "class": int(score >= 0.5),
            "label": None,
            "failure": None,
            "latency_ms": 1.0,
            "rows": 1,
        }

    shadow = side(4, 0.75)
    if failure is not None:
        shadow |= {"prediction": None, "confidence": None, "class": None, "failure": failure}
    document = {
        "id": f"event-{number}",
        "model": "late",
        "revision": 2,
        "source": {"topic": "features", "partition": 0, "offset": number, "timestamp": NOW_MS - 60_000 + number},
        "primary": side(3, 0.25),
        "shadow": shadow,
    }
    return Polled(number if offset is None else offset, json.dumps(document).encode())
