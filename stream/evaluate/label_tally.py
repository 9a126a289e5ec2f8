"""Counts of labels by the model that they name and by window."""

from __future__ import annotations

from typing import Final

import numpy as np

from forebay.stream.evaluate.columns import Integers
from forebay.stream.evaluate.interning import Codes, Interner
from forebay.stream.evaluate.pending_quality import MAX_PENDING_ROWS, runs
from forebay.stream.quality.keys import QualityKey
from forebay.stream.quality.wire import LabelCounts

FIELDS: Final = LabelCounts.__struct_fields__


class LabelTally:
    """Counts labels under the key of version 0 of the model that they name, "" if they name none.

    models: the names by their codes; code 0 is the empty name.
    """

    def __init__(self, models: Interner[str], window_ms: int) -> None:
        self._models = models
        self._window_ms = window_ms
        self._pending: list[tuple[int, Codes, Integers]] = []
        self._num_pending = 0
        self._counts: dict[QualityKey, LabelCounts] = {}

    def add(self, field: str, models_B: Codes, times_B: Integers) -> None:
        """Add 1 to a count for each label. times_B: the event times of the labels."""
        if len(models_B):
            self._pending.append((FIELDS.index(field), models_B, times_B // self._window_ms))
            self._num_pending += len(models_B)
            if self._num_pending >= MAX_PENDING_ROWS:
                self._fold()

    def take(self) -> dict[QualityKey, LabelCounts]:
        """Return the counts since the last call."""
        self._fold()
        taken, self._counts = self._counts, {}
        return taken

    def _fold(self) -> None:
        if not self._pending:
            return
        fields = np.concatenate([np.full(len(models), field, np.int64) for field, models, _ in self._pending])
        models = np.concatenate([models for _, models, _ in self._pending]).astype(np.int64)
        windows = np.concatenate([windows for _, _, windows in self._pending])
        for (field, model, window), chosen in runs(fields, models, windows):
            key = QualityKey(self._models.values[model], 0, window * self._window_ms)
            counts = self._counts.setdefault(key, LabelCounts())
            setattr(counts, FIELDS[field], getattr(counts, FIELDS[field]) + len(chosen))
        self._pending.clear()
        self._num_pending = 0
