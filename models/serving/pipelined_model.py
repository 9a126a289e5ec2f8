"""A model in service whose calls overlap on its device.

Shapes: B rows, G columns after preprocessing, O outputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.backends.protocol import PipelinedRunner, Scores, Ticket
from forebay.models.serving.scoring import decided
from forebay.models.serving.served_model import ModelDescription, ServedModel
from forebay.schemas.errors import DeviceLostError, ModelError


class PipelinedServedModel(ServedModel):
    """A model whose runner computes the scores on the device. Implements `PipelinedModel`.

    prepares_rows: whether rows have to pass `prepare` before they begin.
    """

    def __init__(self, description: ModelDescription, runner: PipelinedRunner) -> None:
        """Take the runner. Raises like `ServedModel`."""
        super().__init__(description, runner)
        window = description.signature.window
        self.prepares_rows = bool(description.preprocessing.steps) or (
            window is not None and bool(window.sequence_length)
        )
        self.depth = runner.depth
        self._pipelined = runner

    @property
    def max_rows(self) -> int:
        """The largest number of rows of one call."""
        return self._pipelined.max_rows

    def warm_up(self, batch_sizes: Sequence[int]) -> None:
        """Reserve memory and capture graphs for calls of up to the largest size, and run a batch of each size."""
        row_BF = np.zeros((1, self.signature.row_width), dtype=np.float32)
        try:
            row = self._shaped(self._prepare(row_BF, checked=False))[0]
            self._pipelined.warm_up(row, max(batch_sizes))
        except ModelError as error:
            raise self._named(error) from error.__cause__
        super().warm_up(batch_sizes)

    def begin(self, parts: Sequence[FloatArray]) -> Ticket:
        """Begin a call with prepared rows [b, G]. Raises like `forward`."""
        for part in parts:
            self._check_prepared(part)
        try:
            return self._pipelined.begin(parts)
        except ModelError as error:
            raise self._named(error) from error.__cause__

    def finish(self, ticket: Ticket) -> Scores:
        """Return the scores of a call. Raises like `forward`."""
        try:
            scores = self._pipelined.finish(ticket)
        except ModelError as error:
            raise self._named(error) from error.__cause__
        return decided(scores, self._calibration, self.threshold)

    def forward(self, x_BG: FloatArray) -> Scores:
        """Run the model on rows [B, G], in several calls if there are too many for one. Raises like `ServedModel.forward`."""
        self._check_prepared(x_BG)
        size = self.max_rows
        if 0 < len(x_BG) <= size:
            return self.finish(self.begin([x_BG]))
        if not size:  # before the warm-up
            return super().forward(x_BG)
        return _joined([self.finish(self.begin([x_BG[start : start + size]])) for start in range(0, len(x_BG), size)])

    def _named(self, error: ModelError) -> ModelError:
        """Return the error with the name of the model."""
        return error if isinstance(error, DeviceLostError) else self._model_error(error)


def _joined(pieces: Sequence[Scores]) -> Scores:
    values_BO = np.concatenate([piece.values_BO for piece in pieces])
    classes = [piece.classes_B for piece in pieces if piece.classes_B is not None]
    confidences = [piece.confidences_B for piece in pieces if piece.confidences_B is not None]
    if not classes:
        return Scores(values_BO)
    return Scores(values_BO, np.concatenate(classes), np.concatenate(confidences))
