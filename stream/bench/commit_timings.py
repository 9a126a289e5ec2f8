"""Where commits spend their time, as the worker tells it in its log when it ends."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import orjson

from forebay.stream.telemetry.commit_timings import STEPS


def commit_steps(log: Path) -> Mapping[str, Mapping[str, float]] | None:
    """By step: p50_ms and p99_ms, of the last commits. None where the log tells none."""
    for line in reversed(log.read_bytes().splitlines()):
        try:
            figures = orjson.loads(line).get("figures")
        except (orjson.JSONDecodeError, AttributeError):
            continue  # a line of somebody else's on standard error
        if figures and figures.keys() == set(STEPS):
            return dict(figures)
    return None
