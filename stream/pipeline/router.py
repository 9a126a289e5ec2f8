"""The router decides which lanes get the rows of a part. With one lane nothing is divided or copied."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Protocol

from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import BatchPart


class Router(Protocol):
    """Divides parts among lanes, which are identified by their model."""

    def route(self, part: BatchPart) -> Sequence[tuple[ModelRef, BatchPart]]:
        """Return the lanes of a part's rows, each with its rows. Together they are the whole part."""


class ModelRouter:
    """Routes each part to the lane of its model: decoding has divided the events already, since each model has its own row.

    models: those that have a lane.
    """

    def __init__(self, models: Container[ModelRef]) -> None:
        self._models = models

    def route(self, part: BatchPart) -> Sequence[tuple[ModelRef, BatchPart]]:
        assert part.model in self._models, f"no lane for {part.model}"
        return ((part.model, part),)
