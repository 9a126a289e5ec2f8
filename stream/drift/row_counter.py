"""Counts rows and scores in bins, by columns.

Shapes: B rows, F features, O outputs, N columns of numbers, E edges and C = E + 1 bins of a number (at most).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from forebay.stream.drift.bins import ColumnBins, ModelBins
from forebay.stream.drift.counts import ColumnCounts, DriftCounts, DriftKey

FloatMatrix = npt.NDArray[np.float32]


class RowCounter:
    """Counts the rows of a model version in the current window."""

    def __init__(self, bins: ModelBins) -> None:
        self._bins = bins
        features = bins.features
        self._numbers = _NumberCounter([column for column in features if not column.is_coded])
        self._codes = [_CodeCounter(column) for column in features if column.is_coded]
        self._scores = _NumberCounter(bins.scores)
        self._classes = None if bins.classes is None else _CodeCounter(bins.classes)
        self._rows = self._seen = 0

    @property
    def num_columns(self) -> int:
        """The number of columns that are counted."""
        return len(self._bins.columns)

    @property
    def rows(self) -> int:
        """The number of rows that were counted since the last `take`."""
        return self._rows

    def see(self, num_rows: int) -> None:
        """Record that the model was given rows, whether they are counted or not."""
        self._seen += num_rows

    def add_rows(self, x_BF: FloatMatrix) -> None:
        """Count rows as they were decoded, before preprocessing."""
        self._rows += len(x_BF)
        self._numbers.add(x_BF)
        for column in self._codes:
            column.add(x_BF[:, column.index])

    def add_scores(self, values_BO: FloatMatrix, classes_B: npt.NDArray[np.int64] | None) -> None:
        """Count the scores of rows that were predicted."""
        self._scores.add(values_BO)
        if self._classes is not None and classes_B is not None:
            self._classes.add(classes_B)

    def take(self, key: DriftKey) -> DriftCounts:
        """Return the counts since the last call, and begin again from zero."""
        columns = self._take_features() + self._scores.take()
        if self._classes is not None:
            columns.append(self._classes.take())
        counts = DriftCounts(key, columns, rows=self._rows, seen=self._seen)
        self._rows = self._seen = 0
        return counts

    def _take_features(self) -> list[ColumnCounts]:
        taken = {column.name: column for column in self._numbers.take()}
        taken |= {counter.bins.name: counter.take() for counter in self._codes}
        return [taken[column.name] for column in self._bins.features]


class _NumberCounter:
    """Counts all columns at once. The bin of a value is the number of edges that it reaches; NaN reaches none."""

    def __init__(self, columns: Sequence[ColumnBins]) -> None:
        self._columns = columns
        self._indices = [column.index for column in columns]
        num_edges = max((len(column.edges) for column in columns), default=0)
        self._edges_EN = np.full((num_edges, len(columns)), np.nan, np.float32)
        for number, column in enumerate(columns):
            self._edges_EN[: len(column.edges), number] = column.edges
        self._starts_N = np.arange(len(columns)) * (num_edges + 1)
        self._low_N = np.array([column.low for column in columns], np.float32)
        self._high_N = np.array([column.high for column in columns], np.float32)
        self._reset()

    def _reset(self) -> None:
        num_edges, num_columns = self._edges_EN.shape
        self._counts_NC = np.zeros((num_columns, num_edges + 1), np.int64)
        self._below_N = np.zeros(num_columns, np.int64)
        self._above_N = np.zeros(num_columns, np.int64)
        self._missing_N = np.zeros(num_columns, np.int64)
        self._total_N = np.zeros(num_columns)

    def add(self, x_BF: FloatMatrix) -> None:
        if not self._columns:
            return
        if self._indices != list(range(x_BF.shape[1])):
            x_BF = x_BF[:, self._indices]
        self._total_N += np.add.reduce(x_BF, axis=0, dtype=np.float64, where=np.isfinite(x_BF))
        self._missing_N += np.count_nonzero(x_BF != x_BF, axis=0)
        self._below_N += np.count_nonzero(x_BF < self._low_N, axis=0)
        self._above_N += np.count_nonzero(x_BF >= self._high_N, axis=0)
        bins_BN = np.zeros(x_BF.shape, np.uint8)
        for edges_N in self._edges_EN:
            bins_BN += x_BF >= edges_N
        counts_NC = self._counts_NC
        counts_NC += np.bincount((bins_BN + self._starts_N).ravel(), minlength=counts_NC.size).reshape(counts_NC.shape)

    def take(self) -> list[ColumnCounts]:
        taken = []
        for number, column in enumerate(self._columns):
            counts = ColumnCounts.of(column)
            counts.missing = int(self._missing_N[number])
            counts.total = float(self._total_N[number])
            counts.below, counts.above = int(self._below_N[number]), int(self._above_N[number])
            counts.counts_C = self._counts_NC[number, : column.num_bins].copy()
            counts.counts_C[0] -= counts.missing
            taken.append(counts)
        self._reset()
        return taken


class _CodeCounter:
    """Counts the codes of one column. NaN is a missing value; a code without a bin is unseen."""

    def __init__(self, bins: ColumnBins) -> None:
        self.bins = bins
        self.index = bins.index
        # After the bins: unseen, missing.
        num_bins = bins.num_bins
        self._places = np.array([*bins.bins_of_codes, num_bins, num_bins + 1], np.int64)
        self._counts = np.zeros(num_bins + 2, np.int64)

    def add(self, codes_B: npt.NDArray[np.float32] | npt.NDArray[np.int64]) -> None:
        num_codes = len(self._places) - 2
        # A code is a whole number from 0; the decoder has checked it.
        known_B = np.minimum(codes_B, num_codes)
        places_B = np.nan_to_num(known_B, nan=num_codes + 1).astype(np.int64)
        self._counts += np.bincount(self._places[places_B], minlength=len(self._counts))

    def take(self) -> ColumnCounts:
        counts = ColumnCounts.of(self.bins)
        counts.counts_C = self._counts[:-2].copy()
        counts.unseen, counts.missing = int(self._counts[-2]), int(self._counts[-1])
        self._counts[:] = 0
        return counts
