"""Find outliers among whole rows with scikit-learn's isolation forest and local outlier factor.

Shapes: N rows, K columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.preprocessing.isolation_forest import LEAF, IsolationForest
from forebay.models.preparation.errors import fit_error
from forebay.models.preparation.training_rows import BoolArray, TrainingRows


def rows_without_gaps(rows: TrainingRows, columns: Sequence[int], method: str) -> FloatArray:
    """Return the columns. Raises ModelError(kind="fit") if a value is missing or there is one row."""
    for place in columns:
        if len(rows.present(place)) < len(rows.x_NF):
            raise fit_error(
                f"the column {rows.names[place]!r} has missing values, which {method} does not take",
                "put a step impute or drop_missing before this one",
            )
    if len(rows.x_NF) < 2:
        raise fit_error("there is one training row, which no other is like", "give more training rows")
    return rows.x_NF[:, list(columns)]


def fit_isolation_forest(rows: TrainingRows, columns: tuple[int, ...], contamination: float | None) -> IsolationForest:
    """Return a forest that was fitted to the columns of these rows, as a frozen step."""
    from sklearn import ensemble

    x_NK = rows_without_gaps(rows, columns, "isolation_forest")
    forest = ensemble.IsolationForest(
        contamination="auto" if contamination is None else contamination, random_state=rows.seed
    )
    return freeze(forest.fit(x_NK), rows, columns)


def freeze(forest: Any, rows: TrainingRows, columns: tuple[int, ...]) -> IsolationForest:
    """Return scikit-learn's fitted IsolationForest, whose trees take all its columns, as a frozen step."""
    trees = [_lists(estimator.tree_) for estimator in forest.estimators_]
    return IsolationForest(
        rows.width,
        columns,
        splits=tuple(splits for splits, _, _ in trees),
        thresholds=tuple(thresholds for _, thresholds, _ in trees),
        samples=tuple(samples for _, _, samples in trees),
        max_samples=int(forest.max_samples_),
        offset=float(forest.offset_),
        names=tuple(rows.names[place] for place in columns),
    )


def local_inliers(
    rows: TrainingRows, columns: Sequence[int], contamination: float | None, neighbours: int
) -> BoolArray:
    """Return which rows the local outlier factor finds to be like their neighbours."""
    from sklearn.neighbors import LocalOutlierFactor

    x_NK = rows_without_gaps(rows, columns, "local_outlier_factor")
    factor = LocalOutlierFactor(
        n_neighbors=min(neighbours, len(x_NK) - 1), contamination="auto" if contamination is None else contamination
    )
    return np.asarray(factor.fit_predict(x_NK) > 0)


def _lists(tree: Any) -> tuple[tuple[int, ...], tuple[float, ...], tuple[int, ...]]:
    """Return the columns of a tree's nodes, the thresholds of its splits and the rows of its leaves, left before right."""
    splits, thresholds, samples = [], [], []
    waiting = [0]
    while waiting:
        node = waiting.pop()
        if tree.children_left[node] < 0:
            splits.append(LEAF)
            samples.append(int(tree.n_node_samples[node]))
            continue
        splits.append(int(tree.feature[node]))
        thresholds.append(float(tree.threshold[node]))
        waiting += [int(tree.children_right[node]), int(tree.children_left[node])]
    return tuple(splits), tuple(thresholds), tuple(samples)
