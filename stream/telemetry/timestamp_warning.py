"""A warning about the first event whose timestamp is not in milliseconds, for models without windows."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import Chunk
from forebay.stream.core.time_units import MILLISECONDS_FROM, guess_unit
from forebay.stream.pipeline.observer import NullObserver

log = logging.getLogger("forebay.decode")


class TimestampWarning(NullObserver):
    """An `Observer` that logs one line. With windows such events are rejected instead (`eventtime.timestamp_guard`).

    models: the models without windows.
    """

    def __init__(self, models: Iterable[ModelRef]) -> None:
        self._models = set(models)
        self._warned = False

    def add_model(self, model: ModelRef) -> None:
        """Check the events of another model without windows."""
        self._models.add(model)

    def on_polled(self, chunks: Sequence[Chunk], *, began_s: float, received_s: float) -> None:
        for chunk in chunks:
            if self._warned:
                return
            if chunk.model in self._models and min(chunk.timestamps, default=MILLISECONDS_FROM) < MILLISECONDS_FROM:
                self._warn(chunk)

    def _warn(self, chunk: Chunk) -> None:
        for record, t in zip(chunk.records, chunk.timestamps, strict=True):
            if t < MILLISECONDS_FROM <= record.timestamp:
                self._warned = True
                log.warning(
                    "%s-%d: the event at offset %d has the timestamp %d, in milliseconds a time before 1974%s; it is "
                    "predicted, as are all such events",
                    *chunk.partition,
                    record.offset,
                    t,
                    guess_unit(t),
                )
                return
