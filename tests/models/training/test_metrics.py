from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sklearn.metrics as reference
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from forebay.models.training import metrics
from forebay.schemas.errors import TensorError

CLASSES = arrays(np.int64, st.integers(1, 30), elements=st.integers(0, 1))


@st.composite
def binary_cases(draw: st.DrawFn) -> tuple[Any, Any]:
    true_N = draw(CLASSES)
    # Few distinct scores, so that there are ties.
    scores = st.one_of(st.floats(0, 1, width=32), st.sampled_from([0.0, 0.25, 0.5, 1.0]))
    return true_N, draw(arrays(np.float32, len(true_N), elements=scores))


@given(binary_cases())
def test_metrics_of_two_classes_agree_with_scikit_learn(case: tuple[Any, Any]) -> None:
    true_N, score_N = case
    predicted_N = (score_N >= 0.5).astype(np.int64)
    assert metrics.accuracy(true_N, predicted_N) == pytest.approx(reference.accuracy_score(true_N, predicted_N))
    expected = reference.log_loss(true_N, score_N.astype(np.float64), labels=[0, 1])
    assert metrics.log_loss(true_N, score_N) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert metrics.log_loss(true_N, score_N[:, None]) == metrics.log_loss(true_N, score_N)
    if len(np.unique(true_N)) == 2:
        area = reference.roc_auc_score(true_N, score_N)
        assert metrics.roc_auc(true_N, score_N) == pytest.approx(area, rel=1e-12)
    else:
        assert metrics.roc_auc(true_N, score_N) is None


@given(st.integers(1, 20), st.integers(2, 5), st.integers(0, 2**32 - 1))
def test_log_loss_agrees_with_scikit_learn_for_several_classes(rows: int, classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    true_N, p_NK = rng.integers(0, classes, rows), rng.dirichlet(np.full(classes, 0.3), rows)
    expected = reference.log_loss(true_N, p_NK, labels=range(classes))
    assert metrics.log_loss(true_N, p_NK) == pytest.approx(expected, rel=1e-9)


@given(arrays(np.float64, (6, 2), elements=st.floats(-1e3, 1e3)), st.integers(0, 2**32 - 1))
def test_regression_metrics_agree_with_scikit_learn(true: Any, seed: int) -> None:
    predicted = true + np.random.default_rng(seed).normal(size=true.shape)
    mae = reference.mean_absolute_error(true.ravel(), predicted.ravel())
    rmse = reference.root_mean_squared_error(true.ravel(), predicted.ravel())
    assert metrics.mean_absolute_error(true, predicted) == pytest.approx(mae)
    assert metrics.root_mean_squared_error(true, predicted) == pytest.approx(rmse)


def test_metrics_are_computed_in_float64() -> None:
    score_N = np.full(1000, 0.1, dtype=np.float32)
    true_N = np.zeros(len(score_N), dtype=np.int8)
    exact = -np.log1p(-float(np.float32(0.1)))
    assert metrics.log_loss(true_N, score_N) == pytest.approx(exact, rel=1e-12)


def test_arrays_that_cannot_be_compared_are_refused() -> None:
    two, three, none = np.zeros(2), np.zeros(3), np.zeros(0)
    for metric in (metrics.accuracy, metrics.roc_auc, metrics.log_loss, metrics.mean_absolute_error):
        with pytest.raises(TensorError):
            metric(two, three)
        with pytest.raises(TensorError):
            metric(none, none)
    with pytest.raises(TensorError, match="classes below K"):
        metrics.log_loss(np.array([0, 2]), np.full((2, 2), 0.5))
