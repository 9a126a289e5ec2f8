"""Deltas and times for tests of the aggregator."""

from __future__ import annotations

from typing import Any

import orjson

from forebay.stream.aggregate.delta import CellKey, Delta, Exemplar
from forebay.stream.aggregate.state import Timing

MINUTE = 60_000
START = 1_372_636_800_000
TIMING = Timing(final_after_ms=MINUTE, closed_after_ms=5 * MINUTE)
PREDICTED = CellKey("predicted", "emit", "predicted")
NOT_JSON = CellKey("rejected", "decode", "not_json")
MODEL_ERROR = CellKey("failed", "model", "model_error")


def delta(minute: int = 0, cell: CellKey = NOT_JSON, count: int = 1, *, model: str = "m", **changes: Any) -> Delta:
    """Return a delta of the `minute`-th bucket after START."""
    start = START + minute * MINUTE
    values: dict[str, Any] = {
        "window_start": start,
        "window_end": start + MINUTE,
        "cell": cell,
        "model": model,
        "version": 1,
        "count": count,
        "first_seen": start + 10,
        "last_seen": start + 20,
    }
    return Delta(**(values | changes))


def at(minute: float) -> int:
    return START + round(minute * MINUTE)


def parsed(rows: list[tuple[bytes, bytes | None]]) -> list[dict[str, Any]]:
    return [orjson.loads(value) for _, value in rows if value is not None]


STACK = Exemplar("index …", "abc", "File m.py")
