"""Builds bins, rows and records for the tests of drift."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from forebay.models.artefacts.reference_statistics import ReferenceStatistics
from forebay.models.artefacts.signature import Feature, Signature
from forebay.models.statistics.reference import reference_statistics
from forebay.stream.drift.bins import ModelBins, model_bins
from forebay.stream.drift.counts import DriftCounts, DriftKey
from forebay.stream.drift.row_counter import RowCounter
from forebay.stream.drift.wire import DriftRecord, decode_drift, encode_drift

FloatMatrix = NDArray[np.float32]

WINDOW_MS = 300_000
COLOURS = ("red", "green", "blue")


def signature_of(num_numbers: int, *, categories: tuple[str, ...] = ()) -> Signature:
    """Return the signature of a binary model with numbers, and a category if there are categories."""
    features = [Feature(f"x{number}", nullable=True) for number in range(num_numbers)]
    if categories:
        features.append(Feature("colour", "category", categories, nullable=True, other=True))
    return Signature(tuple(features), (len(features),), "binary", 1, labels=("stay", "leave"))


def reference_of(signature: Signature, x_NF: FloatMatrix, scores_N: FloatMatrix | None = None) -> ReferenceStatistics:
    """Return the reference statistics of training rows."""
    return reference_statistics(signature, [x_NF], [] if scores_N is None else [scores_N[:, None]])


def bins_of(signature: Signature, x_NF: FloatMatrix, scores_N: FloatMatrix | None = None) -> ModelBins:
    """Return the bins of a model that was trained with these rows."""
    return model_bins(signature, reference_of(signature, x_NF, scores_N))


def key_of(window: int, *, version: int = 1, model: str = "flights") -> DriftKey:
    """Return the key of a window by its number."""
    return DriftKey(model, version, window * WINDOW_MS, (window + 1) * WINDOW_MS)


def end_of(window: int) -> int:
    """Return a time at which a window can be judged, and the next one cannot."""
    return (window + 2) * WINDOW_MS


@dataclass
class CountingWorker:
    """A worker that counts rows and writes a record for each window."""

    bins: ModelBins
    name: str = "worker-1"
    number: int = 0
    counter: RowCounter = field(init=False)

    def __post_init__(self) -> None:
        self.counter = RowCounter(self.bins)

    def count(self, key: DriftKey, x_BF: FloatMatrix, scores_B: FloatMatrix | None = None) -> DriftCounts:
        """Return the counts of a window with these rows."""
        self.counter.see(len(x_BF))
        self.counter.add_rows(x_BF)
        if scores_B is not None:
            self.counter.add_scores(scores_B[:, None], (scores_B >= 0.5).astype(np.int64))
        return self.counter.take(key)

    def record(self, key: DriftKey, x_BF: FloatMatrix, scores_B: FloatMatrix | None = None) -> DriftRecord:
        """Return the record of a window with these rows, as a reader gets it."""
        self.number += 1
        _, value = encode_drift(self.count(key, x_BF, scores_B), worker=self.name, number=self.number)
        return decode_drift(value)
