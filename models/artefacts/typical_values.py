"""What the steps of a preprocessing say about the values that it was fitted to.

Shapes: F columns of a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forebay.models.artefacts.preprocessing import Impute, OneHot, Preprocessing, RowCheck, Standardise, Step
from forebay.models.artefacts.preprocessing.bin import Bin
from forebay.models.artefacts.preprocessing.bounds import FlagMissing, FlagOutside, NullOutside
from forebay.models.artefacts.preprocessing.combine import Combine, Cyclic
from forebay.models.artefacts.preprocessing.fill_sequence import FillSequence
from forebay.models.artefacts.preprocessing.interpolate import Interpolate
from forebay.models.artefacts.preprocessing.map_values import MapValues
from forebay.models.artefacts.preprocessing.pipeline import CHECKS
from forebay.models.artefacts.preprocessing.power import PowerTransform
from forebay.models.artefacts.preprocessing.select_columns import SelectColumns
from forebay.models.artefacts.preprocessing.step import FLOAT32_MAX
from forebay.models.artefacts.preprocessing.transform import Function

_POSITIVE = (4.0, 1.0)
"""Centre and scale of columns whose logarithm is taken: positive within three scales."""


_KEEPING_VALUES = (Impute, *CHECKS, NullOutside, FlagOutside, FlagMissing, Combine, Cyclic, FillSequence)
"""Steps that only replace missing or extreme values of their columns, or append new columns."""


@dataclass(frozen=True, slots=True, eq=False)
class TypicalValues:
    """Values that the columns of a row usually have.

    centre_F, scale_F: of numbers.
    sizes_F: the number of codes of a column; 0 for a number.
    values: the values that columns of other categories have.
    is_imputed_F: whether missing values are replaced.
    """

    centre_F: npt.NDArray[np.float64]
    scale_F: npt.NDArray[np.float64]
    sizes_F: npt.NDArray[np.int64]
    values: dict[int, tuple[float, ...]]
    is_imputed_F: npt.NDArray[np.bool_]


def typical_values(preprocessing: Preprocessing, width: int) -> TypicalValues:
    """Return the typical values of the `width` columns of a row, before the preprocessing."""
    typical = TypicalValues(
        np.zeros(width),
        np.ones(width),
        sizes_F=np.zeros(width, dtype=np.int64),
        values={},
        is_imputed_F=np.zeros(width, dtype=np.bool_),
    )
    origins: list[int | None] = list(
        range(width)
    )  # of the columns after a step; None if their values have been changed
    for step in preprocessing.steps:
        if isinstance(step, SelectColumns):
            origins = [origins[column] for column in step.columns]
            continue
        for index, column in enumerate(getattr(step, "columns", ())):
            origin = origins[column]
            if origin is not None:
                _note(typical, step, index, origin)
            if not isinstance(step, _KEEPING_VALUES):
                origins[column] = None
        if isinstance(step, OneHot):
            origins = [origin for column, origin in enumerate(origins) if column not in set(step.columns)]
        origins += [None] * (step.output_width - len(origins))
    return typical


def _note(typical: TypicalValues, step: Step, index: int, origin: int) -> None:
    """Add what a step says about column `origin`, the step's column number `index`."""
    centre_F, scale_F = typical.centre_F, typical.scale_F
    match step:
        case Impute():
            centre_F[origin] = step.values[index]
            typical.is_imputed_F[origin] = True
        case Standardise():
            centre_F[origin], scale_F[origin] = step.means[index], step.scales[index]
        case OneHot():
            typical.sizes_F[origin] = step.sizes[index]
        case MapValues():
            if step.keys[index]:
                typical.values[origin] = step.keys[index]
        case Cyclic():
            centre_F[origin], scale_F[origin] = step.periods[index] / 2, step.periods[index] / 3
        case NullOutside() | FlagOutside():
            limits = [limit for limit in (step.minima[index], step.maxima[index]) if abs(limit) < FLOAT32_MAX]
            if limits:
                centre_F[origin], scale_F[origin] = _middle(limits)
        case RowCheck():
            limits = [limit for limit in (step.minima[index], step.maxima[index]) if limit is not None]
            if limits:
                centre_F[origin], scale_F[origin] = _middle(limits)
        case Bin():
            centre_F[origin], scale_F[origin] = _middle(step.edges[index])
        case Interpolate():
            centre_F[origin], scale_F[origin] = _middle(step.points[index])
        case PowerTransform(method="box-cox"):
            centre_F[origin], scale_F[origin] = _POSITIVE
        case Function():
            centre_F[origin], scale_F[origin] = _POSITIVE


def _middle(values: Sequence[float]) -> tuple[float, float]:
    """Return the middle of ascending values, and a scale within which most of them are."""
    if not values:
        return 0.0, 1.0
    return (values[0] + values[-1]) / 2, max((values[-1] - values[0]) / 3, 1e-3)
