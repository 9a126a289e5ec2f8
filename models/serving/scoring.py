"""Convert the raw outputs of a model to scores: probabilities, classes and confidences.

Shapes: B rows, O outputs.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.calibration import Calibration
from forebay.models.artefacts.manifest import OutputKind
from forebay.models.artefacts.signature import Task
from forebay.models.backends.protocol import Scores

# Up to this number numpy reduces over classes faster with one contiguous row for each class: 15 µs instead of 45 for
# [512, 2].
_MAX_TRANSPOSED_CLASSES: Final = 16


def scores_of(out_BO: FloatArray, task: Task, outputs: OutputKind) -> Scores:
    """Return the scores for raw outputs of any kind, in new memory. NaN in a row stays NaN."""
    return _score_probabilities(out_BO, task) if outputs == "probabilities" else score(out_BO, task)


def decided(scores: Scores, calibration: Calibration | None, threshold: float | None) -> Scores:
    """Return the scores of a classification after its calibration, with classes by its threshold if it is binary.

    threshold: the smallest score of class 1, compared as float32; None for 0.5.
    """
    if (calibration is None and threshold is None) or scores.classes_B is None:
        return scores
    p_BO = scores.values_BO if calibration is None else calibration.apply(scores.values_BO)
    if p_BO.shape[1] > 1:
        return Scores(p_BO, p_BO.argmax(axis=1).astype(np.int64, copy=False), np.maximum.reduce(p_BO, axis=1))
    p_B = p_BO[:, 0]
    is_one_B = p_B >= np.float32(0.5 if threshold is None else threshold)
    return Scores(p_BO, is_one_B.astype(np.int64), np.where(is_one_B, p_B, 1 - p_B))


def score(out_BO: FloatArray, task: Task) -> Scores:
    """Return the scores for raw outputs, in new memory: unchanged (regression), sigmoid (binary), softmax (multiclass).

    NaN in a row stays NaN; a class with the logit +infinity gives NaN.
    """
    if task == "regression":
        return Scores(out_BO.copy())
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        return _score_binary(out_BO) if task == "binary" else _score_multiclass(out_BO)


def _score_binary(logit_B1: FloatArray) -> Scores:
    # exp is only applied to values that are not positive, so it cannot overflow.
    small_B1 = np.exp(-np.abs(logit_B1))
    p_B1 = np.where(logit_B1 >= 0, 1 / (1 + small_B1), small_B1 / (1 + small_B1))
    p_B = p_B1[:, 0]
    return Scores(p_B1, (p_B >= 0.5).astype(np.int64), np.maximum(p_B, 1 - p_B))


def _score_multiclass(logit_BO: FloatArray) -> Scores:
    if logit_BO.shape[1] <= _MAX_TRANSPOSED_CLASSES:
        p_OB = np.array(logit_BO.T, order="C")
        classes_B, confidences_B = _softmax(p_OB, axis=0)
        return Scores(np.array(p_OB.T, order="C"), classes_B, confidences_B)
    p_BO = logit_BO.copy()
    classes_B, confidences_B = _softmax(p_BO, axis=1)
    return Scores(p_BO, classes_B, confidences_B)


def _softmax(logits: FloatArray, axis: int) -> tuple[npt.NDArray[np.int64], FloatArray]:
    """Convert logits to probabilities in place; return each row's class and its probability."""
    classes_B = logits.argmax(axis)
    logits -= np.maximum.reduce(logits, axis=axis, keepdims=True)
    np.exp(logits, out=logits)
    total = np.add.reduce(logits, axis=axis, keepdims=True)
    logits /= total
    # The largest logit became exp(0) = 1.
    return classes_B.astype(np.int64, copy=False), np.reciprocal(total).reshape(-1)


def _score_probabilities(p_BO: FloatArray, task: Task) -> Scores:
    if task == "binary":
        p_B = p_BO[:, 0]
        return Scores(p_BO.copy(), (p_B >= 0.5).astype(np.int64), np.maximum(p_B, 1 - p_B))
    return Scores(p_BO.copy(), p_BO.argmax(axis=1).astype(np.int64, copy=False), np.maximum.reduce(p_BO, axis=1))
