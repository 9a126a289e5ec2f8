"""Metrics of predictions, computed in float64. Shapes: N rows, K classes."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from forebay.schemas.errors import TensorError

Array = npt.NDArray[np.generic]

_EPSILON: Final = float(np.finfo(np.float64).eps)


def accuracy(true_N: Array, predicted_N: Array) -> float:
    """Return the fraction of rows whose class was predicted correctly."""
    _check(true_N, predicted_N)
    return float(np.mean(true_N == predicted_N))


def roc_auc(true_N: Array, score_N: Array) -> float | None:
    """Return the probability that a row of class 1 scores above a row of class 0; ties count half.

    Returns None if the rows have only one class, for which it is not defined.
    """
    _check(true_N, score_N)
    is_positive_N = true_N.astype(np.float64) > 0.5
    positives = int(is_positive_N.sum())
    negatives = len(true_N) - positives
    if positives == 0 or negatives == 0:
        return None
    _, group_N, counts = np.unique(score_N.astype(np.float64), return_inverse=True, return_counts=True)
    last_rank = np.cumsum(counts)
    mean_rank_N = (last_rank - (counts - 1) / 2.0)[group_N]
    rank_sum = float(mean_rank_N[is_positive_N].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


def log_loss(true_N: Array, probability: Array) -> float:
    """Return the mean of -log(probability of the true class), in nats.

    Probabilities of 0 and 1 are clipped by float64's epsilon; rows of K probabilities are scaled to a sum of 1.

    probability: [N] or [N, 1] for class 1, or [N, K] with one for each class.
    """
    p = probability.astype(np.float64)
    if p.ndim == 2 and p.shape[1] == 1:
        p = p[:, 0]
    if p.ndim == 1:
        _check(true_N, p)
        p = np.clip(p, _EPSILON, 1 - _EPSILON)
        return float(-np.mean(np.where(true_N.astype(np.float64) > 0.5, np.log(p), np.log1p(-p))))
    class_N = true_N.astype(np.intp)
    if p.ndim != 2 or len(p) != len(true_N) or len(p) == 0 or class_N.min() < 0 or class_N.max() >= p.shape[1]:
        raise TensorError(f"log_loss takes classes below K and probabilities [N, K]; these are {list(p.shape)}")
    p = np.clip(p / p.sum(axis=1, keepdims=True), _EPSILON, 1 - _EPSILON)
    return float(-np.mean(np.log(p[np.arange(len(p)), class_N])))


def mean_absolute_error(true: Array, predicted: Array) -> float:
    """Return the mean of |true - predicted| over all values."""
    _check(true, predicted)
    return float(np.mean(np.abs(true.astype(np.float64) - predicted.astype(np.float64))))


def root_mean_squared_error(true: Array, predicted: Array) -> float:
    """Return the square root of the mean of (true - predicted)² over all values."""
    _check(true, predicted)
    return float(np.sqrt(np.mean((true.astype(np.float64) - predicted.astype(np.float64)) ** 2)))


def _check(true: Array, predicted: Array) -> None:
    if true.shape != predicted.shape or true.size == 0:
        raise TensorError(
            f"metrics compare arrays of one shape with at least one row; these are {list(true.shape)} and "
            f"{list(predicted.shape)}"
        )
