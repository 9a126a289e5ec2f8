from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.models.backends.torch.architectures import (
    CNN,
    MLP,
    LinearRegression,
    LogisticRegression,
    Net,
    build_net,
    check_params,
)
from forebay.schemas.errors import ModelError, TensorError

ACTIVATIONS: dict[str, Any] = {
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
}


def weights(net: torch.nn.Module) -> dict[str, Any]:
    return {key: value.detach().numpy().astype(np.float64) for key, value in net.state_dict().items()}


def run(net: torch.nn.Module, x: Any) -> Any:
    with torch.inference_mode():
        return net.eval()(torch.from_numpy(x)).numpy()


@pytest.mark.parametrize("architecture", ["linear_regression", "logistic_regression"])
def test_linear_nets_agree_with_float64(architecture: str) -> None:
    torch.manual_seed(1)
    net = build_net(architecture, {"input_dim": 5, "output_dim": 3})
    x = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
    w = weights(net)
    np.testing.assert_allclose(run(net, x), x @ w["linear.weight"].T + w["linear.bias"], rtol=1e-5, atol=1e-6)


@settings(max_examples=25)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=3),
    st.sampled_from(sorted(ACTIVATIONS)),
    st.sampled_from([0, 0.5]),
    st.integers(0, 1000),
)
def test_an_mlp_agrees_with_float64(hidden: list[int], activation: str, rate: float, seed: int) -> None:
    torch.manual_seed(seed)
    params = {
        "input_dim": 4,
        "hidden_dims": hidden,
        "output_dim": 2,
        "dropout_rate": rate,
        "activation": activation,
    }
    net = build_net("mlp", params)
    x = np.random.default_rng(seed).normal(size=(6, 4)).astype(np.float32)
    w, expected = weights(net), x.astype(np.float64)
    for layer in range(len(hidden)):
        expected = ACTIVATIONS[activation](expected @ w[f"hidden.{layer}.weight"].T + w[f"hidden.{layer}.bias"])
    expected = expected @ w["head.weight"].T + w["head.bias"]
    np.testing.assert_allclose(run(net, x), expected, rtol=1e-5, atol=1e-6)


def test_dropout_acts_in_training_on_hidden_layers_only() -> None:
    torch.manual_seed(0)
    net: Any = MLP(8, [64], 3, dropout_rate=0.5)
    with torch.no_grad():
        net.hidden[0].weight.zero_()
        net.hidden[0].bias.fill_(1.0)
        net.head.weight.fill_(1.0)
        net.head.bias.zero_()
    x = torch.zeros(200, 8)
    out = net.train()(x).detach()
    # Values that are kept count double; if dropout acted on the last layer too, its outputs would differ or be 0.
    assert (out[:, 0] == out[:, 1]).all()
    assert (out % 2 == 0).all()
    assert out.std() > 0
    assert 60 < out.mean() < 68
    assert (net.eval()(x) == 64).all()


