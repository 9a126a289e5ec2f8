"""The sums of quality under one key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Self

import msgspec
import numpy as np
import numpy.typing as npt

from forebay.schemas.errors import DataError
from forebay.stream.quality.class_sums import ClassDocument, ClassSums
from forebay.stream.quality.counts import MAX_COUNT, Counts, CountsDocument
from forebay.stream.quality.grids import SIGNED_BUCKETS, signed_buckets
from forebay.stream.quality.keys import Task
from forebay.stream.quality.regression_sums import RegressionDocument, RegressionSums

MAX_CLASSES: Final = 100_000


class SumsDocument(msgspec.Struct, kw_only=True):
    """Quality sums as JSON. All counts may be negative, if more was taken back than added."""

    task: Task
    num_classes: int
    predictions: int
    evicted: int
    invalid_predictions: int
    matched: int
    invalid_pairs: int
    delay_ms: CountsDocument
    classification: ClassDocument | None = None
    regression: RegressionDocument | None = None


class QualitySums:
    """Sums over the predictions, and over the pairs of a prediction and its label, under one key.

    task, num_classes: of the model; 2 classes for a binary one, 0 for regression.
    predictions: how many there are, with or without a label.
    evicted: predictions that were dropped before their label came, because too many were waiting.
    invalid_predictions: predictions whose scores are not finite or not probabilities; they are in no other sum.
    matched: predictions with a label.
    invalid_pairs: matched predictions with such scores or an impossible label; they are in no other sum.
    delay_ms: matched predictions by the bucket of the time from the prediction's event to the label.
    """

    def __init__(self, task: Task, num_classes: int) -> None:
        self.task = task
        self.num_classes = num_classes
        self.predictions = 0
        self.evicted = 0
        self.invalid_predictions = 0
        self.matched = 0
        self.invalid_pairs = 0
        self.delay_ms = Counts(SIGNED_BUCKETS)
        self.classification = None if task is Task.REGRESSION else ClassSums(num_classes)
        self.regression = RegressionSums() if task is Task.REGRESSION else None

    def add_predictions(
        self, scores_BO: npt.NDArray[np.float32], classes_B: npt.NDArray[Any], *, evicted: int = 0
    ) -> None:
        """Add predictions, each once, when it arrives.

        scores_BO: [B, 1] the probability of class 1, [B, C] of each class, or [B, outputs] of a regression.
        classes_B: the classes that the model decided for; ignored for regression.
        evicted: number of earlier predictions that were dropped.
        """
        self.predictions += len(scores_BO)
        self.evicted += evicted
        if self.classification is not None:
            self.invalid_predictions += self.classification.add_predictions(scores_BO, classes_B.astype(np.int64))
        if self.regression is not None:
            self.invalid_predictions += self.regression.add_predictions(scores_BO)

    def add_pairs(
        self,
        scores_BO: npt.NDArray[np.float32],
        classes_B: npt.NDArray[Any],
        actual_B: npt.NDArray[np.float64],
        delay_ms_B: npt.NDArray[Any],
        sign: int = 1,
    ) -> None:
        """Add pairs of a prediction and its label; take them back with sign -1.

        scores_BO, classes_B: as for `add_predictions`.
        actual_B: the index of the actual class, or the actual value.
        delay_ms_B: the label's timestamp - the prediction's.
        """
        self.matched += sign * len(scores_BO)
        if self.classification is not None:
            valid_B = self.classification.add_pairs(scores_BO, classes_B.astype(np.int64), actual_B, sign=sign)
        else:
            assert self.regression is not None
            valid_B = self.regression.add_pairs(scores_BO, actual_B, sign=sign)
        self.invalid_pairs += sign * int(np.count_nonzero(~valid_B))
        self.delay_ms.add(signed_buckets(delay_ms_B.astype(np.float64)), sign)

    @property
    def scored(self) -> int:
        """Number of pairs that the metrics are computed from."""
        return self.matched - self.invalid_pairs

    @property
    def is_empty(self) -> bool:
        """Whether every sum is zero."""
        part = self.classification or self.regression
        assert part is not None
        return not any(getattr(self, name) for name in _COUNTS) and not self.delay_ms and part.is_empty

    def merge(self, other: QualitySums) -> None:
        """Add the sums of another part. Raises DataError if it is of another task or has another number of classes."""
        if (self.task, self.num_classes) != (other.task, other.num_classes):
            raise DataError(
                f"sums of task {other.task} with {other.num_classes} classes cannot be added to sums of task {self.task} "
                f"with {self.num_classes} classes"
            )
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.delay_ms.merge(other.delay_ms)
        if self.classification is not None and other.classification is not None:
            self.classification.merge(other.classification)
        if self.regression is not None and other.regression is not None:
            self.regression.merge(other.regression)

    def to_dict(self) -> dict[str, Any]:
        """Return the sums as JSON values."""
        document: dict[str, Any] = {"task": self.task.value, "num_classes": self.num_classes}
        document.update({name: getattr(self, name) for name in _COUNTS})
        document["delay_ms"] = self.delay_ms.to_dict()
        if self.classification is not None:
            document["classification"] = self.classification.to_dict()
        if self.regression is not None:
            document["regression"] = self.regression.to_dict()
        return document

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """Return the sums of JSON values. Raises DataError with the place of what is wrong."""
        try:
            return cls.of_document(msgspec.convert(document, SumsDocument))
        except msgspec.ValidationError as error:
            raise DataError(f"quality sums: {error}") from None

    @classmethod
    def of_document(cls, document: SumsDocument) -> Self:
        """Return the sums of a parsed document. Raises DataError with the place of what is wrong."""
        task, num_classes = document.task, document.num_classes
        low, high = {Task.BINARY: (2, 2), Task.CLASSES: (3, MAX_CLASSES), Task.REGRESSION: (0, 0)}[task]
        if not low <= num_classes <= high:
            allowed = str(low) if low == high else f"{low} to {high}"
            raise DataError(f"quality sums: num_classes is {num_classes}; expected {allowed} for task {task}")
        found = cls(task, num_classes)
        for name in _COUNTS:
            if abs(getattr(document, name)) > MAX_COUNT:
                raise DataError(f"quality sums: {name} is beyond {MAX_COUNT}")
            setattr(found, name, getattr(document, name))
        found.delay_ms = Counts.read(document.delay_ms, SIGNED_BUCKETS, "quality sums: delay_ms")
        if task is Task.REGRESSION:
            if document.regression is None:
                raise DataError("quality sums: regression is missing; expected for task regression")
            found.regression = RegressionSums.read(document.regression, "quality sums: regression")
        else:
            if document.classification is None:
                raise DataError(f"quality sums: classification is missing; expected for task {task}")
            found.classification = ClassSums.read(document.classification, num_classes, "quality sums: classification")
        return found


_COUNTS: Final = ("predictions", "evicted", "invalid_predictions", "matched", "invalid_pairs")
