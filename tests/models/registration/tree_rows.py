"""Rows on and around all thresholds of an ensemble, which reach the nodes that compare with them.

Shapes: B rows, F features, N nodes of an ensemble.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.backends.trees.ensemble import TreeEnsemble

_ULPS = (-2, -1, 0, 0, 1, 2)
_LARGEST = float(np.finfo(np.float32).max)
_MISSING_RATE = 0.05
_THRESHOLD_RATE = 0.2


def rows_around_thresholds(
    ensemble: TreeEnsemble, data_NF: FloatArray, sizes: Sequence[int], *, count: int, seed: int = 0
) -> FloatArray:
    """Return about `count` rows: for each split the same number that reach it with a value on its threshold, or at most two
    floats beside it; or with any of its categories, or without a value.

    data_NF: rows of data, which give the values that no split on the way compares.
    sizes: the number of categories of each column; 0 for numbers.
    """
    random = np.random.default_rng(seed)
    splits = np.flatnonzero(ensemble.feature_N >= 0)
    share = -(-count // len(splits))
    parent_N = np.full(ensemble.num_nodes, -1)
    parent_N[ensemble.left_N[splits]] = splits
    parent_N[ensemble.right_N[splits]] = splits
    thresholds = [
        to_float32(ensemble.threshold_N[(ensemble.feature_N == column) & (ensemble.category_N < 0)])
        for column in range(ensemble.rules.num_features)
    ]
    parts = []
    for split in splits.tolist():
        x_BF = data_NF[random.integers(0, len(data_NF), share)].copy()
        _scatter(x_BF, thresholds, sizes, random)
        _guide(x_BF, ensemble, parent_N, split=split, sizes=sizes, random=random)
        x_BF[:, ensemble.feature_N[split]] = _at(ensemble, split, sizes, count=share, random=random)
        parts.append(x_BF)
    rows_BF = np.concatenate(parts)
    random.shuffle(rows_BF)
    return rows_BF


def count_on_threshold(ensemble: TreeEnsemble, x_BF: FloatArray) -> int:
    """Return how many values are exactly on a threshold of their column."""
    is_numeric_N = (ensemble.feature_N >= 0) & (ensemble.category_N < 0)
    return sum(
        int(np.isin(x_BF[:, column], ensemble.threshold_N[is_numeric_N & (ensemble.feature_N == column)]).sum())
        for column in range(ensemble.rules.num_features)
    )


def beside(values: FloatArray, ulps: npt.NDArray[np.int64]) -> FloatArray:
    """Return the floats that are this many steps above or below."""
    found = values.copy()
    for step in range(int(np.abs(ulps).max(initial=0))):
        towards = np.where(ulps > step, _LARGEST, np.where(ulps < -step, -_LARGEST, found)).astype(np.float32)
        found = np.nextafter(found, towards)  # not to infinity, which a worker rejects
    return found


def to_float32(threshold_N: npt.NDArray[np.float64]) -> FloatArray:
    """Return the nearest finite float32 of each threshold."""
    return threshold_N.clip(-_LARGEST, _LARGEST).astype(np.float32)


def _scatter(
    x_BF: FloatArray, thresholds: Sequence[FloatArray], sizes: Sequence[int], random: np.random.Generator
) -> None:
    """Put thresholds of other nodes, floats beside them, and missing values into some places."""
    for column, found in enumerate(thresholds):
        chosen = random.random(len(x_BF)) < _THRESHOLD_RATE
        if len(found) and not sizes[column]:
            at = random.choice(found, int(chosen.sum()))
            x_BF[chosen, column] = beside(at, random.choice(_ULPS, len(at)))
        x_BF[random.random(len(x_BF)) < _MISSING_RATE, column] = np.nan


def _guide(
    x_BF: FloatArray,
    ensemble: TreeEnsemble,
    parent_N: npt.NDArray[np.int64],
    *,
    split: int,
    sizes: Sequence[int],
    random: np.random.Generator,
) -> None:
    """Change the values that the nodes above `split` compare, so that the rows reach it."""
    lowest: dict[int, float] = {}
    highest: dict[int, float] = {}
    codes: dict[int, set[int]] = {}
    child = split
    while (node := int(parent_N[child])) >= 0:
        column, goes_left = int(ensemble.feature_N[node]), bool(ensemble.left_N[node] == child)
        threshold = float(ensemble.threshold_N[node])
        if ensemble.category_N[node] >= 0:
            members = _members(ensemble, node, goes_left, sizes[column])
            codes[column] = codes.get(column, members) & members
        elif goes_left:
            highest[column] = min(highest.get(column, np.inf), threshold)
        else:
            lowest[column] = max(lowest.get(column, -np.inf), threshold)
        child = node
    for column, allowed in codes.items():
        # Without a code that leads there, only a missing value may.
        x_BF[:, column] = random.choice(sorted(allowed), len(x_BF)) if allowed else np.nan
    for column in sorted({*lowest, *highest}):
        x_BF[:, column] = _between(
            lowest.get(column, -np.inf), highest.get(column, np.inf), x_BF[:, column], random=random
        )


def _between(low: float, high: float, x_B: FloatArray, *, random: np.random.Generator) -> FloatArray:
    """Return values in the interval: those that are, and others next to its ends."""
    if low >= _LARGEST:  # only missing values go to the right
        return np.full(len(x_B), np.nan, dtype=np.float32)
    inner = [beside(to_float32(np.array([low])), np.array([1]))] if low > -np.inf else []
    inner += [beside(to_float32(np.array([high])), np.array([-1]))] if high < np.inf else []
    ends = np.concatenate(inner)
    x64_B = x_B.astype(np.float64)
    is_inside_B = (x64_B > low) & (x64_B < high)
    found_B: FloatArray = np.where(is_inside_B, x_B, random.choice(ends, len(x_B)))
    return found_B


def _members(ensemble: TreeEnsemble, node: int, goes_left: bool, num_categories: int) -> set[int]:
    categories, split = ensemble.categories, int(ensemble.category_N[node])
    start, size = int(categories.start_C[split]), int(categories.size_C[split])
    left = {code for code in range(size) if int(categories.words_W[start + code // 32]) >> code % 32 & 1}
    return left if goes_left else set(range(num_categories)) - left


def _at(
    ensemble: TreeEnsemble, split: int, sizes: Sequence[int], *, count: int, random: np.random.Generator
) -> FloatArray:
    column = int(ensemble.feature_N[split])
    if sizes[column]:
        found = random.integers(0, sizes[column], count).astype(np.float32)
    else:
        threshold = np.repeat(to_float32(ensemble.threshold_N[[split]]), count)
        found = beside(threshold, random.choice(_ULPS, count))
    found[random.random(count) < _MISSING_RATE] = np.nan
    return found
