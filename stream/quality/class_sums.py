"""Sums of quality for models that predict classes, two or more.

Log loss, Brier score and confidence are summed as whole numbers of units of 2**-32 (2.3e-10). So the sums do not depend on the
order of the pairs or on the process that added them, and a pair that is taken back leaves exactly nothing. The mean of many
pairs differs from the mean of the floating-point numbers by at most half a unit.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from forebay.schemas.errors import DataError
from forebay.stream.quality.counts import MAX_COUNT, Counts, CountsDocument
from forebay.stream.quality.grids import CALIBRATION_BINS, SCORE_BINS, calibration_bins, score_bins

Scores = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

UNITS_PER_ONE: Final = 1 << 32
MAX_MATRIX_CLASSES: Final = 50
"""Models with more classes have no confusion matrix, only the counts of each class."""

_MAX_ROWS: Final = 1 << 20
"""Rows that are added at once: sums of whole numbers below 2**53 are exact in float64."""
_MAX_UNITS: Final = 1 << 60
"""The largest sum of a record, in units: of more rows than a process can hold."""
_SMALLEST: Final = float(np.finfo(np.float64).eps)
"""Probabilities are not below this in the log loss, as in scikit-learn."""
_TOLERANCE: Final = np.float32(1e-5)


class CalibrationDocument(msgspec.Struct):
    """Calibration bins as JSON: by bin, the rows, the sum of confidences in units, and the rows that were right."""

    rows: list[int]
    confidence: list[int]
    hits: list[int]


class ClassDocument(msgspec.Struct, kw_only=True):
    """The sums as JSON."""

    log_loss: int
    brier: int
    predicted_scores: CountsDocument
    hit_scores: CountsDocument
    miss_scores: CountsDocument
    calibration: CalibrationDocument
    confusion: CountsDocument | None = None
    class_hits: CountsDocument | None = None
    class_predicted: CountsDocument | None = None
    class_actual: CountsDocument | None = None


class _Rows(NamedTuple):
    """The score of a row, and whether what the score is the probability of happened.

    Two classes: the probability of class 1. More: the probability of the predicted class.
    """

    scores_B: Scores
    hits_B: npt.NDArray[np.bool_]


class ClassSums:
    """Sums for a model with `num_classes` classes.

    log_loss, brier: in units of 2**-32.
    predicted_scores: all predictions by the bin of their score; for two classes by predicted class first.
    hit_scores, miss_scores: pairs by the bin of their score, where its class was the actual one, and where it was not.
    confusion: pairs by actual class x predicted class; None with more than 50 classes.
    class_hits, class_predicted, class_actual: pairs by class instead of the matrix, else None.
    calibration: [3, 15] the rows of each bin of the score, their sum of scores in units, and their hits.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.is_binary = num_classes == 2
        self.log_loss = 0
        self.brier = 0
        self.predicted_scores = Counts(SCORE_BINS * (2 if self.is_binary else 1))
        self.hit_scores = Counts(SCORE_BINS)
        self.miss_scores = Counts(SCORE_BINS)
        self.calibration: Integers = np.zeros((3, CALIBRATION_BINS), dtype=np.int64)
        has_matrix = num_classes <= MAX_MATRIX_CLASSES
        self.confusion = Counts(num_classes * num_classes) if has_matrix else None
        self.class_hits = None if has_matrix else Counts(num_classes)
        self.class_predicted = None if has_matrix else Counts(num_classes)
        self.class_actual = None if has_matrix else Counts(num_classes)

    def add_predictions(self, scores_BO: Scores, classes_B: Integers) -> int:
        """Add predictions, and return how many have impossible scores, which are left out."""
        valid_B = self._valid(scores_BO, classes_B)
        scores_BO, classes_B = _keep(valid_B, scores_BO), _keep(valid_B, classes_B)
        bins_B = score_bins(self._score(scores_BO, classes_B))
        self.predicted_scores.add(bins_B + SCORE_BINS * classes_B if self.is_binary else bins_B)
        return len(valid_B) - len(bins_B)

    def add_pairs(
        self, scores_BO: Scores, classes_B: Integers, actual_B: npt.NDArray[np.float64], *, sign: int
    ) -> npt.NDArray[np.bool_]:
        """Add pairs, or take them back with sign -1; return which are possible, the others are left out."""
        valid_B = self._valid(scores_BO, classes_B)
        with np.errstate(invalid="ignore"):
            valid_B &= (actual_B >= 0) & (actual_B < self.num_classes) & (actual_B == np.floor(actual_B))
        rows = np.flatnonzero(valid_B)
        for start in range(0, len(rows), _MAX_ROWS):
            part = rows[start : start + _MAX_ROWS]
            self._add_valid(scores_BO[part], classes_B[part], actual_B[part].astype(np.int64), sign)
        return valid_B

    def _valid(self, scores_BO: Scores, classes_B: Integers) -> npt.NDArray[np.bool_]:
        expected = 1 if self.is_binary else self.num_classes
        if scores_BO.ndim != 2 or scores_BO.shape[1] != expected:
            raise ValueError(f"scores have the shape {scores_BO.shape}; expected [rows, {expected}]")
        in_range_BO = (scores_BO >= -_TOLERANCE) & (scores_BO <= 1 + _TOLERANCE)  # False for NaN
        valid_B: npt.NDArray[np.bool_] = in_range_BO.all(axis=1) & (classes_B >= 0) & (classes_B < self.num_classes)
        return valid_B

    def _score(self, scores_BO: Scores, classes_B: Integers) -> Scores:
        chosen = scores_BO[:, 0] if self.is_binary else scores_BO[np.arange(len(scores_BO)), classes_B]
        return np.clip(chosen, np.float32(0), np.float32(1))

    def _add_valid(self, scores_BO: Scores, classes_B: Integers, actual_B: Integers, sign: int) -> None:
        score_B = self._score(scores_BO, classes_B)
        self._add_classes(classes_B, actual_B, sign)
        if self.is_binary:
            hits_B = actual_B == 1
            one_B = score_B.astype(np.float64)
            probability_B = np.where(hits_B, one_B, 1 - one_B)
            brier_B = np.square(1 - probability_B)
        else:
            hits_B = actual_B == classes_B
            all_BO = np.clip(scores_BO.astype(np.float64), 0, 1)
            probability_B = all_BO[np.arange(len(all_BO)), actual_B]
            brier_B = np.square(all_BO).sum(axis=1) - 2 * probability_B + 1
        losses_B = -np.log(np.clip(probability_B, _SMALLEST, 1 - _SMALLEST))
        self.log_loss += sign * int(_units(losses_B).sum())
        self.brier += sign * int(_units(brier_B).sum())
        bins_B = score_bins(score_B)
        self.hit_scores.add(bins_B[hits_B], sign)
        self.miss_scores.add(bins_B[~hits_B], sign)
        self._add_calibration(_Rows(score_B, hits_B), sign)

    def _add_classes(self, classes_B: Integers, actual_B: Integers, sign: int) -> None:
        if self.confusion is not None:
            self.confusion.add(actual_B * self.num_classes + classes_B, sign)
        if self.class_hits is not None and self.class_predicted is not None and self.class_actual is not None:
            self.class_hits.add(actual_B[actual_B == classes_B], sign)
            self.class_predicted.add(classes_B, sign)
            self.class_actual.add(actual_B, sign)

    def _add_calibration(self, rows: _Rows, sign: int) -> None:
        scores_B = rows.scores_B.astype(np.float64)
        bins_B = calibration_bins(scores_B)
        weights = (None, _units(scores_B), rows.hits_B)
        for sums, weight in zip(self.calibration, weights, strict=True):
            sums += sign * np.bincount(bins_B, weights=weight, minlength=CALIBRATION_BINS).astype(np.int64)

    @property
    def rows(self) -> int:
        """Number of pairs in the sums."""
        return int(self.calibration[0].sum())

    @property
    def is_empty(self) -> bool:
        """Whether every sum is zero."""
        return not (
            self.log_loss or self.brier or self.calibration.any() or any(counts for _, counts in self.histograms())
        )

    def histograms(self) -> Iterator[tuple[str, Counts]]:
        for name in ("predicted_scores", "hit_scores", "miss_scores", *_BY_CLASS):
            counts = getattr(self, name)
            if counts is not None:
                yield name, counts

    def merge(self, other: ClassSums) -> None:
        """Add the sums of another part, for as many classes."""
        self.log_loss += other.log_loss
        self.brier += other.brier
        self.calibration += other.calibration
        for (_, mine), (_, theirs) in zip(self.histograms(), other.histograms(), strict=True):
            mine.merge(theirs)

    def to_dict(self) -> dict[str, Any]:
        """Return the sums as JSON values."""
        rows, confidence, hits = self.calibration.tolist()
        return {
            "log_loss": self.log_loss,
            "brier": self.brier,
            "calibration": {"rows": rows, "confidence": confidence, "hits": hits},
            **{name: counts.to_dict() for name, counts in self.histograms()},
        }

    @classmethod
    def read(cls, document: ClassDocument, num_classes: int, place: str) -> ClassSums:
        """Return the sums of a document. Raises DataError; place: what they are, for the message."""
        found = cls(num_classes)
        found.log_loss, found.brier = document.log_loss, document.brier
        for name, counts in list(found.histograms()):
            part = getattr(document, name)
            if part is None:
                raise DataError(f"{place}: {name} is missing; expected for {num_classes} classes")
            setattr(found, name, Counts.read(part, counts.size, f"{place}: {name}"))
        bins = [document.calibration.rows, document.calibration.confidence, document.calibration.hits]
        if any(len(column) != CALIBRATION_BINS for column in bins):
            raise DataError(f"{place}: calibration: expected {CALIBRATION_BINS} numbers in each list")
        for name, limit, numbers in (
            ("calibration.rows", MAX_COUNT, document.calibration.rows),
            ("calibration.hits", MAX_COUNT, document.calibration.hits),
            ("calibration.confidence", _MAX_UNITS, document.calibration.confidence),
            ("log_loss and brier", _MAX_UNITS, (document.log_loss, document.brier)),
        ):
            if max(map(abs, numbers)) > limit:
                raise DataError(f"{place}: {name}: a number is beyond {limit}")
        found.calibration = np.array(bins, dtype=np.int64)
        return found


_BY_CLASS: Final = ("confusion", "class_hits", "class_predicted", "class_actual")


def _units(values_B: npt.NDArray[np.float64]) -> Integers:
    return np.rint(values_B * UNITS_PER_ONE).astype(np.int64)


def _keep(valid_B: npt.NDArray[np.bool_], column: Any) -> Any:
    return column if valid_B.all() else column[valid_B]
