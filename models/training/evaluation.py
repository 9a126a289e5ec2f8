"""What the report says of a trained model: confusion, calibration, importance and slices.

Shapes: N rows, F features, K classes, R sampled rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.preparation import prepare
from forebay.models.artefacts.signature import Task
from forebay.models.serving.scoring import score
from forebay.models.training.fitted_model import FittedModel
from forebay.models.training.prepared_data import PreparedData

NUM_BINS: Final = 10
_IMPORTANCE_ROWS: Final = 20_000
_MAX_IMPORTANCES: Final = 200
_SLICE_ROWS: Final = 200_000
_MAX_SLICE_VALUES: Final = 8
_MIN_SLICE_ROWS: Final = 20


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """Rows whose probability lies in one tenth: how many, their mean probability, and the share that was of the class."""

    rows: int
    predicted: float
    observed: float


@dataclass(frozen=True, slots=True)
class Importance:
    """How much the metric loses when a feature's values are shuffled among the rows."""

    feature: str
    loss_of_metric: float


@dataclass(frozen=True, slots=True)
class Slice:
    """The metric of the rows with one value, or a quarter of the values, of a feature."""

    feature: str
    value: str
    rows: int
    metric: float


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """The evaluation of a model on the rows of `part`.

    metric: the name of the metric of importances and slices: accuracy, or mean absolute error.
    confusion: rows by true class, then by predicted class; empty for regression.
    calibration: of the probability of the last class (binary) or the predicted class; empty for regression.
    residuals: quantiles 0, 5, 25, 50, 75, 95 and 100 % of true minus predicted; empty for classes.
    """

    part: str
    metric: str
    overall: float
    confusion: tuple[tuple[int, ...], ...]
    calibration: tuple[CalibrationBin, ...]
    residuals: tuple[float, ...]
    importances: tuple[Importance, ...]
    slices: tuple[Slice, ...]


def evaluate_model(data: PreparedData, fitted: FittedModel, seed: int) -> Evaluation:
    """Return the evaluation on the test rows, or on the validation rows if there are none."""
    part, rows = ("test", data.test) if data.test is not None else ("validation", data.validation)
    task = data.signature.task
    outputs_NO = fitted.predict(rows.x)
    y_N = np.asarray(rows.y)
    quality = _quality(task)
    values_N = quality(outputs_NO, y_N)
    confusion: tuple[tuple[int, ...], ...] = ()
    calibration: tuple[CalibrationBin, ...] = ()
    residuals: tuple[float, ...] = ()
    if task == "regression":
        quantiles = np.quantile(y_N.astype(np.float64) - outputs_NO, [0, 0.05, 0.25, 0.5, 0.75, 0.95, 1])
        residuals = tuple(float(value) for value in quantiles)
    else:
        confusion, calibration = _of_classes(outputs_NO, y_N, task, data.signature.num_classes)
    return Evaluation(
        part,
        "mean absolute error" if task == "regression" else "accuracy",
        overall=float(values_N.mean()),
        confusion=confusion,
        calibration=calibration,
        residuals=residuals,
        importances=_importances(data, fitted, part, seed) if data.signature.window is None else (),
        slices=_slices(data, part, values_N) if data.signature.window is None else (),
    )


