from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from forebay.models.training.train import TrainOptions, train
from forebay.schemas.errors import ModelError, TensorError

SMALL = {"input_dim": 2, "hidden_dims": [16], "output_dim": 1}
QUICK = TrainOptions(epochs=30, batch_size=64, learning_rate=0.02, patience=30)


def ring(rows: int, seed: int = 0) -> tuple[Any, Any]:
    """Return points, and whether each lies outside a circle, which no linear model can separate."""
    x = np.random.default_rng(seed).normal(size=(rows, 2)).astype(np.float32)
    return x, (np.square(x).sum(axis=1) > 1.4).astype(np.int64)


def test_two_classes_that_are_not_linearly_separable_are_learnt() -> None:
    x, y = ring(2000)
    trained = train("mlp", SMALL, "binary", x_NG=x, y_N=y, options=QUICK)
    assert trained.metrics["accuracy"] > 0.95
    assert trained.metrics["roc_auc"] > 0.98
    assert trained.metrics["log_loss"] == pytest.approx(trained.metrics["loss"], rel=1e-4)
    assert trained.metrics["rows"] == 200
    assert not trained.net.training
    fresh_x, fresh_y = ring(1000, seed=1)
    with torch.no_grad():
        predicted = trained.net(torch.from_numpy(fresh_x))[:, 0].numpy() >= 0
    assert (predicted == fresh_y).mean() > 0.95


def test_several_classes_are_learnt() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 1500)
    x = (np.array([[0, 4], [4, 0], [-4, -4]])[y] + rng.normal(size=(1500, 2))).astype(np.float32)
    trained = train(
        "logistic_regression", {"input_dim": 2, "output_dim": 3}, "multiclass", x_NG=x, y_N=y, options=QUICK
    )
    assert trained.metrics["accuracy"] > 0.97
    assert trained.metrics["log_loss"] == pytest.approx(trained.metrics["loss"], rel=1e-4)
    assert "roc_auc" not in trained.metrics


def test_values_are_learnt() -> None:
    x = np.random.default_rng(0).normal(size=(2000, 2)).astype(np.float32)
    y = (3 * x[:, 0] - 2 * x[:, 1] + 1).astype(np.float64)
    options = TrainOptions(epochs=60, batch_size=64, learning_rate=0.02, patience=60)
    trained = train("linear_regression", {"input_dim": 2}, "regression", x_NG=x, y_N=y, options=options)
    weights = trained.net.state_dict()
    np.testing.assert_allclose(weights["linear.weight"].numpy(), [[3, -2]], atol=0.02)
    np.testing.assert_allclose(weights["linear.bias"].numpy(), [1], atol=0.02)
    assert trained.metrics["root_mean_squared_error"] < 0.03
    assert trained.metrics["mean_absolute_error"] <= trained.metrics["root_mean_squared_error"]


def test_images_reach_the_net_in_their_shape() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 200)
    x = (rng.normal(size=(200, 16)) + 3 * y[:, None]).astype(np.float32)
    params = {"in_channels": 1, "image_size": 4, "num_classes": 2}
    trained = train("cnn", params, "multiclass", x_NG=x, y_N=y, options=TrainOptions(epochs=3, batch_size=32))
    assert trained.metrics["accuracy"] > 0.9


def test_the_same_seed_gives_the_same_net_and_keeps_torchs_random_state() -> None:
    x, y = ring(300)
    params = SMALL | {"dropout_rate": 0.2}
    options = TrainOptions(epochs=3, batch_size=64, seed=7)
    before = torch.get_rng_state()
    first = train("mlp", params, "binary", x_NG=x, y_N=y, options=options)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    second = train("mlp", params, "binary", x_NG=x, y_N=y, options=options)
    other = train("mlp", params, "binary", x_NG=x, y_N=y, options=TrainOptions(epochs=3, batch_size=64, seed=8))
    state = first.net.state_dict()
    assert all(torch.equal(state[key], value) for key, value in second.net.state_dict().items())
    assert not torch.equal(state["head.weight"], other.net.state_dict()["head.weight"])
    assert dict(first.metrics) == dict(second.metrics)


