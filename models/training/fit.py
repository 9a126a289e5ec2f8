"""Fit the frozen preprocessing on training data, offline.

Shapes: N training rows, F columns. NaN means missing. Everything is computed in float64, one column at a
time, so that a large training set is never copied as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.preprocessing import Impute, OneHot, Preprocessing, Standardise, Step
from forebay.models.artefacts.signature import Signature
from forebay.schemas.errors import ModelError, TensorError

Strategy = Literal["mean", "median", "mode"]
STRATEGIES: Final = ("mean", "median", "mode")


def fit_impute(x_NF: FloatArray, columns: Sequence[int], strategy: Strategy) -> Impute:
    """Return the step that replaces missing values by a column's mean, median, or (smallest) most frequent value.

    Raises ModelError(kind="fit") for a column that has no value or an infinite one, TensorError for a
    wrong shape.
    """
    if strategy not in STRATEGIES:
        raise _error(f"the strategy is {strategy!r}", f"choose {', '.join(STRATEGIES)}")
    _check_rows(x_NF)
    values = tuple(_summary(_present(x_NF, column), strategy) for column in columns)
    return Impute(x_NF.shape[1], tuple(columns), values, strategy)


def fit_standardise(x_NF: FloatArray, columns: Sequence[int]) -> Standardise:
    """Return the step that standardises columns by their mean and population standard deviation, without missing values.

    A column with a single value gets the scale 1. Raises ModelError(kind="fit") for a column that has no
    value or an infinite one, TensorError for a wrong shape.
    """
    _check_rows(x_NF)
    means, scales = [], []
    for column in columns:
        present_N = _present(x_NF, column)
        varies = present_N.min() < present_N.max()
        means.append(float(present_N.mean()))
        scales.append(float(present_N.std()) if varies else 1.0)
    return Standardise(x_NF.shape[1], tuple(columns), tuple(means), tuple(scales))


def fit_preprocessing(
    signature: Signature, x_NF: FloatArray, *, impute: Strategy | None = "mean", standardise: bool = True
) -> Preprocessing:
    """Return the usual three steps for a signature: impute, standardise, one-hot.

    Nullable float32 features are imputed (unless `impute` is None) and all float32 features are standardised
    (if `standardise`). Category and hashed features are one-hot encoded; a missing one becomes all zeros. The order
    of the output columns is that of `OneHot`.

    Raises ModelError(kind="fit") for a missing value of a feature that is not nullable, TensorError for a wrong shape.
    """
    _check_rows(x_NF)
    if x_NF.shape[1] != signature.num_features:
        raise TensorError(
            f"the training rows have {x_NF.shape[1]} columns; the signature has {signature.num_features}",
            remedy="give one column for each feature, in the signature's order",
        )
    features = signature.column_features
    texts = [column for column, feature in enumerate(features) if feature.is_text]
    numbers = sorted(set(range(signature.num_features)) - set(texts))
    nullable = {column for column, feature in enumerate(features) if feature.nullable}
    for column in range(signature.num_features):
        if column not in nullable and np.isnan(x_NF[:, column]).any():
            name = features[column].name if features else f"number {column}"
            raise _error(f"feature {name} has missing values and is not nullable", "make it nullable in the signature")
    steps: list[Step] = []
    imputed = [column for column in numbers if column in nullable]
    if imputed and impute is not None:
        step = fit_impute(x_NF, imputed, impute)
        steps.append(step)
        x_NF = step.apply(x_NF)
    if numbers and standardise:
        steps.append(fit_standardise(x_NF, numbers))
    if texts:
        sizes = tuple(features[column].num_codes for column in texts)
        steps.append(OneHot(signature.num_features, tuple(texts), sizes))
    return Preprocessing(tuple(steps))


def _check_rows(x_NF: FloatArray) -> None:
    if x_NF.dtype != np.float32 or x_NF.ndim != 2 or len(x_NF) == 0:
        raise TensorError(
            f"fitting takes float32 [N, F] with at least one row; this is {x_NF.dtype} {list(x_NF.shape)}",
            remedy="give the training rows as one float32 matrix",
        )


def _present(x_NF: FloatArray, column: int) -> npt.NDArray[np.float64]:
    if not 0 <= column < x_NF.shape[1]:
        raise _error(f"there is no column {column}", f"choose from 0 to {x_NF.shape[1] - 1}")
    values_N = x_NF[:, column]
    present_N = values_N[~np.isnan(values_N)].astype(np.float64)
    if len(present_N) == 0:
        raise _error(f"column {column} has no value in any training row", "leave the feature out of the model")
    if not np.isfinite(present_N).all():
        raise _error(f"column {column} has infinite values", "clean the training rows")
    return present_N


def _summary(present_N: npt.NDArray[np.float64], strategy: Strategy) -> float:
    match strategy:
        case "mean":
            return float(present_N.mean())
        case "median":
            return float(np.median(present_N))
        case "mode":
            values, counts = np.unique(present_N, return_counts=True)
            return float(values[counts.argmax()])


def _error(problem: str, remedy: str) -> ModelError:
    return ModelError(f"the preprocessing cannot be fitted: {problem}", kind="fit", remedy=remedy)
