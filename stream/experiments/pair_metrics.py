"""The metrics of single pairs of a prediction and its label, as whole numbers, so that their sums are exact.

Metrics of classes are whole numbers of units of 2**-32, as in `quality.class_sums`. Errors of a regression have any size. They
are divided into three limbs of 44 bits, with a unit of 2**-60.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from forebay.stream.quality.keys import Task

Scores = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

LIMB_BITS: Final = 44
MAX_ERROR: Final = float(2**35)
"""A pair with a larger error is left out: the sums of squares must not overflow."""

_CLASS_METRICS: Final = ("correct", "log_loss", "brier")
_REGRESSION_METRICS: Final = ("absolute_error", "squared_error")
_CLASS_SCALES: Final = (2.0**-32,)
_REGRESSION_SCALES: Final = (2.0**28, 2.0**-16, 2.0**-60)
_SMALLEST: Final = float(np.finfo(np.float64).eps)
"""Probabilities are not below this in the log loss, as in scikit-learn."""
_TOLERANCE: Final = np.float32(1e-5)


def block_metrics(task: Task) -> tuple[str, ...]:
    """Return the names of the metrics that are summed by block."""
    return _REGRESSION_METRICS if task is Task.REGRESSION else _CLASS_METRICS


def limb_scales(task: Task) -> tuple[float, ...]:
    """Return what one unit of each limb is worth."""
    return _REGRESSION_SCALES if task is Task.REGRESSION else _CLASS_SCALES


class PairMetrics(NamedTuple):
    """Metrics of B pairs.

    units_LMB: limbs x metrics x pairs, in units of the limbs' scales; undefined where not valid.
    valid_B: False where the scores or the label are impossible.
    """

    units_LMB: Integers
    valid_B: npt.NDArray[np.bool_]


def pair_metrics(
    task: Task, scores_BO: Scores, classes_B: npt.NDArray[Any], actual_B: npt.NDArray[np.float64]
) -> PairMetrics:
    """Return the metrics of pairs.

    scores_BO: [B, 1] the probability of class 1, [B, C] of each class, or [B, outputs] of a regression.
    classes_B: the classes that the model decided for; ignored for regression.
    actual_B: the index of the actual class, or the actual value.
    """
    if task is Task.REGRESSION:
        return _regression(scores_BO, actual_B)
    return _classes(scores_BO, classes_B.astype(np.int64), actual_B)


def _classes(scores_BO: Scores, classes_B: Integers, actual_B: npt.NDArray[np.float64]) -> PairMetrics:
    is_binary = scores_BO.shape[1] == 1
    num_classes = 2 if is_binary else scores_BO.shape[1]
    with np.errstate(invalid="ignore"):
        in_range_BO = (scores_BO >= -_TOLERANCE) & (scores_BO <= 1 + _TOLERANCE)  # False for NaN
        valid_B = in_range_BO.all(axis=1) & (classes_B >= 0) & (classes_B < num_classes)
        valid_B &= (actual_B >= 0) & (actual_B < num_classes) & (actual_B == np.floor(actual_B))
    index_B = np.where(valid_B, actual_B, 0).astype(np.int64)
    all_BO = np.clip(np.where(valid_B[:, None], scores_BO, np.float32(0)), np.float32(0), np.float32(1))
    all_BO = all_BO.astype(np.float64)
    if is_binary:
        probability_B = np.where(index_B == 1, all_BO[:, 0], 1 - all_BO[:, 0])
        brier_B = np.square(1 - probability_B)
    else:
        probability_B = all_BO[np.arange(len(all_BO)), index_B]
        brier_B = np.square(all_BO).sum(axis=1) - 2 * probability_B + 1
    losses_B = -np.log(np.clip(probability_B, _SMALLEST, 1 - _SMALLEST))
    values_MB = np.stack([(classes_B == index_B).astype(np.float64), losses_B, brier_B])
    return PairMetrics(np.rint(values_MB / _CLASS_SCALES[0]).astype(np.int64)[None], valid_B)


def _regression(scores_BO: Scores, actual_B: npt.NDArray[np.float64]) -> PairMetrics:
    with np.errstate(invalid="ignore", over="ignore"):
        errors_B = np.abs(scores_BO[:, 0].astype(np.float64) - actual_B)
        valid_B = errors_B <= MAX_ERROR  # False for NaN
    errors_B = np.where(valid_B, errors_B, 0.0)
    rest_MB = np.stack([errors_B, np.square(errors_B)])
    limbs: list[Integers] = []
    for scale in _REGRESSION_SCALES[:-1]:
        limb_MB = np.floor(rest_MB / scale)
        rest_MB = rest_MB - limb_MB * scale
        limbs.append(limb_MB.astype(np.int64))
    limbs.append(np.rint(rest_MB / _REGRESSION_SCALES[-1]).astype(np.int64))
    return PairMetrics(np.stack(limbs), valid_B)
