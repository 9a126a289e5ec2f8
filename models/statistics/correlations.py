"""Pearson correlations of all pairs of columns, in one pass and mergeable.

Shapes: F columns, N rows of a batch. For each pair, rows in which both columns have a finite value are used.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


class Correlations:
    """Means, variances and covariances of the pairs of F columns.

    The means are distances from an origin of each column, which keeps the digits of numbers far from zero.
    """

    def __init__(self, num_columns: int) -> None:
        shape = (num_columns, num_columns)
        self._origins = np.zeros(num_columns)
        self._counts = np.zeros(shape)
        self._means, self._squares, self._products = np.zeros(shape), np.zeros(shape), np.zeros(shape)

    def add(self, x_NF: Matrix) -> None:
        """Add rows; NaN is a missing value."""
        part = Correlations(x_NF.shape[1])
        present = ~np.isnan(x_NF)
        part._origins = np.where(present, x_NF, 0.0).sum(axis=0) / np.maximum(present.sum(axis=0), 1)
        distances = np.where(present, x_NF - part._origins, 0.0)
        weights = present.astype(np.float64)
        part._counts = counts = weights.T @ weights
        # [i, j]: of column i, in the rows where column j has a value.
        part._means = means = (distances.T @ weights) / np.maximum(counts, 1)
        part._squares = np.square(distances).T @ weights - counts * np.square(means)
        part._products = distances.T @ distances - counts * means * means.T
        self.merge(part)

    def merge(self, other: Correlations) -> None:
        """Add the rows of another part of the table, which is not changed."""
        unused = np.diagonal(self._counts) == 0
        self._origins = np.where(unused, other._origins, self._origins)
        total = self._counts + other._counts
        share = other._counts / np.maximum(total, 1)
        delta = other._means + (other._origins - self._origins)[:, None] - self._means
        weight = self._counts * share
        self._squares = np.maximum(self._squares + other._squares + weight * np.square(delta), 0.0)
        self._products = self._products + other._products + weight * delta * delta.T
        self._means = self._means + delta * share
        self._counts = total

    def pearson(self) -> Matrix:
        """Return the correlations [F, F]; NaN where fewer than two rows have both values, or one column is constant."""
        with np.errstate(divide="ignore", invalid="ignore"):
            spread = np.sqrt(self._squares) * np.sqrt(self._squares.T)
            found: Matrix = np.clip(self._products / np.where(spread > 0, spread, np.nan), -1.0, 1.0)
        return found
