"""Chains of layers: read from nets and graphs, written as graphs, pruned, trained."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.backends.onnx.backend import build_runner
from forebay.models.backends.onnx.encoding import encode_model, encode_node, encode_rows
from forebay.models.backends.onnx.proto import FLOAT, parse_model
from forebay.models.backends.protocol import RunOptions
from forebay.models.backends.torch.architectures import build_net
from forebay.models.compression.fine_tuning import DistillationLoss, LayerNet, fine_tune, new_student, run_layers
from forebay.models.compression.layer_reading import NotAChain, graph_layers, torch_layers
from forebay.models.compression.layers import Convolution, Dense, Flatten, Layers, MaxPool, encode
from forebay.models.compression.structured import kept_units, prune_units
from forebay.models.compression.unstructured import zero_weights
from forebay.models.compression.weights_int4 import encode_int4
from forebay.models.training.losses import Loss
from forebay.schemas.errors import ModelError
from tests.models.compression.small_models import spots_data, spots_layers

RANDOM = np.random.default_rng(0)
MLP = ("mlp", {"input_dim": 5, "hidden_dims": [12, 8], "output_dim": 3, "activation": "tanh"}, (5,))
CNN = ("cnn", {"in_channels": 2, "image_size": 8, "num_classes": 4}, (2, 8, 8))


def rows(shape: tuple[int, ...], count: int = 9) -> FloatArray:
    return RANDOM.normal(0, 1, (count, *shape)).astype(np.float32)


def run(data: bytes, x: FloatArray) -> FloatArray:
    return build_runner(data, "the graph", RunOptions()).run(x)


@pytest.mark.parametrize("kind", [MLP, CNN], ids=["mlp", "cnn"])
def test_a_net_its_layers_and_their_graph_agree(kind: tuple[str, dict[str, object], tuple[int, ...]]) -> None:
    architecture, params, shape = kind
    net = build_net(architecture, params).eval()
    weights = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
    layers = torch_layers(architecture, net.params, weights, shape)
    x = rows(shape)
    with torch.no_grad():
        expected = net(torch.from_numpy(x)).numpy()
        assert LayerNet(layers)(torch.from_numpy(x)).numpy() == pytest.approx(expected, abs=1e-5)
    data = encode(layers)
    assert run(data, x) == pytest.approx(expected, abs=1e-5)
    again = graph_layers(parse_model(data), shape)
    assert encode(again) == data
    assert run(encode_int4(layers), x) == pytest.approx(expected, abs=0.35 * float(np.abs(expected).max()) + 0.05)


def test_a_graph_with_another_operator_is_not_a_chain() -> None:
    data = encode_model(
        [encode_node("Abs", ["rows"], "outputs")],
        name="g",
        inputs=encode_rows("rows", 3, FLOAT),
        outputs=encode_rows("outputs", 3, FLOAT),
    )
    with pytest.raises(NotAChain, match="operator Abs"):
        graph_layers(parse_model(data), (3,))


def test_units_without_weights_leave_and_the_outputs_stay() -> None:
    layers = spots_layers(16)
    hidden, head = layers.chain
    assert isinstance(hidden, Dense) and isinstance(head, Dense)
    head.weight_IO[8:] = 0.0  # these eight do nothing
    smaller = prune_units(layers, 0.5)
    x = rows((6,))
    assert smaller.widths() == (8, 3) and smaller.num_parameters < layers.num_parameters / 1.9
    assert run_layers(smaller, x) == pytest.approx(run_layers(layers, x), abs=1e-6)


def test_channels_leave_a_convolution_with_their_positions_after_flattening() -> None:
    first = rows((2, 3, 3), 8)
    second = rows((8, 3, 3), 8)
    dense = RANDOM.normal(0, 1, (8 * 4, 3)).astype(np.float32)
    second[:, 1::2] = 0.0  # odd channels of the first lead nowhere
    dense.reshape(8, 4, 3)[4:] = 0.0  # so do the last channels of the second
    zeros = np.zeros(8, np.float32)
    layers = Layers(
        (
            Convolution(first, zeros, "Relu", padding=1),
            MaxPool(2),
            Convolution(second, zeros, "Relu", padding=1),
            Flatten(),
            Dense(dense, np.zeros(3, np.float32)),
        ),
        (2, 4, 4),
    )
    smaller = prune_units(layers, 0.5)
    x = rows((2, 4, 4))
    assert smaller.widths() == (4, 4, 3)
    assert run_layers(smaller, x) == pytest.approx(run_layers(layers, x), abs=1e-4)
    assert run(encode(smaller), x) == pytest.approx(run_layers(layers, x), abs=1e-4)


def test_what_cannot_be_pruned_is_refused() -> None:
    head = Dense(np.ones((2, 1), np.float32), np.zeros(1, np.float32))
    with pytest.raises(ModelError, match="no hidden layer"):
        prune_units(Layers((head,), (2,)), 0.5)
    depthwise = Convolution(np.ones((2, 1, 1, 1), np.float32), np.zeros(2, np.float32), groups=2)
    flat = Dense(np.ones((8, 1), np.float32), np.zeros(1, np.float32))
    with pytest.raises(ModelError, match="groups of channels"):
        prune_units(Layers((depthwise, Flatten(), flat), (2, 2, 2)), 0.5)


@pytest.mark.parametrize(
    ("width", "ratio", "kept"), [(64, 0.5, 32), (10, 0.5, 4), (3, 0.9, 1), (1, 0.5, 1), (128, 0.3, 88)]
)
def test_wide_layers_keep_a_multiple_of_four_units(width: int, ratio: float, kept: int) -> None:
    assert kept_units(width, ratio) == kept


def test_unstructured_pruning_zeroes_the_smallest_weights_and_nothing_leaves() -> None:
    layers = spots_layers(16)
    sparse = zero_weights(layers, 0.75)
    assert sparse.widths() == layers.widths() and len(encode(sparse)) == len(encode(layers))
    weight = sparse.last.weight_IO
    assert (weight == 0).mean() == 0.75 and (weight[:3] > 0.9).sum() == 3


def test_training_improves_a_student_and_keeps_the_layers_it_was_given() -> None:
    data, like = spots_data(), spots_layers()
    from forebay.models.compression.fine_tuning import TuningOptions

    fresh = new_student(like, (8,), seed=0)
    before = fresh.last.weight_IO.copy()
    trained = fine_tune(fresh, data, "multiclass", TuningOptions(epochs=12, batch_size=32, learning_rate=0.02))
    assert (fresh.last.weight_IO == before).all() and trained.widths() == (8, 3)
    part = data.held_out
    right = [(run_layers(layers, part.x_NG).argmax(axis=1) == part.y).mean() for layers in (fresh, trained)]
    assert right[1] > 0.9 > right[0]


def test_the_loss_of_a_student_is_that_of_hinton() -> None:
    outputs, teacher = torch.tensor([[1.0, -0.5, 0.2]]), torch.tensor([[0.5, 2.0, -1.0]])
    loss = DistillationLoss("mse", task_loss=Loss("cross_entropy"), temperature=3.0, share=0.6)
    found = loss.row_losses(outputs, torch.cat([torch.tensor([[2.0]]), teacher], dim=1))
    soft = torch.softmax(teacher / 3, dim=1)
    # The cross-entropy is the divergence of Kullback and Leibler and a constant of the teacher.
    divergence = F.kl_div(torch.log_softmax(outputs / 3, dim=1), soft, reduction="sum")
    expected = 0.4 * F.cross_entropy(outputs, torch.tensor([2])) + 0.6 * 9 * (divergence - (soft * soft.log()).sum())
    assert float(found[0]) == pytest.approx(float(expected), rel=1e-5)
