"""The identity of a served model."""

from __future__ import annotations

from typing import NamedTuple


class ModelRef(NamedTuple):
    """A model version that a worker serves. Each has a lane of its own."""

    name: str
    version: int

    def __str__(self) -> str:
        return f"{self.name} version {self.version}"
