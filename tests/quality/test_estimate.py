"""Quality that is estimated before the labels come."""

from __future__ import annotations

import numpy as np
import pytest

from forebay.stream.quality.calibrator import calibrated_probabilities
from forebay.stream.quality.estimate import estimate
from forebay.stream.quality.grids import SCORE_BINS, score_bin_centres, score_bins
from forebay.stream.quality.keys import Task
from forebay.stream.quality.metrics import metrics
from forebay.stream.quality.sums import QualitySums
from tests.quality.samples import Sample, binary, classes, regression, sigmoid


def events(rows: int, seed: int, *, mean: float, turned: bool = False) -> Sample:
    """Return events of two features and the predictions of a model that is too sure of itself.

    mean: of the first feature; another mean is a covariate shift.
    turned: whether the first feature has lost its effect on the label, which is concept drift.
    """
    random = np.random.default_rng(seed)
    first, second = random.normal(mean, 1, rows), random.normal(0, 1, rows)
    true = sigmoid((0.0 if turned else 1.2) * first - 0.8 * second - 0.3)
    scores = sigmoid(1.7 * (1.2 * first - 0.8 * second) + 0.2).astype(np.float32)
    actual = (random.random(rows) < true).astype(np.float64)
    return Sample(
        Task.BINARY, 2, scores[:, None], (scores >= 0.5).astype(np.int64), actual_B=actual, delay_ms_B=np.ones(rows)
    )


@pytest.mark.parametrize("mean", [-1.0, 0.0, 1.0, 2.0])
def test_the_estimate_is_near_the_later_truth_under_covariate_shift(mean: float) -> None:
    window = events(20_000, 2, mean=mean).sums()
    found = estimate(window, events(20_000, 1, mean=0).sums(), random=np.random.default_rng(3))
    assert found is not None
    assert set(found.metrics) == {"accuracy", "precision", "recall", "f1", "log_loss", "brier", "roc_auc"}
    truth = metrics(window)
    for name, interval in found.metrics.items():
        assert interval.value == pytest.approx(getattr(truth, name), abs=0.02), name
        assert interval.low is not None
        assert interval.high is not None
        assert interval.low <= interval.value <= interval.high <= interval.low + 0.1


def test_the_labels_of_the_window_are_not_used() -> None:
    sample, labelled = events(5000, 4, mean=1), events(5000, 5, mean=0).sums()
    without = QualitySums(Task.BINARY, 2)
    without.add_predictions(sample.scores_BO, sample.classes_B)
    first, second = (estimate(sums, labelled, random=np.random.default_rng(6)) for sums in (without, sample.sums()))
    assert first == second is not None


def test_the_estimate_does_not_see_concept_drift() -> None:
    window = events(20_000, 7, mean=0, turned=True).sums()
    labelled = events(20_000, 8, mean=0).sums()
    found, truth = estimate(window, labelled, random=np.random.default_rng(9)), metrics(window).accuracy
    assert found is not None
    assert truth is not None
    assert found.metrics["accuracy"].low is not None
    assert found.metrics["accuracy"].low > truth + 0.1


def test_the_accuracy_of_several_classes_is_estimated() -> None:
    window = classes(10_000, 10).sums()
    found = estimate(window, classes(10_000, 11).sums(), random=np.random.default_rng(12))
    assert found is not None
    assert set(found.to_dict()) == {"rows", "labelled", "accuracy"}
    assert found.metrics["accuracy"].value == pytest.approx(metrics(window).accuracy, abs=0.02)


def test_without_draws_an_estimate_has_no_limits() -> None:
    window, labelled = events(3000, 1, mean=1).sums(), events(3000, 2, mean=0).sums()
    found, drawn = (estimate(window, labelled, random=random) for random in (None, np.random.default_rng(3)))
    assert found is not None
    assert drawn is not None
    assert {name: interval.value for name, interval in found.metrics.items()} == {
        name: interval.value for name, interval in drawn.metrics.items()
    }
    assert set(found.to_dict()["accuracy"]) == {"value"}
    assert set(drawn.to_dict()["accuracy"]) == {"value", "low", "high"}


def test_too_few_labels_and_regression_have_no_estimate() -> None:
    random = np.random.default_rng(1)
    window = binary(100, 1).sums()
    assert estimate(window, binary(199, 2).sums(), random=random) is None
    assert estimate(window, binary(200, 2).sums(), random=random) is not None
    assert estimate(QualitySums(Task.BINARY, 2), binary(500, 2).sums(), random=random) is None
    assert estimate(regression(500, 1).sums(), regression(500, 2).sums(), random=random) is None
    assert estimate(classes(500, 1).sums(), binary(500, 2).sums(), random=random) is None


def test_a_window_with_one_class_only_has_an_estimate() -> None:
    sample = binary(300, 3)._replace(scores_BO=np.zeros((300, 1), dtype=np.float32), classes_B=np.zeros(300, dtype=int))
    found = estimate(sample.sums(), binary(5000, 4).sums(), random=np.random.default_rng(5))
    assert found is not None
    assert found.metrics["accuracy"].value > 0.95
    assert "precision" not in found.metrics


def test_calibrated_probabilities_never_decrease_and_follow_the_labels() -> None:
    sample = binary(50_000, 6, slope=0.4)
    bins = score_bins(sample.scores_BO[:, 0])
    hits = np.bincount(bins[sample.actual_B == 1], minlength=SCORE_BINS)
    misses = np.bincount(bins[sample.actual_B == 0], minlength=SCORE_BINS)
    found = calibrated_probabilities(hits, misses)
    assert bool((np.diff(found) >= 0).all())
    centres = score_bin_centres()
    true = sigmoid(0.4 * np.log(centres / (1 - centres)))
    assert float(np.average(np.abs(found - true), weights=hits + misses)) < 0.02


def test_without_labels_the_scores_are_the_probabilities() -> None:
    nothing = np.zeros(SCORE_BINS)
    assert calibrated_probabilities(nothing, nothing) == pytest.approx(score_bin_centres(), abs=1e-6)
