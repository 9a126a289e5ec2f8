"""What must hold for every training and every architecture, whatever the data is."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.models.backends.torch.architectures import Net, build_net
from forebay.models.training.run import run_recipe
from forebay.models.training.train import TrainOptions, train
from forebay.schemas.errors import ForebayError
from tests.models.training.tables import MemoryTable, recipe_with

ARCHITECTURES: dict[str, tuple[dict[str, object], tuple[int, ...]]] = {
    "linear_regression": ({"input_dim": 3, "output_dim": 2}, (3,)),
    "logistic_regression": ({"input_dim": 3, "output_dim": 2}, (3,)),
    "mlp": ({"input_dim": 3, "hidden_dims": [5, 4], "output_dim": 2, "activation": "tanh"}, (3,)),
    "cnn": ({"in_channels": 1, "image_size": 4, "num_classes": 2}, (1, 4, 4)),
    "gru": ({"input_dim": 2, "sequence_length": 3, "hidden_dim": 4, "output_dim": 2, "num_layers": 2}, (3, 3)),
}


def make(architecture: str, seed: int = 0, **more: object) -> Net:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_net(architecture, ARCHITECTURES[architecture][0] | more)


def rows(architecture: str, count: int = 4, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, *ARCHITECTURES[architecture][1], generator=generator, dtype=torch.float64)
    if architecture == "gru":  # sequences of 1, 2, 3, 1, … events, then padding
        lengths = torch.arange(count) % 3 + 1
        is_event = torch.arange(3) < lengths[:, None]
        x[:, :, :-1] *= is_event[:, :, None]
        x[:, :, -1] = is_event.double()
    return x


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradients_are_those_of_finite_differences(architecture: str) -> None:
    net = make(architecture).double()
    x = rows(architecture).requires_grad_(architecture != "gru")  # whether a step is an event has no gradient
    parameters = dict(net.named_parameters())
    names = list(parameters)

    def run(x: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(net, dict(zip(names, values, strict=True)), (x,))  # type: ignore[no-any-return]

    inputs = (x, *(parameter.detach().clone().requires_grad_() for parameter in parameters.values()))
    assert torch.autograd.gradcheck(run, inputs, fast_mode=True)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_row_has_the_same_finite_prediction_alone_and_in_any_batch(architecture: str) -> None:
    net = make(architecture).double().eval()
    x = rows(architecture, count=7)
    with torch.no_grad():
        together = net(x)
        assert torch.isfinite(together).all()
        assert torch.equal(together, net(x))
        order = torch.tensor([3, 0, 6, 1, 5, 2, 4])
        torch.testing.assert_close(net(x[order]), together[order], rtol=1e-12, atol=1e-12)
        alone = torch.cat([net(row[None]) for row in x])
    torch.testing.assert_close(alone, together, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("architecture", ["mlp", "cnn", "gru"])
def test_dropout_acts_only_in_training_and_keeps_the_mean(architecture: str) -> None:
    plain, dropping = make(architecture).double(), make(architecture, dropout_rate=0.4).double()
    x = rows(architecture)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        expected = plain.eval()(x)
        assert torch.equal(dropping.eval()(x), expected)
        dropping.train()
        first = dropping(x)
        assert not torch.equal(first, dropping(x))
        if architecture != "mlp":  # its dropout is not before the last layer alone, and tanh is not linear
            many = dropping(x.repeat(3000, *[1] * (x.dim() - 1))).view(3000, *expected.shape)
            torch.testing.assert_close(many.mean(dim=0), expected, rtol=0.1, atol=0.05)


def test_dropout_drops_the_stated_share_of_hidden_values() -> None:
    net = build_net(
        "mlp", {"input_dim": 1, "hidden_dims": [4000], "output_dim": 1, "dropout_rate": 0.3, "activation": "sigmoid"}
    )
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net.head.weight.fill_(1.0)  # type: ignore[union-attr,operator]
        net.head.bias.zero_()  # type: ignore[union-attr,operator]
        net.hidden[0].weight.zero_()  # type: ignore[index,union-attr]
        net.hidden[0].bias.zero_()  # type: ignore[index,union-attr]
        kept = net.train()(torch.zeros(1, 1)).item() / (4000 * 0.5 / 0.7)
    assert kept == pytest.approx(0.7, abs=0.03)


def test_padding_of_a_sequence_changes_nothing() -> None:
    net = make("gru").double().eval()
    x = rows("gru")
    noisy = x.clone()
    noisy[:, :, :-1] += 100 * (1 - x[:, :, -1:])
    with torch.no_grad():
        assert torch.equal(net(noisy), net(x))
        changed = x.clone()
        changed[:, 0, 0] += 1  # an event
        assert not torch.equal(net(changed), net(x))


def test_noiseless_linear_data_is_learnt_to_a_mean_squared_error_below_a_thousandth() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(1000, 4)).astype(np.float32)
    y = x @ np.array([1.5, -2.0, 0.3, 0.0]) + 0.7
    options = TrainOptions(epochs=30, batch_size=64, learning_rate=0.05, patience=30)
    trained = train("linear_regression", {"input_dim": 4}, "regression", x_NG=x, y_N=y, options=options)
    assert trained.metrics["loss"] < 1e-3


def test_logistic_regression_separates_what_is_separable() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(600, 3)).astype(np.float32)
    side = x @ np.array([1.0, 2.0, -1.0])
    x, y = x[np.abs(side) > 0.3], (side[np.abs(side) > 0.3] > 0).astype(np.float32)
    options = TrainOptions(epochs=40, batch_size=32, learning_rate=0.2, patience=40)
    trained = train("logistic_regression", {"input_dim": 3}, "binary", x_NG=x, y_N=y, options=options)
    assert trained.metrics["accuracy"] == 1.0


@settings(max_examples=25, deadline=None)
@given(
    data=st.binary(min_size=4 * 3 * 8, max_size=4 * 3 * 24),
    architecture=st.sampled_from(["linear_regression", "mlp"]),
    is_binary=st.booleans(),
)
def test_training_on_arbitrary_bytes_gives_finite_predictions_or_a_clear_error(
    data: bytes, architecture: str, is_binary: bool
) -> None:
    table = np.frombuffer(data[: len(data) // 12 * 12], dtype="<f4").reshape(-1, 3)
    y = np.signbit(table[:, 2]).astype(np.float32) if is_binary else table[:, 2]
    params: dict[str, Any] = {"input_dim": 2} | ({"hidden_dims": [3], "output_dim": 1} if architecture == "mlp" else {})
    task: Any = "binary" if is_binary else "regression"
    options = TrainOptions(epochs=2, batch_size=8)
    try:
        trained = train(architecture, params, task, x_NG=table[:, :2].astype(np.float32), y_N=y, options=options)
    except ForebayError as error:
        assert error.remedy or error.message
        return
    with torch.no_grad():
        found = trained.net(torch.from_numpy(np.array(table[:, :2], dtype=np.float32)))
    assert torch.isfinite(found).all()


@settings(max_examples=15, deadline=None)
@given(data=st.binary(min_size=4 * 3 * 8, max_size=4 * 3 * 24), labels=st.sampled_from(["sign", "value"]))
def test_a_recipe_on_arbitrary_bytes_gives_finite_predictions_or_a_clear_error(data: bytes, labels: str) -> None:
    values = np.frombuffer(data[: len(data) // 12 * 12], dtype="<f4").reshape(-1, 3)
    y = np.where(np.signbit(values[:, 2]), "minus", "plus") if labels == "sign" else values[:, 2]
    table = pa.table({"a": values[:, 0], "b": values[:, 1], "y": y.tolist() if labels == "sign" else pa.array(y)})
    with tempfile.TemporaryDirectory() as folder:
        recipe = recipe_with(Path(folder), training={"epochs": 2, "batch_size": 8}, model={"hidden_dims": (3,)})
        try:
            outcome = run_recipe(
                recipe, MemoryTable(table), Path(folder), created_at=datetime(2026, 1, 1, tzinfo=UTC), register=False
            )
        except ForebayError as error:
            assert error.remedy
            return
        assert all(np.isfinite(value) for part in outcome.metrics.values() for value in part.values())
        assert np.isfinite(outcome.fitted.predict(outcome.data.training.x)).all()