def convolve(x: Any, w: Any, b: Any) -> Any:
    """Return a 3x3 convolution with padding 1, computed by its definition."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    height, width = x.shape[2:]
    out = np.zeros((len(x), len(w), height, width))
    for dy in range(3):
        for dx in range(3):
            out += np.einsum("bchw,oc->bohw", padded[:, :, dy : dy + height, dx : dx + width], w[:, :, dy, dx])
    return out + b[:, None, None]


def pool(x: Any) -> Any:
    height, width = x.shape[2] // 2 * 2, x.shape[3] // 2 * 2
    return x[:, :, :height, :width].reshape(*x.shape[:2], height // 2, 2, width // 2, 2).max(axis=(3, 5))


@pytest.mark.parametrize("size", [4, 7, 12])
def test_a_cnn_agrees_with_float64(size: int) -> None:
    torch.manual_seed(2)
    net = build_net("cnn", {"in_channels": 3, "image_size": size, "num_classes": 5})
    x = np.random.default_rng(0).normal(size=(2, 3, size, size)).astype(np.float32)
    w = weights(net)
    assert w["conv1.weight"].shape == (32, 3, 3, 3)
    assert w["conv2.weight"].shape == (64, 32, 3, 3)
    assert w["dense.weight"].shape == (128, 64 * (size // 4) ** 2)
    hidden = pool(np.maximum(convolve(x.astype(np.float64), w["conv1.weight"], w["conv1.bias"]), 0))
    hidden = pool(np.maximum(convolve(hidden, w["conv2.weight"], w["conv2.bias"]), 0)).reshape(2, -1)
    hidden = np.maximum(hidden @ w["dense.weight"].T + w["dense.bias"], 0)
    np.testing.assert_allclose(run(net, x), hidden @ w["head.weight"].T + w["head.bias"], rtol=1e-4, atol=1e-6)


def test_a_net_can_be_rebuilt_from_its_architecture_and_params() -> None:
    for net in (
        LinearRegression(3),
        LogisticRegression(3, 2),
        MLP(3, (4, 5), 2, activation="tanh"),
        CNN(1, 8, 10),
    ):
        again = build_net(net.architecture, net.params)
        assert type(again) is type(net)
        assert again.params == net.params
        assert (again.input_shape, again.output_dim) == (net.input_shape, net.output_dim)
        assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in net.state_dict().items()}


def test_defaults_are_filled_in() -> None:
    assert check_params("mlp", {"input_dim": 2, "hidden_dims": (3,), "output_dim": 1}) == {
        "input_dim": 2,
        "hidden_dims": [3],
        "output_dim": 1,
        "dropout_rate": 0.0,
        "activation": "relu",
    }
    assert check_params("linear_regression", {"input_dim": 2}) == {"input_dim": 2, "output_dim": 1}


def test_every_problem_of_the_parameters_is_named_with_what_is_allowed() -> None:
    bad = {"input_dim": 0, "hidden_dims": [], "dropout_rate": 1, "activation": "gelu", "hiden_dims": [3]}
    with pytest.raises(ModelError) as caught:
        build_net("mlp", bad)
    message = caught.value.message
    assert "hiden_dims is not a parameter (did you mean hidden_dims?)" in message
    assert "input_dim is 0; allowed is a whole number from 1 to 1000000" in message
    assert "hidden_dims is []; allowed is a list of 1 to 64 whole numbers" in message
    assert "output_dim is missing; allowed is a whole number" in message
    assert "dropout_rate is 1; allowed is a number from 0 to below 1" in message
    assert "activation is 'gelu'; allowed is relu or sigmoid or tanh" in message
    assert caught.value.kind == "params"
    assert caught.value.remedy


@pytest.mark.parametrize("value", [0, -1, True, 1.0, "3", None, 10**9, [3]])
def test_a_dimension_is_a_positive_whole_number(value: Any) -> None:
    with pytest.raises(ModelError, match="input_dim is"):
        build_net("linear_regression", {"input_dim": value})
    with pytest.raises(ModelError, match="hidden_dims is"):
        MLP(3, [4, value], 2)


@pytest.mark.parametrize("value", [-0.1, 1.0, float("nan"), True, "0.1", None])
def test_a_dropout_rate_is_from_0_to_below_1(value: Any) -> None:
    with pytest.raises(ModelError, match="dropout_rate is"):
        MLP(3, [4], 2, dropout_rate=value)


@pytest.mark.parametrize("value", [3, 5000, 28.0])
def test_an_image_is_large_enough_for_two_poolings(value: Any) -> None:
    with pytest.raises(ModelError, match=r"image_size is .*allowed is a whole number from 4 to 4096"):
        CNN(1, value, 10)


def test_an_unknown_architecture_gets_the_nearest_name() -> None:
    with pytest.raises(ModelError, match="no architecture 'mpl'; did you mean mlp") as caught:
        build_net("mpl", {})
    assert caught.value.kind == "architecture"
    assert "linear_regression, logistic_regression, mlp, cnn" in str(caught.value.remedy)


@pytest.mark.parametrize("shape", [(), (3,), (2, 4), (2, 3, 1)])
def test_an_input_of_another_shape_is_a_tensor_error(shape: tuple[int, ...]) -> None:
    for net in (LinearRegression(3), LogisticRegression(3), MLP(3, [2], 1)):
        with pytest.raises(TensorError, match=r"takes a tensor \[B, 3\]"):
            net(torch.zeros(shape))
    with pytest.raises(TensorError, match=r"takes a tensor \[B, 1, 8, 8\]"):
        CNN(1, 8, 2)(torch.zeros(shape))


@pytest.mark.parametrize(
    ("architecture", "params"),
    [
        ("linear_regression", {"input_dim": 3}),
        ("logistic_regression", {"input_dim": 3, "output_dim": 2}),
        ("mlp", {"input_dim": 3, "hidden_dims": [4], "output_dim": 2, "activation": "tanh"}),
        ("cnn", {"in_channels": 1, "image_size": 4, "num_classes": 2}),
        ("gru", {"input_dim": 2, "sequence_length": 3, "hidden_dim": 4, "output_dim": 1}),
    ],
)
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_a_net_can_be_copied_and_pickled(
    architecture: str, params: dict[str, Any], duplicate: Callable[[Net], Net]
) -> None:
    net = build_net(architecture, params)
    twin = duplicate(net)
    assert type(twin) is type(net)
    assert (twin.architecture, twin.params, twin.output_dim) == (net.architecture, net.params, net.output_dim)
    x = np.ones((2, *net.input_shape), np.float32)
    np.testing.assert_array_equal(run(twin, x), run(net, x))


def test_the_parameters_of_a_net_cannot_be_changed() -> None:
    net = build_net("linear_regression", {"input_dim": 3})
    with pytest.raises(TypeError):
        net.params["input_dim"] = 4  # type: ignore[index]


def test_embeddings_replace_codes_by_learned_vectors() -> None:
    torch.manual_seed(2)
    params = {"input_dim": 5, "hidden_dims": [6], "output_dim": 2, "embeddings": [[3, 4, 2], [1, 3, 3]]}
    net = build_net("mlp", params)
    x = np.array(
        [[0.5, 2, -1, 3, 9], [1, 0, 0, 0, 0], [1, 3, 0, 4, 0], [1, -1, 0, 0.5, 0], [1, np.nan, 0, np.nan, 0]],
        dtype=np.float32,
    )
    w = weights(net)
    codes = np.array([[3, 2], [0, 0], [4, 3], [4, 3], [4, 3]])  # what is not a code has the last vector
    vectors = [w["embeddings.tables.0.weight"][codes[:, 0]], w["embeddings.tables.1.weight"][codes[:, 1]]]
    whole = np.column_stack([x[:, [0, 2, 4]], *vectors])
    hidden = np.maximum(whole @ w["hidden.0.weight"].T + w["hidden.0.bias"], 0)
    np.testing.assert_allclose(run(net, x), hidden @ w["head.weight"].T + w["head.bias"], rtol=1e-5, atol=1e-6)
    copied = build_net(net.architecture, net.params)
    copied.load_state_dict(net.state_dict())
    np.testing.assert_array_equal(run(copied, x), run(net, x))


def test_embeddings_are_trained() -> None:
    net = build_net("mlp", {"input_dim": 1, "hidden_dims": [4], "output_dim": 1, "embeddings": [[0, 3, 2]]})
    net(torch.tensor([[0.0], [2.0]])).sum().backward()
    (table,) = [value for name, value in net.named_parameters() if name.startswith("embeddings")]
    assert table.grad is not None
    assert (table.grad.abs().sum(dim=1) > 0).tolist()[1::2] == [False, False], "codes 1 and 3 were not seen"


def test_an_mlp_without_embeddings_has_the_parameters_of_before() -> None:
    net = build_net("mlp", {"input_dim": 3, "hidden_dims": [2], "output_dim": 1})
    assert set(net.params) == {"input_dim", "hidden_dims", "output_dim", "dropout_rate", "activation"}
    assert set(net.state_dict()) == {"hidden.0.weight", "hidden.0.bias", "head.weight", "head.bias"}


@pytest.mark.parametrize(
    ("embeddings", "says"),
    [
        ([[0, 3]], "allowed is a list of at most 256 triples"),
        ([[0, 3, 0]], "allowed is a list of at most 256 triples"),
        ([[0, 0, 2]], "allowed is a list of at most 256 triples"),
        (5, "allowed is a list of at most 256 triples"),
        ([[2, 3, 2]], "the columns of embeddings must be different and below input_dim, 2"),
        ([[0, 3, 2], [0, 3, 2]], "the columns of embeddings must be different"),
    ],
)
def test_embeddings_that_do_not_fit_are_refused(embeddings: object, says: str) -> None:
    with pytest.raises(ModelError, match=says):
        check_params("mlp", {"input_dim": 2, "hidden_dims": [2], "output_dim": 1, "embeddings": embeddings})
