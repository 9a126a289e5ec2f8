"""The measures of one column in one window, and whether they exceed the thresholds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from forebay.stream.drift.bins import ColumnKind
from forebay.stream.drift.counts import ColumnCounts
from forebay.stream.drift.distances import (
    jensen_shannon,
    kolmogorov_smirnov,
    psi,
    psi_bias,
    share_lower_bound,
    share_upper_bound,
)

SHARE_WARN: Final = 0.01
SHARE_ALARM: Final = 0.05
"""How far a share may be above that of the training: of missing values, unseen categories, and values out of range."""
SHARE_Z: Final = 4.0
"""Only the lower end of a share's interval counts, this many standard deviations below it: small windows do not alarm."""


class Level(StrEnum):
    """How far a measure is beyond its thresholds."""

    WARN = "warn"
    ALARM = "alarm"


class Measure(StrEnum):
    """What is compared with thresholds. PSI_RECENT is against the last good windows, all others against the training."""

    PSI = "psi"
    PSI_RECENT = "psi_recent"
    MISSING = "missing"
    UNSEEN = "unseen"
    OUT_OF_RANGE = "out_of_range"


@dataclass(frozen=True, slots=True)
class DriftThresholds:
    """When drift is reported.

    warn, alarm: thresholds of the PSI.
    windows: number of windows in a row that have to exceed a threshold.
    min_rows: a window with fewer rows is not judged.
    """

    warn: float = 0.1
    alarm: float = 0.2
    windows: int = 3
    min_rows: int = 1_000


@dataclass(frozen=True, slots=True)
class Measurement:
    """A measure that was compared.

    value: of the PSI, without its bias.
    expected: the value in the training.
    level: None within the thresholds.
    """

    measure: Measure
    value: float
    expected: float
    level: Level | None


@dataclass(frozen=True, slots=True)
class ColumnMeasures:
    """What is known about a column in a window.

    compared: the measures with thresholds, those that are known.
    mean, expected_mean: of numbers, in the window and in the training; None if unknown.
    jensen_shannon, kolmogorov_smirnov: for information; None without a reference, and the second one for categories.
    """

    name: str
    kind: ColumnKind
    rows: int
    compared: tuple[Measurement, ...]
    jensen_shannon: float | None = None
    kolmogorov_smirnov: float | None = None
    mean: float | None = None
    expected_mean: float | None = None

    @property
    def level(self) -> Level | None:
        """The worst level of the window."""
        levels = {measurement.level for measurement in self.compared}
        return Level.ALARM if Level.ALARM in levels else Level.WARN if Level.WARN in levels else None

    def value(self, measure: Measure) -> float | None:
        """Return the value of a measure; None if it is unknown."""
        return next((found.value for found in self.compared if found.measure is measure), None)

    def to_dict(self) -> dict[str, Any]:
        """Return the measures as JSON values."""
        return {
            "column": self.name,
            "kind": self.kind.value,
            "rows": self.rows,
            **{measure.value: self.value(measure) for measure in Measure},
            "jensen_shannon": self.jensen_shannon,
            "kolmogorov_smirnov": self.kolmogorov_smirnov,
            "mean": self.mean,
            "expected_mean": self.expected_mean,
            "level": None if self.level is None else self.level.value,
        }


def measure_column(column: ColumnCounts, recent: ColumnCounts | None, thresholds: DriftThresholds) -> ColumnMeasures:
    """Return the measures of a column. recent: its counts in the last good windows, None if there are none."""
    compared: list[Measurement] = []
    js = ks = None
    has_rows = bool(column.counts_C.any())
    if has_rows and column.expected_C is not None:
        compared.append(
            _psi(Measure.PSI, column.expected_C, column.reference_rows, column.counts_C, thresholds=thresholds)
        )
        js = jensen_shannon(column.expected_C, column.counts_C)
        if column.kind in (ColumnKind.NUMBER, ColumnKind.SCORE):
            ks = kolmogorov_smirnov(column.expected_C, column.counts_C)
    if has_rows and recent is not None and recent.counts_C.any():
        num_recent = int(recent.counts_C.sum())
        compared.append(_psi(Measure.PSI_RECENT, recent.counts_C, num_recent, column.counts_C, thresholds=thresholds))
    if column.rows and column.kind in (ColumnKind.NUMBER, ColumnKind.CATEGORY):
        compared.append(_missing(column))
        if column.kind is ColumnKind.CATEGORY:
            compared.append(_share(Measure.UNSEEN, column.unseen, column.rows, column.expected_unseen))
    if column.rows and column.kind in (ColumnKind.NUMBER, ColumnKind.SCORE) and column.expected_C is not None:
        outside = column.below + column.above
        compared.append(_share(Measure.OUT_OF_RANGE, outside, column.rows, column.expected_outside))
    return ColumnMeasures(
        column.name,
        column.kind,
        column.rows,
        tuple(compared),
        jensen_shannon=js,
        kolmogorov_smirnov=ks,
        mean=column.mean,
        expected_mean=column.expected_mean,
    )


def _psi(
    measure: Measure,
    expected_C: NDArray[Any],
    num_expected: int | None,
    counts_C: NDArray[np.int64],
    *,
    thresholds: DriftThresholds,
) -> Measurement:
    """Return the PSI less what two samples of these sizes have without any drift. num_expected: None if it is unknown."""
    num_bins = int(np.count_nonzero((expected_C > 0) | (counts_C > 0)))
    bias = psi_bias(num_bins, math.inf if num_expected is None else num_expected, float(counts_C.sum()))
    value = max(0.0, psi(expected_C, counts_C) - bias)
    level = Level.ALARM if value >= thresholds.alarm else Level.WARN if value >= thresholds.warn else None
    return Measurement(measure, value, 0.0, level)


def _share(measure: Measure, count: int, rows: int, expected: float) -> Measurement:
    excess = share_lower_bound(count, rows, SHARE_Z) - expected
    return Measurement(measure, count / rows, expected, _share_level(excess))


def _missing(column: ColumnCounts) -> Measurement:
    """Return the missing share. Fewer missing values than in the training count too: something may fill them in."""
    above = share_lower_bound(column.missing, column.rows, SHARE_Z) - column.expected_missing
    below = column.expected_missing - share_upper_bound(column.missing, column.rows, SHARE_Z)
    share = column.missing / column.rows
    return Measurement(Measure.MISSING, share, column.expected_missing, _share_level(max(above, below)))


def _share_level(excess: float) -> Level | None:
    return Level.ALARM if excess >= SHARE_ALARM else Level.WARN if excess >= SHARE_WARN else None
