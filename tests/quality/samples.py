"""Random predictions and labels for the tests of quality."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from forebay.stream.quality.keys import Task
from forebay.stream.quality.sums import QualitySums


class Sample(NamedTuple):
    """Pairs of a task, as columns."""

    task: Task
    num_classes: int
    scores_BO: npt.NDArray[np.float32]
    classes_B: npt.NDArray[np.int64]
    actual_B: npt.NDArray[np.float64]
    delay_ms_B: npt.NDArray[np.int64]

    def rows(self, where: Any) -> Self:
        """Return some of the rows."""
        return self._replace(
            scores_BO=self.scores_BO[where],
            classes_B=self.classes_B[where],
            actual_B=self.actual_B[where],
            delay_ms_B=self.delay_ms_B[where],
        )

    def add_to(self, sums: QualitySums, sign: int = 1) -> None:
        """Add the pairs, or take them back."""
        sums.add_pairs(self.scores_BO, self.classes_B, self.actual_B, self.delay_ms_B, sign=sign)

    def sums(self) -> QualitySums:
        """Return the sums of the predictions and pairs."""
        sums = QualitySums(self.task, self.num_classes)
        sums.add_predictions(self.scores_BO, self.classes_B)
        self.add_to(sums)
        return sums


def sigmoid(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return 1 / (1 + np.exp(-values))


def binary(rows: int, seed: int, *, mean: float = 0.0, spread: float = 1.5, slope: float = 1.0) -> Sample:
    """Return scores with normal log odds, and labels whose log odds are `slope` times those."""
    random = np.random.default_rng(seed)
    log_odds = random.normal(mean, spread, rows)
    scores = sigmoid(log_odds).astype(np.float32)
    actual = (random.random(rows) < sigmoid(slope * log_odds)).astype(np.float64)
    delay = random.integers(-60_000, 3_600_000, rows)
    return Sample(Task.BINARY, 2, scores[:, None], (scores >= 0.5).astype(np.int64), actual_B=actual, delay_ms_B=delay)


def classes(rows: int, seed: int, num_classes: int = 4) -> Sample:
    """Return softmax scores of several classes, with labels drawn from flatter ones."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 1.5, (rows, num_classes))
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    noisy = 0.7 * logits + random.gumbel(size=logits.shape)
    actual = noisy.argmax(axis=1).astype(np.float64)
    delay = random.integers(0, 3_600_000, rows)
    return Sample(
        Task.CLASSES, num_classes, scores.astype(np.float32), scores.argmax(axis=1), actual_B=actual, delay_ms_B=delay
    )


def regression(rows: int, seed: int) -> Sample:
    """Return predictions of values around 10."""
    random = np.random.default_rng(seed)
    actual = random.normal(10, 3, rows)
    predicted = (actual + random.normal(0.2, 0.5, rows)).astype(np.float32)
    delay = random.integers(0, 3_600_000, rows)
    return Sample(Task.REGRESSION, 0, predicted[:, None], np.full(rows, -1), actual_B=actual, delay_ms_B=delay)


def of_task(task: str, rows: int, seed: int) -> Sample:
    """Return a sample of a task; "many_classes" has more classes than a confusion matrix."""
    if task == "many_classes":
        return classes(rows, seed, 60)
    return {"binary": binary, "classes": classes, "regression": regression}[task](rows, seed)
