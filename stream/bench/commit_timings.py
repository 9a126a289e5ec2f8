"""The durations of the steps of a commit, from the line that the worker logs when it ends."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import orjson

from forebay.stream.telemetry.commit_timings import STEPS


def commit_steps(log: Path) -> Mapping[str, Mapping[str, float]] | None:
    """Return p50_ms and p99_ms of each step over the last commits; None if the log has no such line."""
    for line in reversed(log.read_bytes().splitlines()):
        try:
            figures = orjson.loads(line).get("figures")
        except (orjson.JSONDecodeError, AttributeError):
            continue  # a line of a library on standard error
        if figures and figures.keys() == set(STEPS):
            return dict(figures)
    return None
