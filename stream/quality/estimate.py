"""Quality before the labels come, estimated from calibrated scores.

The labelled pairs of earlier windows show how often a prediction with a given score was right. Applied to the scores of a
window, this gives the numbers of hits and misses to expect, and from these every metric (confidence-based performance
estimation).

It holds as long as a score means the same as before, also if the events are others than before (covariate shift). It does not
see that the relation of the features and the label has changed (concept drift): the true quality falls, and the estimate
stays. So it must always be called an estimate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from forebay.stream.quality.calibrator import calibrated_probabilities
from forebay.stream.quality.class_sums import ClassSums
from forebay.stream.quality.grids import SCORE_BINS, score_bin_centres
from forebay.stream.quality.metrics import roc_auc
from forebay.stream.quality.sums import QualitySums

Floats = npt.NDArray[np.float64]

MIN_LABELLED: Final = 200
"""Fewer labelled pairs say too little about the scores."""
_DRAWS: Final = 40
_TWO_SIDED_95: Final = 1.96


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate, and the limits within which the true value is expected with 95 % probability; None if not computed."""

    value: float
    low: float | None
    high: float | None

    def to_dict(self) -> dict[str, float]:
        """Return the estimate as JSON values, without limits that were not computed."""
        limits = (("value", self.value), ("low", self.low), ("high", self.high))
        return {name: limit for name, limit in limits if limit is not None}


@dataclass(frozen=True, slots=True)
class Estimate:
    """Estimated metrics of a window.

    rows: predictions that the estimate is of.
    labelled: earlier pairs that it is based on.
    metrics: by the names of `Metrics`: accuracy; for two classes also precision, recall, f1, log_loss, brier, roc_auc.
    """

    rows: int
    labelled: int
    metrics: Mapping[str, Interval]

    def to_dict(self) -> dict[str, Any]:
        """Return the estimate as JSON values."""
        return {
            "rows": self.rows,
            "labelled": self.labelled,
            **{name: interval.to_dict() for name, interval in self.metrics.items()},
        }


def estimate(
    window: QualitySums, labelled: QualitySums, *, random: np.random.Generator | None, min_labelled: int = MIN_LABELLED
) -> Estimate | None:
    """Estimate the quality of a window before its labels come. None: for regression, or too little is known.

    The interval is of two uncertainties: the labels that are drawn for the window, and the limited number of earlier ones.

    window: the sums of the window; only its predictions are used.
    labelled: the sums of earlier windows of the same model version, with labels.
    random: of the draws for the interval. None: no limits, which is 40 times as fast.
    """
    shown, known = window.classification, labelled.classification
    if shown is None or known is None or window.num_classes != labelled.num_classes:
        return None
    predicted = np.maximum(shown.predicted_scores.dense(), 0).reshape(-1, SCORE_BINS)
    hits, misses = (np.maximum(counts.dense(), 0) for counts in (known.hit_scores, known.miss_scores))
    rows, pairs = int(predicted.sum()), int(hits.sum() + misses.sum())
    if not rows or pairs < min_labelled:
        return None
    probabilities = calibrated_probabilities(hits, misses)
    values = _expected(shown, predicted * probabilities, predicted)
    draws: dict[str, list[float]] = {name: [] for name in values}
    for _ in range(_DRAWS):
        if random is None:
            break
        drawn_hits = random.binomial(hits + misses, probabilities)
        drawn = calibrated_probabilities(drawn_hits, hits + misses - drawn_hits)
        for name, value in _expected(shown, random.binomial(predicted, drawn[None, :]), predicted).items():
            if name in draws:
                draws[name].append(value)
    return Estimate(rows, pairs, {name: _interval(name, value, draws[name]) for name, value in values.items()})


def _expected(sums: ClassSums, hits_DS: npt.NDArray[Any], predicted_DS: npt.NDArray[Any]) -> dict[str, float]:
    """Return the metrics of expected hits. hits_DS, predicted_DS: by decision (one row for several classes) and bin."""
    misses_DS = predicted_DS - hits_DS
    rows = float(predicted_DS.sum())
    if not sums.is_binary:
        return {"accuracy": float(hits_DS.sum()) / rows}
    (false_negatives, true_positives), (true_negatives, _) = hits_DS.sum(axis=1), misses_DS.sum(axis=1)
    hits, misses, centres = hits_DS.sum(axis=0), misses_DS.sum(axis=0), score_bin_centres()
    values = {
        "accuracy": (true_positives + true_negatives) / rows,
        "precision": _ratio(true_positives, predicted_DS[1].sum()),
        "recall": _ratio(true_positives, true_positives + false_negatives),
        "f1": _ratio(2 * true_positives, true_positives + false_negatives + predicted_DS[1].sum()),
        "log_loss": -float((hits * np.log(centres) + misses * np.log1p(-centres)).sum()) / rows,
        "brier": float((hits * np.square(1 - centres) + misses * np.square(centres)).sum()) / rows,
        "roc_auc": roc_auc(hits, misses)[0],
    }
    return {name: float(value) for name, value in values.items() if value is not None}


def _ratio(part: float, total: float) -> float | None:
    return part / total if total > 0 else None


def _interval(name: str, value: float, draws: list[float]) -> Interval:
    if len(draws) < 2:
        return Interval(value, None, None)
    half = _TWO_SIDED_95 * float(np.std(draws, ddof=1))
    high = np.inf if name == "log_loss" else 1.0
    return Interval(value, max(0.0, value - half), min(high, value + half))
