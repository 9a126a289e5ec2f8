"""Select the columns that say most, or that say something other columns do not.

Shapes: N rows, K chosen columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from forebay.models.preparation.columns import keep_columns
from forebay.models.preparation.errors import fit_error
from forebay.models.preparation.recipe_step import FittedStep, Options
from forebay.models.preparation.recipe_table import RecipeTable
from forebay.models.preparation.training_rows import BoolArray, ColumnChoice, TrainingRows, listed

_THRESHOLDS: Final = {"variance": 0.0, "correlation": 0.95}
_SUPERVISED: Final = ("mutual_information", "chi_square", "recursive_elimination")


@dataclass(frozen=True, slots=True)
class SelectStep(Options):
    """Keeps some of the chosen columns, and all that are not chosen.

    method: `variance`: keep those whose variance (ddof 0) is above `threshold`. `correlation`: of two columns whose correlation
        is above `threshold` or below minus `threshold`, keep the first. `mutual_information`, `chi_square`: keep the `k` that
        say most about the label. `recursive_elimination`: remove the column with the smallest weight in a linear or logistic
        regression on standardised columns, until `k` are left.
    """

    kind: ClassVar[str] = "select"
    method: str
    columns: ColumnChoice = "numbers"
    threshold: float | None = None
    k: int | None = None

    @classmethod
    def read(cls, table: RecipeTable) -> SelectStep:
        """Return the step in a table of a recipe."""
        method = table.text("method", (*_THRESHOLDS, *_SUPERVISED))
        key = "threshold" if method in _THRESHOLDS else "k"
        table.reject_unknown_keys(("step", "method", "columns", key))
        threshold = None
        if method in _THRESHOLDS:
            maximum = 1.0 if method == "correlation" else np.inf
            threshold = table.number("threshold", default=_THRESHOLDS[method], minimum=0.0, maximum=maximum)
        k = table.integer("k", 1) if method in _SUPERVISED else None
        return cls(method, table.columns(default="numbers"), threshold, k)

    def fit(self, rows: TrainingRows) -> FittedStep:
        columns = rows.choose_numbers(self.columns)
        if self.method in _SUPERVISED:
            is_kept_K = self._supervised(rows, columns)
        elif self.method == "variance":
            present = [rows.present(place) for place in columns]
            is_kept_K = np.array([len(values) > 0 and values.var() > self.threshold for values in present], dtype=bool)
        else:
            for place in columns:
                rows.present(place)  # raises for infinite values
            is_kept_K = first_of_correlated(rows.x_NF[:, list(columns)], float(self.threshold or 0.0))
        dropped = {place for place, is_kept in zip(columns, is_kept_K, strict=True) if not is_kept}
        names = listed([rows.names[place] for place in sorted(dropped)]) or "none"
        note = f"{len(dropped)} of {len(columns)} columns are dropped ({self.method}): {names}"
        return keep_columns(rows, [place for place in range(rows.width) if place not in dropped], note)

    def _supervised(self, rows: TrainingRows, columns: Sequence[int]) -> BoolArray:
        k = self.k or 1
        if k >= len(columns):
            return np.ones(len(columns), dtype=bool)
        if rows.y_N is None or rows.task is None:
            raise fit_error(
                f"{self.method} needs the labels of the training rows", 'use method = "variance" or "correlation"'
            )
        for place in columns:
            if len(rows.present(place)) < len(rows.x_NF):
                raise fit_error(
                    f"the column {rows.names[place]!r} has missing values, which {self.method} does not take",
                    "put a step impute or drop_missing before this one",
                )
        x_NK = rows.x_NF[:, list(columns)].astype(np.float64)
        is_class = rows.task != "regression"
        if self.method == "recursive_elimination":
            return _eliminate(x_NK, rows.y_N, k, is_class=is_class)
        if self.method == "chi_square":
            scores_K = _chi_square(x_NK, rows.y_N, [rows.names[place] for place in columns], is_class=is_class)
        else:
            scores_K = _mutual_information(x_NK, rows.y_N, is_class=is_class, seed=rows.seed)
        # Of equal scores, the first columns are kept.
        kept = np.argsort(-scores_K, kind="stable")[:k]
        return np.isin(np.arange(len(columns)), kept)


def first_of_correlated(x_NK: npt.NDArray[np.float32], threshold: float) -> BoolArray:
    """Return which columns are kept: those without a stronger correlation than `threshold` to a kept column before them.

    Each pair is compared on the rows in which both have a value. A constant column is not correlated.
    """
    is_present_NK = ~np.isnan(x_NK)
    counts_K = np.maximum(is_present_NK.sum(axis=0), 1)
    centred_NK = np.where(is_present_NK, x_NK, 0.0).astype(np.float64)
    centred_NK = np.where(is_present_NK, centred_NK - centred_NK.sum(axis=0) / counts_K, 0.0)
    # Unit scale, so that squares neither overflow nor vanish.
    largest_K = np.abs(centred_NK).max(axis=0, initial=0.0)
    centred_NK /= np.where(largest_K > 0, largest_K, 1.0)
    mask_NK = is_present_NK.astype(np.float64)
    count_KK = np.maximum(mask_NK.T @ mask_NK, 1.0)
    sum_KK = centred_NK.T @ mask_NK  # of the first column, on the rows of both
    square_KK = (centred_NK**2).T @ mask_NK - sum_KK**2 / count_KK
    product_KK = centred_NK.T @ centred_NK - sum_KK * sum_KK.T / count_KK
    is_constant_K = largest_K == 0
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation_KK = np.abs(product_KK) / np.sqrt(np.maximum(square_KK, 0) * np.maximum(square_KK.T, 0))
    is_kept_K = np.ones(x_NK.shape[1], dtype=bool)
    for column in range(1, x_NK.shape[1]):
        before = np.flatnonzero(is_kept_K[:column] & ~is_constant_K[:column])
        is_kept_K[column] = is_constant_K[column] or not (correlation_KK[before, column] > threshold).any()
    return is_kept_K


def _chi_square(
    x_NK: npt.NDArray[Any], y_N: npt.NDArray[Any], names: Sequence[str], *, is_class: bool
) -> npt.NDArray[Any]:
    from sklearn.feature_selection import chi2

    if not is_class:
        raise fit_error("chi_square needs classes as labels", 'use method = "mutual_information"')
    if negative := [name for name, values in zip(names, x_NK.T, strict=True) if values.min() < 0]:
        raise fit_error(
            f"chi_square takes counts and other values from 0 upwards; negative: {listed(negative)}",
            'put a step min_max before this one, or use method = "mutual_information"',
        )
    scores_K: npt.NDArray[Any] = np.nan_to_num(chi2(x_NK, y_N)[0], nan=-1.0)
    return scores_K


def _mutual_information(
    x_NK: npt.NDArray[Any], y_N: npt.NDArray[Any], *, is_class: bool, seed: int
) -> npt.NDArray[Any]:
    from sklearn.feature_selection import mutual_info_classif, mutual_info_regression

    score = mutual_info_classif if is_class else mutual_info_regression
    neighbours = min(3, len(x_NK) - 1)
    if neighbours < 1:
        raise fit_error("mutual_information needs at least two training rows", "give more training rows")
    scores_K: npt.NDArray[Any] = score(x_NK, y_N, n_neighbors=neighbours, random_state=seed)
    return scores_K


def _eliminate(x_NK: npt.NDArray[Any], y_N: npt.NDArray[Any], k: int, *, is_class: bool) -> BoolArray:
    from sklearn.feature_selection import RFE
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.preprocessing import StandardScaler

    if is_class and len(np.unique(y_N)) < 2:
        raise fit_error("recursive_elimination needs at least two classes in the training rows", "give more rows")
    estimator = LogisticRegression(max_iter=1000) if is_class else LinearRegression()
    chosen = RFE(estimator, n_features_to_select=k).fit(StandardScaler().fit_transform(x_NK), y_N)
    return np.asarray(chosen.get_support())
