"""Metrics of quality, computed from sums. Definitions are those of scikit-learn, where it has them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from forebay.stream.quality.class_sums import UNITS_PER_ONE, ClassSums
from forebay.stream.quality.counts import Counts
from forebay.stream.quality.grids import signed_bucket_values
from forebay.stream.quality.keys import Task
from forebay.stream.quality.regression_sums import RegressionSums
from forebay.stream.quality.sums import QualitySums

Integers = npt.NDArray[np.int64]

ERROR_SHARES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)
DELAY_SHARES: Final = (0.5, 0.9, 0.99)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassMetrics:
    """Metrics of one class. Each is None if there is nothing that it is a share of.

    actual, predicted: number of pairs whose label, and whose prediction, is the class.
    """

    actual: int
    predicted: int
    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Metrics of the pairs under one key. None: not defined for the task or these pairs, or their sums contradict each other.

    predictions, matched, scored: predictions; those with a label; those of them that the metrics are of.
    matched_share: matched / predictions.
    precision, recall, f1: of class 1 if there are two classes; otherwise the mean of all classes that occur, each with the
        same weight (macro).
    weighted_precision, weighted_recall, weighted_f1: with the number of its labels as the weight of each class.
    log_loss: the mean of -ln of the probability that the label's class was given.
    brier: two classes: the mean squared difference of the score and the label; more: the sum of it over all classes.
    roc_auc: two classes; scores in the same one of 1,000 bins count as equal. The exact one differs by at most roc_auc_error.
    calibration_error: the mean difference, over 15 bins, of the mean score and the share that was right (ECE). The score is the
        probability of class 1 if there are two classes, otherwise that of the predicted class.
    confusion: rows are actual classes, columns predicted ones; None above 50 classes.
    bias: the mean of prediction - actual value.
    r2: None if all actual values are equal.
    error_quantiles, delay_ms_quantiles: by share; each at most 5 % off.
    """

    task: Task
    predictions: int
    matched: int
    scored: int
    matched_share: float | None
    accuracy: float | None = None
    precision: float | None = None
    recall: float | None = None
    f1: float | None = None
    weighted_precision: float | None = None
    weighted_recall: float | None = None
    weighted_f1: float | None = None
    log_loss: float | None = None
    brier: float | None = None
    roc_auc: float | None = None
    roc_auc_error: float | None = None
    calibration_error: float | None = None
    mean_absolute_error: float | None = None
    root_mean_squared_error: float | None = None
    r2: float | None = None
    bias: float | None = None
    confusion: list[list[int]] | None = None
    by_class: tuple[ClassMetrics, ...] = ()
    error_quantiles: Mapping[float, float] | None = None
    delay_ms_quantiles: Mapping[float, float] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the metrics as JSON values, without those that are not defined."""
        document: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "by_class":
                value = [{part.name: getattr(each, part.name) for part in fields(each)} for each in value] or None
            elif isinstance(value, Mapping):
                value = {f"{share:g}": quantile for share, quantile in value.items()}
            if value is not None:
                document[field.name] = value
        return document


def metrics(sums: QualitySums) -> Metrics:
    """Return the metrics of sums. Never raises: sums of a topic may be of anything, and negative."""
    values: dict[str, Any] = {"delay_ms_quantiles": _quantiles(sums.delay_ms, DELAY_SHARES)}
    if sums.scored > 0:
        if sums.classification is not None:
            values |= _classification(sums.classification)
        if sums.regression is not None:
            values |= _regression(sums.regression)
    return Metrics(
        task=sums.task,
        predictions=sums.predictions,
        matched=sums.matched,
        scored=sums.scored,
        matched_share=_share(sums.matched, sums.predictions),
        **values,
    )


def _classification(sums: ClassSums) -> dict[str, Any]:
    rows = sums.rows
    if rows <= 0:
        return {}
    matrix = None if sums.confusion is None else sums.confusion.dense().reshape(sums.num_classes, sums.num_classes)
    hits, predicted, actual = _class_counts(sums, matrix)
    by_class = tuple(map(_class_metrics, hits.tolist(), predicted.tolist(), actual.tolist()))
    values: dict[str, Any] = {
        "accuracy": _share(int(hits.sum()), rows),
        "log_loss": _mean(sums.log_loss / UNITS_PER_ONE, rows),
        "brier": _mean(sums.brier / UNITS_PER_ONE, rows),
        "calibration_error": _calibration_error(sums.calibration),
        "confusion": None if matrix is None else matrix.tolist(),
        "by_class": by_class,
    }
    if sums.is_binary:
        one = by_class[1]
        values |= {"precision": one.precision, "recall": one.recall, "f1": one.f1}
        values["roc_auc"], values["roc_auc_error"] = roc_auc(sums.hit_scores.dense(), sums.miss_scores.dense())
        return values
    occurring = [each for each in by_class if each.actual or each.predicted]
    for name in ("precision", "recall", "f1") if occurring else ():
        # As in scikit-learn, what is not defined for a class counts as 0.
        parts = [getattr(each, name) or 0.0 for each in occurring]
        values[name] = sum(parts) / len(parts)
        weighted = sum(part * each.actual for part, each in zip(parts, occurring, strict=True))
        values[f"weighted_{name}"] = _mean(weighted, rows)
    return values


def _class_counts(sums: ClassSums, matrix: Integers | None) -> tuple[Integers, Integers, Integers]:
    if matrix is not None:
        return np.diagonal(matrix), matrix.sum(axis=0), matrix.sum(axis=1)
    assert sums.class_hits is not None
    assert sums.class_predicted is not None
    assert sums.class_actual is not None
    return sums.class_hits.dense(), sums.class_predicted.dense(), sums.class_actual.dense()


def _class_metrics(hits: int, predicted: int, actual: int) -> ClassMetrics:
    return ClassMetrics(
        actual=actual,
        predicted=predicted,
        precision=_share(hits, predicted),
        recall=_share(hits, actual),
        f1=_share(2 * hits, predicted + actual),
    )


def _share(part: int, total: int) -> float | None:
    return part / total if 0 <= part <= total and total > 0 else None


def _mean(total: float, rows: int) -> float | None:
    """Return the mean of numbers that are not negative."""
    return total / rows if total >= 0 else None


def _calibration_error(calibration: Integers) -> float | None:
    if calibration.min() < 0:
        return None
    rows, scores, hits = calibration.tolist()
    difference = sum(abs(score - hit * UNITS_PER_ONE) for score, hit in zip(scores, hits, strict=True))
    return float(difference / UNITS_PER_ONE / sum(rows))


def roc_auc(hits: npt.NDArray[Any], misses: npt.NDArray[Any]) -> tuple[float | None, float | None]:
    """Return the area under the ROC curve, and how far it is from the exact one at most; None with one class only.

    hits, misses: rows of class 1 and class 0 by the bin of their score.
    """
    if hits.min() < 0 or misses.min() < 0:
        return None, None
    total = float(hits.sum()) * float(misses.sum())
    if total <= 0:
        return None, None
    below = np.cumsum(misses, dtype=np.float64) - misses
    same = 0.5 * float((hits * misses.astype(np.float64)).sum())
    return (float((hits * below).sum()) + same) / total, same / total


def _regression(sums: RegressionSums) -> dict[str, Any]:
    rows = sums.rows
    if rows <= 0:
        return {}
    squared_error = _mean(float(sums.squared_error), rows)
    deviation = sums.squared_actual.fraction - sums.actual.fraction**2 / rows
    return {
        "mean_absolute_error": _mean(float(sums.absolute_error), rows),
        "root_mean_squared_error": None if squared_error is None else math.sqrt(squared_error),
        "bias": float(sums.error) / rows,
        "r2": _r2(sums.squared_error.fraction, deviation),
        "error_quantiles": _quantiles(sums.errors, ERROR_SHARES),
    }


def _r2(squared_error: Fraction, deviation: Fraction) -> float | None:
    """Return the R²; None if it is less than any number, as if the actual values are almost equal."""
    if squared_error < 0 or deviation <= 0:
        return None
    try:
        return float(1 - squared_error / deviation)
    except OverflowError:
        return None


def _quantiles(counts: Counts, shares: tuple[float, ...]) -> Mapping[float, float] | None:
    found = counts.dense()
    cumulative = np.cumsum(found)
    if found.min() < 0 or not cumulative[-1] > 0:
        return None
    ranks = [max(1, math.ceil(share * int(cumulative[-1]))) for share in shares]
    values = signed_bucket_values()[np.searchsorted(cumulative, ranks)]
    return dict(zip(shares, values.tolist(), strict=True))