def _quality(task: Task) -> Callable[[FloatArray, npt.NDArray[np.generic]], npt.NDArray[np.float64]]:
    """Return the function that gives each row's part of the metric [N]."""

    def error(outputs_NO: FloatArray, y_N: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
        errors_NO = np.abs(outputs_NO.astype(np.float64) - y_N.astype(np.float64))
        return np.asarray(errors_NO.mean(axis=1))

    def hit(outputs_NO: FloatArray, y_N: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
        classes_N = score(outputs_NO, task).classes_B
        return np.asarray(classes_N == y_N.astype(np.int64), dtype=np.float64)

    return error if task == "regression" else hit


def _of_classes(
    outputs_NO: FloatArray, y_N: npt.NDArray[np.generic], task: Task, num_classes: int
) -> tuple[tuple[tuple[int, ...], ...], tuple[CalibrationBin, ...]]:
    scores = score(outputs_NO, task)
    assert scores.classes_B is not None and scores.confidences_B is not None
    true_N, predicted_N = y_N.astype(np.int64), scores.classes_B
    counts = np.bincount(true_N * num_classes + predicted_N, minlength=num_classes**2)
    confusion = tuple(tuple(row) for row in counts.reshape(num_classes, num_classes).tolist())
    if task == "binary":
        probability_N, is_class_N = scores.values_BO[:, 0].astype(np.float64), true_N == 1
    else:
        probability_N, is_class_N = scores.confidences_B.astype(np.float64), true_N == predicted_N
    bins_N = np.minimum((probability_N * NUM_BINS).astype(np.int64), NUM_BINS - 1)
    rows = np.bincount(bins_N, minlength=NUM_BINS)
    predicted = np.bincount(bins_N, weights=probability_N, minlength=NUM_BINS)
    observed = np.bincount(bins_N, weights=is_class_N, minlength=NUM_BINS)
    calibration = tuple(
        CalibrationBin(int(rows[number]), predicted[number] / rows[number], observed[number] / rows[number])
        for number in range(NUM_BINS)
        if rows[number]
    )
    return confusion, calibration


def _importances(data: PreparedData, fitted: FittedModel, part: str, seed: int) -> tuple[Importance, ...]:
    """Return how much worse the metric becomes by shuffling each feature, the largest first."""
    signature = data.signature
    rows_R = _spread(data.split.parts()[part], _IMPORTANCE_ROWS)
    x_RF = np.ascontiguousarray(data.table.x_NF[rows_R])
    y_R = np.asarray(data.table.y_N[rows_R])
    y_R = y_R[:, None] if signature.task == "regression" else y_R
    quality = _quality(signature.task)
    sign = 1.0 if signature.task == "regression" else -1.0
    usual = float(quality(fitted.predict(prepare(signature, data.preprocessing, x_RF)), y_R).mean())
    found = []
    for place, feature in enumerate(signature.column_features[:_MAX_IMPORTANCES]):
        shuffled_RF = x_RF.copy()
        np.random.default_rng((seed, 3, place)).shuffle(shuffled_RF[:, place])
        value = float(quality(fitted.predict(prepare(signature, data.preprocessing, shuffled_RF)), y_R).mean())
        found.append(Importance(feature.name, sign * (value - usual)))
    return tuple(sorted(found, key=lambda item: -item.loss_of_metric))


def _slices(data: PreparedData, part: str, values_N: npt.NDArray[np.float64]) -> tuple[Slice, ...]:
    """Return the metric of the most frequent values of each text, and of the quarters of each number."""
    rows = data.split.parts()[part]
    sampled = np.arange(min(len(rows), _SLICE_ROWS)) * len(rows) // min(len(rows), _SLICE_ROWS)
    found = []
    for place, feature in enumerate(data.signature.column_features[:_MAX_IMPORTANCES]):
        x_R = np.asarray(data.table.x_NF[rows[sampled], place])
        value_R = values_N[sampled]
        groups: dict[str, npt.NDArray[np.bool_]] = {}
        if feature.dtype == "category":
            codes, counts = np.unique(x_R[~np.isnan(x_R)], return_counts=True)
            for code in codes[np.argsort(-counts, kind="stable")][:_MAX_SLICE_VALUES].astype(int).tolist():
                name = feature.categories[code] if code < len(feature.categories) else "other"
                groups[name] = x_R == code
        elif feature.dtype == "float32" and not np.isnan(x_R).all():
            edges = np.unique(np.nanquantile(x_R.astype(np.float64), [0, 0.25, 0.5, 0.75, 1]))
            for low, high in pairwise(edges.tolist()):
                is_last = high == float(edges[-1])
                groups[f"{low:.4g} to {high:.4g}"] = (x_R >= low) & ((x_R <= high) if is_last else (x_R < high))
        groups["missing"] = np.isnan(x_R)
        found += [
            Slice(feature.name, name, int(is_in_R.sum()), float(value_R[is_in_R].mean()))
            for name, is_in_R in groups.items()
            if is_in_R.sum() >= _MIN_SLICE_ROWS
        ]
    return tuple(found)


def _spread(rows: npt.NDArray[np.int64], limit: int) -> npt.NDArray[np.int64]:
    count = min(limit, len(rows))
    return rows[np.arange(count) * len(rows) // max(1, count)]