def test_training_stops_early_and_keeps_the_best_epoch() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(80, 20)).astype(np.float32), rng.integers(0, 2, 80)
    validation = (rng.normal(size=(80, 20)).astype(np.float32), rng.integers(0, 2, 80))
    params = {"input_dim": 20, "hidden_dims": [64], "output_dim": 1}
    options = TrainOptions(epochs=200, batch_size=16, learning_rate=0.01, patience=2)
    trained = train("mlp", params, "binary", x_NG=x, y_N=y, options=options, validation=validation)
    assert trained.epochs == trained.best_epoch + 2 < 200
    with torch.no_grad():
        logits = trained.net(torch.from_numpy(validation[0]))[:, 0]
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(validation[1]).float())
    assert float(loss) == pytest.approx(trained.metrics["loss"], rel=1e-6)
    assert trained.metrics["rows"] == 80


def test_progress_rises_from_0_to_1() -> None:
    x, y = ring(1000)
    calls: list[tuple[int, float, float]] = []
    options = TrainOptions(epochs=3, batch_size=10)
    trained = train("mlp", SMALL, "binary", x_NG=x, y_N=y, options=options, progress=lambda *call: calls.append(call))
    fractions = [fraction for _, fraction, _ in calls]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)
    assert {epoch for epoch, _, _ in calls} == set(range(1, trained.epochs + 1))
    assert 3 * 20 <= len(calls) <= 3 * 30
    assert all(np.isfinite(loss) for _, _, loss in calls)


def test_neither_rows_nor_targets_are_modified() -> None:
    x, y = ring(100)
    x.flags.writeable = y.flags.writeable = False
    before = x.tobytes(), y.tobytes()
    train("mlp", SMALL, "binary", x_NG=x, y_N=y, options=TrainOptions(epochs=1))
    assert (x.tobytes(), y.tobytes()) == before


def test_one_class_alone_has_no_roc_auc() -> None:
    x, _ = ring(50)
    trained = train("mlp", SMALL, "binary", x_NG=x, y_N=np.zeros(50), options=TrainOptions(epochs=1))
    assert "roc_auc" not in trained.metrics


def test_a_training_that_diverges_raises_an_error() -> None:
    x, _ = ring(100)
    options = TrainOptions(epochs=5, batch_size=10, learning_rate=1e30)
    with pytest.raises(ModelError, match="diverged") as caught:
        train("linear_regression", {"input_dim": 2}, "regression", x_NG=x, y_N=x[:, 0], options=options)
    assert caught.value.kind == "diverged"


@pytest.mark.parametrize(
    ("x", "y", "task", "says"),
    [
        (np.zeros((4, 3), np.float32), np.zeros(4), "binary", r"takes float32 \[N, 2\]"),
        (np.zeros((4, 2)), np.zeros(4), "binary", "this is float64"),
        (np.zeros((0, 2), np.float32), np.zeros(0), "binary", "at least one row"),
        (np.zeros((1, 2), np.float32), np.zeros(1), "binary", "at least two rows"),
        (np.array([[0, 1], [0, np.nan]], np.float32), np.zeros(2), "binary", "column 1 has missing or infinite values"),
        (np.zeros((4, 2), np.float32), np.zeros(3), "binary", r"finite numbers \[4\]; these are \[3\]"),
        (np.zeros((4, 2), np.float32), np.full(4, 2), "binary", "whole numbers from 0 to 1"),
        (np.zeros((4, 2), np.float32), np.full(4, 0.5), "binary", "whole numbers from 0 to 1"),
        (np.zeros((4, 2), np.float32), np.full(4, np.nan), "regression", "finite numbers"),
        (np.zeros((4, 2), np.float32), np.zeros((4, 2)), "regression", r"finite numbers \[4, 1\]"),
        (np.zeros((4, 2), np.float32), np.zeros(4), "multiclass", "a multiclass net has more than 1 output"),
    ],
)
def test_rows_or_targets_that_do_not_fit_raise_a_tensor_error(x: Any, y: Any, task: Any, says: str) -> None:
    with pytest.raises(TensorError, match=says):
        train("mlp", SMALL, task, x_NG=x, y_N=y)


def test_wrong_options_are_all_named() -> None:
    with pytest.raises(ModelError) as caught:
        TrainOptions(epochs=0, batch_size=0, learning_rate=float("nan"), validation_fraction=1.0, seed=-1)
    for name in ("epochs", "batch_size", "learning_rate", "validation_fraction", "seed"):
        assert f"{name} is " in caught.value.message
    x, y = ring(10)
    with pytest.raises(ModelError, match="task is 'ranking'"):
        train("mlp", SMALL, "ranking", x_NG=x, y_N=y)  # type: ignore[arg-type]
