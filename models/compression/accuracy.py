"""What a smaller model loses, on held-out rows, against the model that it was made from; by slice too.

The loss of a classifier is the difference of the accuracies; that of a regression is the relative increase of the root mean
squared error. Below 0 the smaller model is better.

Shapes: N rows, O outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.signature import Signature
from forebay.models.backends.protocol import Scores
from forebay.models.compression.paired_tests import McNemar, mcnemar
from forebay.models.compression.training_rows import Part
from forebay.models.measurement.intervals import Interval, mean_interval
from forebay.models.serving.served_model import ServedModel
from forebay.schemas.errors import ConfigError

MIN_SLICE_ROWS: Final = 30
"""Slices with fewer rows are not judged: a single row would be more than 3 %."""
_MAX_VALUES: Final = 20
_BLOCK: Final = 4_096

BoolArray = npt.NDArray[np.bool_]
Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SliceLoss:
    """The loss of the rows of one slice, such as `label=3`."""

    name: str
    rows: int
    loss: float


@dataclass(frozen=True, slots=True)
class AccuracyLoss:
    """The loss of a model.

    metric: "accuracy" or "root_mean_squared_error", of the original and of the other model.
    loss: with its interval over the rows. test: of the classes; None for regression.
    slices: of at least `MIN_SLICE_ROWS` rows, the worst first.
    """

    metric: str
    original: float
    other: float
    loss: Interval
    test: McNemar | None
    slices: tuple[SliceLoss, ...]

    @property
    def worst_slice(self) -> SliceLoss | None:
        """The slice with the largest loss; None if no slice has enough rows."""
        return self.slices[0] if self.slices else None

    def to_dict(self) -> dict[str, object]:
        """Return the loss as JSON values."""
        test = self.test
        return {
            "metric": self.metric,
            "original": self.original,
            "value": self.other,
            "loss": self.loss.to_dict(),
            "mcnemar": None
            if test is None
            else {"only_original": test.only_first, "only_this": test.only_second, "p_value": test.p_value},
            "slices": [{"name": part.name, "rows": part.rows, "loss": part.loss} for part in self.slices],
        }


def row_errors(scores: Scores, part: Part) -> Float64Array:
    """Return the error of each row: 0 or 1 for classes, the mean squared error for values."""
    if scores.classes_B is not None:
        is_wrong_N: BoolArray = scores.classes_B != np.asarray(part.y).astype(np.int64)
        return is_wrong_N.astype(np.float64)
    difference = scores.values_BO.astype(np.float64) - np.asarray(part.y, dtype=np.float64)
    errors_N: Float64Array = (difference * difference).mean(axis=1)
    return errors_N


def predict(model: ServedModel, part: Part) -> Float64Array:
    """Return the error of each row of a model that is served. Rows that the worker would reject are not in the part."""
    width = part.x_NW.shape[1]
    errors = []
    for start in range(0, len(part), _BLOCK):
        rows = slice(start, start + _BLOCK)
        block = Part(part.x_NW[rows].reshape(-1, width), part.x_NG[rows], part.y[rows])
        errors.append(row_errors(model.forward(model.prepare(np.ascontiguousarray(block.x_NW))), block))
    return np.concatenate(errors)


def accuracy_loss(
    original_N: Float64Array,
    other_N: Float64Array,
    *,
    is_classifier: bool,
    slices: Mapping[str, BoolArray],
    random: np.random.Generator,
) -> AccuracyLoss:
    """Return the loss. original_N, other_N: the errors of each row, as `predict` returns them."""
    found = []
    for name, is_in_N in slices.items():
        rows = int(is_in_N.sum())
        if rows >= MIN_SLICE_ROWS:
            found.append(SliceLoss(name, rows, _loss(original_N[is_in_N], other_N[is_in_N], is_classifier)))
    found.sort(key=lambda part: -part.loss)
    if is_classifier:
        interval = mean_interval(other_N - original_N, random)
        test = mcnemar(original_N == 0, other_N == 0)
        values = 1 - original_N.mean(), 1 - other_N.mean()
    else:
        interval = _relative_interval(original_N, other_N, random)
        test = None
        values = np.sqrt(original_N.mean()), np.sqrt(other_N.mean())
    return AccuracyLoss(
        "accuracy" if is_classifier else "root_mean_squared_error",
        float(values[0]),
        float(values[1]),
        loss=interval,
        test=test,
        slices=tuple(found),
    )


def _loss(original_N: Float64Array, other_N: Float64Array, is_classifier: bool) -> float:
    if is_classifier:
        return float(other_N.mean() - original_N.mean())
    floor = float(np.finfo(np.float32).tiny)
    return float(np.sqrt(other_N.mean() / max(original_N.mean(), floor)) - 1)


def _relative_interval(original_N: Float64Array, other_N: Float64Array, random: np.random.Generator) -> Interval:
    num = len(original_N)
    found = []
    for _ in range(1_000):
        rows = random.integers(0, num, num)
        found.append(_loss(original_N[rows], other_N[rows], is_classifier=False))
    low, high = np.quantile(found, [0.025, 0.975])
    return Interval(_loss(original_N, other_N, is_classifier=False), float(low), float(high))


def slices_of(signature: Signature, part: Part, columns: Sequence[str]) -> dict[str, BoolArray]:
    """Return the slices: one for each class, and for each value, or quarter of the values, of the given features.

    Raises ConfigError for a feature that the model does not have.
    """
    found: dict[str, BoolArray] = {}
    if signature.task != "regression":
        classes_N = np.asarray(part.y).astype(np.int64)
        for index in range(signature.num_classes):
            name = signature.labels[index] if signature.labels else str(index)
            found[f"label={name}"] = classes_N == index
    names = signature.column_names
    for column in columns:
        if column not in names:
            raise ConfigError(
                f"there is no feature {column!r} to slice by", kind="slice", remedy=f"choose {', '.join(names[:12])}"
            )
        place = names.index(column)
        feature = signature.column_features[place]
        found.update(_slices_of_column(column, part.x_NW[:, place], feature.categories))
    return found


def _slices_of_column(name: str, value_N: FloatArray, categories: Sequence[str]) -> Iterator[tuple[str, BoolArray]]:
    values = np.unique(value_N[~np.isnan(value_N)])
    if np.isnan(value_N).any():
        yield f"{name} missing", np.isnan(value_N)
    if categories or len(values) <= _MAX_VALUES:
        for value in values.tolist():
            code = int(value)
            text = categories[code] if 0 <= code < len(categories) else f"{value:g}"
            yield f"{name}={text}", value_N == value
        return
    edges = np.unique(np.quantile(value_N[~np.isnan(value_N)], [0.25, 0.5, 0.75]))
    quarter_N = np.searchsorted(edges, value_N, side="right")
    for index in range(len(edges) + 1):
        low = "" if index == 0 else f"{edges[index - 1]:g} ≤ "
        high = "" if index == len(edges) else f" < {edges[index]:g}"
        yield f"{low}{name}{high}", (quarter_N == index) & ~np.isnan(value_N)
