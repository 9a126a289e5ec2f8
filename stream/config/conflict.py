"""A contradiction between settings."""

from __future__ import annotations

from typing import NamedTuple


class Conflict(NamedTuple):
    """Settings that contradict each other. keys: all settings that the rule reads; errors name the first."""

    keys: tuple[str, ...]
    rule: str
