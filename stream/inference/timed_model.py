"""A model that measures the time of its preprocessing."""

from __future__ import annotations

from collections.abc import Sequence

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.signature import Signature
from forebay.models.backends.protocol import Model, Scores
from forebay.stream.core.clock import Clock


class TimedModel:
    """Wraps a model and measures the time in `prepare`. For use by one thread."""

    def __init__(self, model: Model, clock: Clock) -> None:
        self._model = model
        self._clock = clock
        self._prepare_s = 0.0

    @property
    def name(self) -> str:
        return self._model.name

    @property
    def version(self) -> int:
        return self._model.version

    @property
    def signature(self) -> Signature:
        return self._model.signature

    def warm_up(self, batch_sizes: Sequence[int]) -> None:
        self._model.warm_up(batch_sizes)

    def prepare(self, x_BF: FloatArray) -> FloatArray:
        started_s = self._clock.monotonic_s()
        try:
            return self._model.prepare(x_BF)
        finally:
            self._prepare_s += self._clock.monotonic_s() - started_s

    def forward(self, x_BG: FloatArray) -> Scores:
        return self._model.forward(x_BG)

    def take_prepare_s(self) -> float:
        """Return the seconds spent in `prepare` since the previous call of this method."""
        taken_s, self._prepare_s = self._prepare_s, 0.0
        return taken_s
