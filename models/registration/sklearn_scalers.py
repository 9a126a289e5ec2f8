"""Read fitted transformers of scikit-learn that take numbers: imputers, scalers, bins, powers, quantiles and selections."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from sklearn import feature_selection as selection
from sklearn import preprocessing as skp
from sklearn.impute import MissingIndicator, SimpleImputer

from forebay.models.artefacts.preprocessing.transform import FUNCTIONS
from forebay.models.registration.sklearn_columns import Column, Conversion

_NEAR: Final = 1e-7
"""BOUNDS_THRESHOLD of QuantileTransformer."""


def read_imputer(step: SimpleImputer, columns: list[Column], to: Conversion, part: str) -> list[Column]:
    """Replace missing values by the fitted ones, with columns that indicate them if the imputer has these."""
    if not is_missing(step.missing_values):
        to.refuse(
            part, f"missing_values is {step.missing_values!r}; events give NaN", "fit it with missing_values=np.nan"
        )
    indicators = []
    if step.add_indicator:
        indicators = _indicators(step.indicator_, columns, to)
    kept, values, result = [], [], []
    for column, value in zip(columns, step.statistics_, strict=True):
        if isinstance(value, str):
            if column.source is None or column.source.kind == "number":
                to.refuse(part, "it fills texts that an earlier step made", "impute the columns of the table")
            column.source.missing = None if step.missing_values is None else math.nan
            result.append(column._replace(fill=value))
        elif is_missing(value):
            name = column.source.name if column.source else f"number {columns.index(column)}"
            to.frozen(part, f"the column {name!r} had no value when it was fitted and is left out, as in the original")
        else:
            kept.append(column)
            values.append(float(value))
            result.append(column)
    if kept:
        to.flow.impute(to.numbers(kept, part), values, str(step.strategy))
    to.frozen(part, f"with {len(indicators)} columns that indicate missing values" if indicators else "")
    return [*result, *indicators]


def read_missing_indicator(step: MissingIndicator, columns: list[Column], to: Conversion, part: str) -> list[Column]:
    """Add a column of 0 and 1 for each column that had missing values."""
    if not is_missing(step.missing_values):
        to.refuse(
            part, f"missing_values is {step.missing_values!r}; events give NaN", "fit it with missing_values=np.nan"
        )
    to.frozen(part)
    return _indicators(step, columns, to)


def _indicators(step: MissingIndicator, columns: list[Column], to: Conversion) -> list[Column]:
    chosen = [columns[index].number for index in step.features_]
    if not chosen:
        return []
    copies, count = to.flow.repeat(chosen), len(chosen)
    to.flow.map_values(copies, [()] * count, [()] * count, missing=[1.0] * count, unknown=[0.0] * count)
    return to.computed(copies)


def read_standard(step: skp.StandardScaler, columns: list[Column], to: Conversion, part: str) -> list[Column]:
    """Subtract the means and divide by the standard deviations."""
    return _scale(columns, to, part, means=step.mean_ if step.with_mean else None, scales=step.scale_)


def read_robust(step: skp.RobustScaler, columns: list[Column], to: Conversion, part: str) -> list[Column]:
    """Subtract the medians and divide by the interquartile ranges."""
    return _scale(
        columns,
        to,
        part,
        means=step.center_ if step.with_centering else None,
        scales=step.scale_ if step.with_scaling else None,
    )


def read_max_abs(step: skp.MaxAbsScaler, columns: list[Column], to: Conversion, part: str) -> list[Column]:
    """Divide by the largest absolute values."""
    scaled = _scale(columns, to, part, means=None, scales=step.scale_)
    if getattr(step, "clip", False):
        to.flow.clip([column.number for column in scaled], -1.0, 1.0)
    return scaled


def read_min_max(step: skp.MinMaxScaler, columns: list[Column], to: Conversion, part: str) -> list[Column]:
    """Scale to the range, and limit to it if the scaler does."""
    scaled = _scale(columns, to, part, means=-step.min_ / step.scale_, scales=1.0 / step.scale_)
    if step.clip:
        low, high = step.feature_range
        to.flow.clip([column.number for column in scaled], float(low), float(high))
    return scaled


def _scale(columns: list[Column], to: Conversion, part: str, *, means: Any, scales: Any) -> list[Column]:
    count = len(columns)
    numbers = to.numbers(columns, part)
    to.flow.scale(
        numbers,
        [0.0] * count if means is None else np.asarray(means, dtype=np.float64).tolist(),
        [1.0] * count if scales is None else np.asarray(scales, dtype=np.float64).tolist(),
    )
    to.frozen(part)
    return to.computed(numbers)


def read_power(step: skp.PowerTransformer, columns: list[Column], to: Conversion, part: str) -> list[Column]:
    """Apply the fitted powers, and standardise if the transformer does."""
    if not np.isfinite(step.lambdas_).all():
        to.refuse(part, "a column had no value when it was fitted, so it has no lambda", "leave the column out")
    numbers = to.numbers(columns, part)
    to.flow.power(numbers, step.lambdas_.tolist(), step.method)
    if step.standardize:
        to.flow.scale(numbers, step._scaler.mean_.tolist(), step._scaler.scale_.tolist())
    to.frozen(part)
    return to.computed(numbers)


def read_quantiles(step: skp.QuantileTransformer, columns: list[Column], to: Conversion, part: str) -> list[Column]:
    """Interpolate between the fitted quantiles, and take that quantile of the normal distribution if the transformer does."""
    numbers = to.numbers(columns, part)
    distribution = step.output_distribution
    to.flow.interpolate(numbers, step.quantiles_.T.tolist(), step.references_.tolist(), distribution)
    if distribution == "normal" and any(map(_has_values_near_ends, step.quantiles_.T)):
        to.approximated(
            part,
            f"values within {_NEAR:g} of the smallest and the largest value that it was fitted to are not moved to the end",
        )
    else:
        to.frozen(part)
    return to.computed(numbers)


def _has_values_near_ends(quantiles: Any) -> bool:
    """Return whether an event can have a value, other than the ends, that scikit-learn moves to the end of a column."""
    low, high = float(quantiles[0]), float(quantiles[-1])
    after, before = np.float32(low), np.float32(high)
    after = after if after > low else np.nextafter(after, np.float32(np.inf))
    before = before if before < high else np.nextafter(before, np.float32(-np.inf))
    return bool(low < high and (float(after) - _NEAR < low or float(before) + _NEAR > high))


def read_bins(step: skp.KBinsDiscretizer, columns: list[Column], to: Conversion, part: str) -> list[Column]:
    """Replace numbers by the index of their interval, one-hot encoded if the discretizer does."""
    numbers = to.numbers(columns, part)
    to.flow.bin(numbers, [edges[1:-1].tolist() for edges in step.bin_edges_])
    to.frozen(part)
    if step.encode == "ordinal":
        return to.computed(numbers)
    expanded = to.flow.one_hot(numbers, [int(size) for size in step.n_bins_])
    return to.computed([number for group in expanded for number in group])


def read_binarizer(step: skp.Binarizer, columns: list[Column], to: Conversion, part: str) -> list[Column]:
    """Replace numbers by 1 above the threshold, and 0 otherwise."""
    numbers = to.numbers(columns, part)
    to.flow.bin(numbers, [[math.nextafter(float(step.threshold), math.inf)]] * len(numbers))
    to.frozen(part)
    return to.computed(numbers)


def read_function(step: skp.FunctionTransformer, columns: list[Column], to: Conversion, part: str) -> list[Column]:
    """Apply a function that numpy has; without one, columns pass unchanged."""
    if step.func is None:
        to.frozen(part, "passed unchanged")
        return columns
    name = next((name for name in FUNCTIONS if getattr(np, name) is step.func), None)
    if name is None or step.kw_args:
        to.refuse(
            part,
            f"it runs the code of {getattr(step.func, '__name__', step.func)!r}, which is not read",
            f"compute it before the event is sent, or use a function of numpy without arguments: {', '.join(FUNCTIONS)}",
        )
    numbers = to.numbers(columns, part)
    to.flow.function(numbers, name)
    to.frozen(part)
    return to.computed(numbers)


def read_selection(step: Any, columns: list[Column], to: Conversion, part: str) -> list[Column]:
    """Keep the selected columns."""
    to.numbers(columns, part)
    support: Sequence[bool] = step.get_support().tolist()
    kept = [column for column, chosen in zip(columns, support, strict=True) if chosen]
    if not kept:
        to.refuse(part, "it selects no column", "fit it so that it keeps at least one column")
    to.frozen(part, f"keeps {len(kept)} of {len(columns)} columns")
    return kept


def is_missing(value: object) -> bool:
    """Return whether this stands for a missing value."""
    return (
        value is None
        or (isinstance(value, float | np.floating) and math.isnan(value))
        or type(value).__name__ == "NAType"
    )


NUMERIC_READERS = {
    SimpleImputer: read_imputer,
    MissingIndicator: read_missing_indicator,
    skp.StandardScaler: read_standard,
    skp.RobustScaler: read_robust,
    skp.MaxAbsScaler: read_max_abs,
    skp.MinMaxScaler: read_min_max,
    skp.PowerTransformer: read_power,
    skp.QuantileTransformer: read_quantiles,
    skp.KBinsDiscretizer: read_bins,
    skp.Binarizer: read_binarizer,
    skp.FunctionTransformer: read_function,
    selection.VarianceThreshold: read_selection,
    selection.SelectKBest: read_selection,
    selection.SelectPercentile: read_selection,
    selection.SelectFpr: read_selection,
    selection.SelectFdr: read_selection,
    selection.SelectFwe: read_selection,
    selection.GenericUnivariateSelect: read_selection,
    selection.SelectFromModel: read_selection,
    selection.SequentialFeatureSelector: read_selection,
    selection.RFE: read_selection,
    selection.RFECV: read_selection,
}
