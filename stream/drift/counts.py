"""Counts of the rows of a window of time, by column and bin. They add up over workers and windows.

Shapes: C bins of a column.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from forebay.schemas.errors import DataError
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.drift.bins import ColumnBins, ColumnKind


class DriftKey(NamedTuple):
    """What counts are of. window_start, window_end: ms since the Unix epoch."""

    model: str
    version: int
    window_start: int
    window_end: int

    @property
    def ref(self) -> ModelRef:
        """The model version."""
        return ModelRef(self.model, self.version)


@dataclass(slots=True)
class ColumnCounts:
    """The counts of one column, with the shares that the reference has.

    counts_C: of the rows in each bin. below, above: of those, the rows that are out of range.
    total: the sum of the finite numbers.
    missing: rows without a value. unseen: rows with a category that the model does not know.
    expected_C: the reference's share of each bin; None if it is unknown.
    reference_rows: the reference's rows in bins; None if it is unknown.
    expected_missing, expected_unseen, expected_outside: the reference's shares of all rows.
    expected_mean: the reference's mean; None if it is unknown.
    """

    name: str
    kind: ColumnKind
    counts_C: NDArray[np.int64]
    missing: int = 0
    unseen: int = 0
    below: int = 0
    above: int = 0
    total: float = 0.0
    expected_C: NDArray[np.float64] | None = None
    reference_rows: int | None = None
    expected_missing: float = 0.0
    expected_unseen: float = 0.0
    expected_outside: float = 0.0
    expected_mean: float | None = None

    @classmethod
    def of(cls, bins: ColumnBins) -> ColumnCounts:
        """Return counts of no rows."""
        return cls(
            bins.name,
            bins.kind,
            np.zeros(bins.num_bins, np.int64),
            expected_C=None if bins.expected is None else np.array(bins.expected),
            reference_rows=bins.reference_rows,
            expected_missing=bins.expected_missing,
            expected_unseen=bins.expected_unseen,
            expected_outside=bins.expected_outside,
            expected_mean=bins.expected_mean,
        )

    @property
    def rows(self) -> int:
        """The number of rows."""
        return int(self.counts_C.sum()) + self.missing + self.unseen

    @property
    def mean(self) -> float | None:
        """The mean of the numbers; None without any, and where the reference has none."""
        count = int(self.counts_C.sum())
        return self.total / count if count and self.expected_mean is not None else None

    def fits(self, other: ColumnCounts) -> bool:
        """Return whether both count the same column in the same number of bins."""
        return (self.name, self.kind, len(self.counts_C)) == (other.name, other.kind, len(other.counts_C))

    def merge(self, other: ColumnCounts) -> None:
        """Add the counts of the same column."""
        self.counts_C = self.counts_C + other.counts_C
        self.missing += other.missing
        self.unseen += other.unseen
        self.below += other.below
        self.above += other.above
        self.total += other.total
        if self.reference_rows is None:  # counted by an older release
            self.reference_rows = other.reference_rows


@dataclass(slots=True)
class DriftCounts:
    """The counts of a model version in a window.

    seen: rows that the model was given. rows: of those, the sampled rows that are counted here.
    """

    key: DriftKey
    columns: Sequence[ColumnCounts]
    rows: int = 0
    seen: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether no row was counted."""
        return self.rows == 0

    def merge(self, other: DriftCounts) -> None:
        """Add the counts of another worker or window. Raises DataError if it has other columns or bins."""
        if len(self.columns) != len(other.columns) or not all(
            own.fits(its) for own, its in zip(self.columns, other.columns, strict=True)
        ):
            raise DataError(
                f"drift of {self.key.ref}: two workers count other columns or bins",
                kind="drift",
                remedy="run the same release of Forebay, with the same drift.ignored_columns, on all workers",
            )
        for own, its in zip(self.columns, other.columns, strict=True):
            own.merge(its)
        self.rows += other.rows
        self.seen += other.seen
