"""Curves of quality for plots."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import auc

from forebay.stream.quality.class_sums import ClassSums
from forebay.stream.quality.curves import reliability_curve, roc_curve
from forebay.stream.quality.metrics import metrics
from tests.quality.samples import Sample, binary, classes


def class_sums(sample: Sample) -> ClassSums:
    found = sample.sums().classification
    assert found is not None
    return found


def test_the_area_under_the_roc_curve_is_the_metric() -> None:
    sample = binary(3000, 1)
    points = roc_curve(class_sums(sample), max_points=10_000)
    assert (points[0], points[-1]) == ((0.0, 0.0), (1.0, 1.0))
    assert auc(*zip(*points, strict=True)) == pytest.approx(metrics(sample.sums()).roc_auc)
    assert len(roc_curve(class_sums(sample), max_points=50)) == 50


def test_without_both_classes_there_is_no_roc_curve() -> None:
    sample = binary(100, 2)
    assert roc_curve(class_sums(sample._replace(actual_B=np.zeros(100)))) == []
    assert roc_curve(class_sums(classes(100, 2))) == []


def test_the_reliability_curve_is_the_calibration_curve() -> None:
    sample = binary(3000, 3)
    shares, means = calibration_curve(sample.actual_B, sample.scores_BO[:, 0].astype(float), n_bins=15)
    assert reliability_curve(class_sums(sample)) == [pytest.approx(pair) for pair in zip(means, shares, strict=True)]
