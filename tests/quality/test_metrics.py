"""Metrics of sums are those of scikit-learn on the same rows."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

from forebay.stream.quality.keys import Task
from forebay.stream.quality.metrics import Metrics, metrics
from forebay.stream.quality.sums import QualitySums
from tests.quality.samples import Sample, binary, classes, regression, sigmoid

CLOSE: dict[str, Any] = {"abs": 1e-9, "rel": 1e-9}


@pytest.fixture(autouse=True)
def no_warnings_of_scikit_learn() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def measured(sample: Sample) -> Metrics:
    return metrics(sample.sums())


def scikit_learn(sample: Sample) -> dict[str, float]:
    """Return the metrics of scikit-learn for classes."""
    actual, chosen = sample.actual_B.astype(int), sample.classes_B
    scores = sample.scores_BO.astype(np.float64)
    labels = list(range(sample.num_classes))
    average = "binary" if sample.task is Task.BINARY else "macro"
    found = {
        "accuracy": sk.accuracy_score(actual, chosen),
        "precision": sk.precision_score(actual, chosen, average=average, zero_division=0),
        "recall": sk.recall_score(actual, chosen, average=average, zero_division=0),
        "f1": sk.f1_score(actual, chosen, average=average, zero_division=0),
    }
    if sample.task is Task.BINARY:
        found["log_loss"] = sk.log_loss(actual, scores[:, 0], labels=labels)
        found["brier"] = sk.brier_score_loss(actual, scores[:, 0], labels=labels)
    else:
        found["log_loss"] = sk.log_loss(actual, scores, labels=labels)
        found["brier"] = sk.brier_score_loss(actual, scores, labels=labels)
        for name in ("precision", "recall", "f1"):
            score = getattr(sk, f"{name}_score")
            found[f"weighted_{name}"] = score(actual, chosen, average="weighted", zero_division=0)
    return found


@pytest.mark.parametrize(
    "sample",
    [
        binary(5000, 1),
        binary(2000, 2, mean=-4),
        binary(300, 3, spread=12, slope=0.2),  # saturated scores, some of them wrong
        binary(7, 4),
        classes(5000, 5),
        classes(40, 6, 12),  # classes that never occur
        classes(3000, 7, 60),
    ],
    ids=["binary", "rare", "saturated", "few", "classes", "missing classes", "many classes"],
)
def test_metrics_of_classes_are_those_of_scikit_learn(sample: Sample) -> None:
    found = measured(sample)
    for name, expected in scikit_learn(sample).items():
        assert getattr(found, name) == pytest.approx(expected, **CLOSE), name
    matrix = sk.confusion_matrix(sample.actual_B.astype(int), sample.classes_B, labels=range(sample.num_classes))
    assert found.confusion == (None if sample.num_classes > 50 else matrix.tolist())


@pytest.mark.parametrize(
    "sample",
    [
        binary(20_000, 1),
        binary(20_000, 2, mean=-6),  # scores around 0.002
        binary(20_000, 3, mean=-9, spread=2),
        binary(20_000, 4, mean=5, spread=0.7),
        binary(20_000, 5, spread=0.2, slope=10),  # as of a forest: scores from 0.4 to 0.6 that separate well
        binary(20_000, 6, mean=-3, spread=0.3, slope=4),
        binary(20_000, 7, spread=8, slope=0.3),
        binary(20_000, 8, slope=-1),
    ],
    ids=["even", "rare", "very rare", "near 1", "narrow", "narrow and low", "extreme", "worse than chance"],
)
def test_the_area_under_the_roc_curve_is_within_a_thousandth(sample: Sample) -> None:
    found = measured(sample)
    exact = sk.roc_auc_score(sample.actual_B, sample.scores_BO[:, 0])
    assert found.roc_auc is not None
    assert found.roc_auc_error is not None
    assert abs(found.roc_auc - exact) <= min(0.001, found.roc_auc_error + 1e-12)


def test_tied_scores_count_as_one_half() -> None:
    random = np.random.default_rng(1)
    scores = random.choice(np.array([0.1, 0.4, 0.45, 0.9], dtype=np.float32), 500)
    sample = binary(500, 1)._replace(scores_BO=scores[:, None])
    assert measured(sample).roc_auc == pytest.approx(sk.roc_auc_score(sample.actual_B, scores), abs=1e-12)


def test_the_calibration_error_is_the_one_of_the_calibration_curve() -> None:
    sample = binary(4000, 9, slope=0.5)
    scores = sample.scores_BO[:, 0].astype(np.float64)
    shares, means = calibration_curve(sample.actual_B, scores, n_bins=15)
    rows = np.bincount(np.searchsorted(np.linspace(0, 1, 16)[1:-1], scores), minlength=15)
    expected = float((np.abs(shares - means) * rows[rows > 0]).sum()) / 4000
    assert measured(sample).calibration_error == pytest.approx(expected, **CLOSE)


def test_the_calibration_error_of_several_classes_is_of_the_predicted_class() -> None:
    sample = classes(4000, 10)
    confidence = sample.scores_BO[np.arange(4000), sample.classes_B].astype(np.float64)
    right = (sample.classes_B == sample.actual_B).astype(int)
    shares, means = calibration_curve(right, confidence, n_bins=15)
    rows = np.bincount(np.searchsorted(np.linspace(0, 1, 16)[1:-1], confidence), minlength=15)
    expected = float((np.abs(shares - means) * rows[rows > 0]).sum()) / 4000
    assert measured(sample).calibration_error == pytest.approx(expected, **CLOSE)


@pytest.mark.parametrize(("scale", "shift"), [(1, 0), (1e-6, 0), (1e20, 0), (1, 1e7)])
def test_metrics_of_regression_are_those_of_scikit_learn(scale: float, shift: float) -> None:
    sample = regression(3000, 1)
    predicted = (sample.scores_BO * np.float32(scale)) + np.float32(shift)
    sample = sample._replace(scores_BO=predicted, actual_B=sample.actual_B * scale + shift)
    found, actual, values = measured(sample), sample.actual_B, predicted[:, 0].astype(np.float64)
    assert found.mean_absolute_error == pytest.approx(sk.mean_absolute_error(actual, values), rel=1e-9)
    assert found.root_mean_squared_error == pytest.approx(sk.root_mean_squared_error(actual, values), rel=1e-9)
    assert found.r2 == pytest.approx(sk.r2_score(actual, values), **CLOSE)
    assert found.bias == pytest.approx(float(np.mean(values - actual)), rel=1e-6)


def test_quantiles_of_errors_and_delays_are_at_most_five_percent_off() -> None:
    sample = regression(5000, 2)
    found = measured(sample)
    errors = sample.scores_BO[:, 0].astype(np.float64) - sample.actual_B
    for values, quantiles in ((errors, found.error_quantiles), (sample.delay_ms_B, found.delay_ms_quantiles)):
        assert quantiles is not None
        for share, value in quantiles.items():
            assert value == pytest.approx(np.quantile(values, share, method="inverted_cdf"), rel=0.05)


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_labels_of_one_class_only_have_no_area_under_the_curve(label: float) -> None:
    sample = binary(200, 11)
    sample = sample._replace(actual_B=np.full(200, label))
    found = measured(sample)
    assert (found.roc_auc, found.roc_auc_error) == (None, None)
    assert found.accuracy == pytest.approx(sk.accuracy_score(sample.actual_B, sample.classes_B))
    assert found.log_loss == pytest.approx(scikit_learn(sample)["log_loss"], **CLOSE)
    assert (found.recall is None) == (label == 0)


def test_a_model_that_never_predicts_class_1_has_no_precision() -> None:
    sample = binary(50, 12)._replace(classes_B=np.zeros(50, dtype=np.int64))
    found = measured(sample)
    assert (found.precision, found.recall, found.f1) == (None, 0.0, 0.0)


def test_constant_actual_values_have_no_r2() -> None:
    sample = regression(50, 3)._replace(actual_B=np.full(50, 0.1))
    found = measured(sample)
    assert found.r2 is None
    assert found.mean_absolute_error == pytest.approx(np.mean(np.abs(sample.scores_BO[:, 0].astype(float) - 0.1)))


@pytest.mark.parametrize(("task", "num_classes"), [(Task.BINARY, 2), (Task.CLASSES, 3), (Task.REGRESSION, 0)])
def test_without_pairs_nothing_is_defined(task: Task, num_classes: int) -> None:
    document = metrics(QualitySums(task, num_classes)).to_dict()
    assert document == {"task": task.value, "predictions": 0, "matched": 0, "scored": 0}


def test_the_matched_share_is_of_all_predictions() -> None:
    sums = QualitySums(Task.BINARY, 2)
    sample = binary(100, 13)
    sums.add_predictions(sample.scores_BO, sample.classes_B, evicted=3)
    sample.rows(slice(0, 25)).add_to(sums)
    document = metrics(sums).to_dict()
    assert document["matched_share"] == 0.25
    assert set(document["delay_ms_quantiles"]) == {"0.5", "0.9", "0.99"}
    assert len(document["by_class"]) == 2


def test_scores_near_zero_are_distinguished() -> None:
    random = np.random.default_rng(14)
    scores = np.exp(random.uniform(np.log(1e-6), np.log(1e-3), 20_000)).astype(np.float32)
    actual = (random.random(20_000) < sigmoid(np.log(scores.astype(float)) + 8)).astype(float)
    sample = binary(20_000, 14)._replace(scores_BO=scores[:, None], actual_B=actual)
    assert measured(sample).roc_auc == pytest.approx(sk.roc_auc_score(actual, scores), abs=0.001)
