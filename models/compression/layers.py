"""A net as a chain of layers with their weights: what pruning cuts, fine-tuning trains, and an ONNX file holds.

Shapes: I inputs, O outputs, K kernel size of a layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.backends.onnx.encoding import (
    encode_integers,
    encode_model,
    encode_node,
    encode_rows,
    encode_tensor,
)
from forebay.models.backends.onnx.proto import FLOAT

Activation = Literal["Relu", "Sigmoid", "Tanh"]
Link = Literal["Softmax", "Sigmoid"]
ACTIVATIONS: Final[tuple[Activation, ...]] = ("Relu", "Sigmoid", "Tanh")

INPUT, OUTPUT = "rows", "outputs"


@dataclass(frozen=True, slots=True, eq=False)
class Dense:
    """Return activation(x @ weight + bias). weight_IO, bias_O: float32. activation: None for the identity."""

    weight_IO: FloatArray
    bias_O: FloatArray
    activation: Activation | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Convolution:
    """Return activation(conv(x)). weight_OIKK: float32. padding: on each side; stride: in both directions.

    groups: the number of groups of channels; above 1 the weight has I / groups inputs.
    """

    weight_OIKK: FloatArray
    bias_O: FloatArray
    activation: Activation | None = None
    padding: int = 0
    stride: int = 1
    groups: int = 1


@dataclass(frozen=True, slots=True)
class MaxPool:
    """Return the largest value of each square of `size` by `size`."""

    size: int


@dataclass(frozen=True, slots=True)
class Flatten:
    """Return each row as a vector."""


Layer = Dense | Convolution | MaxPool | Flatten


@dataclass(frozen=True, slots=True, eq=False)
class Layers:
    """A chain of layers. The last one is a `Dense` without an activation.

    input_shape: of a row. link: what the graph applies at the end, so that its outputs are probabilities; None for nothing.
    """

    chain: tuple[Layer, ...]
    input_shape: tuple[int, ...]
    link: Link | None = None

    @property
    def last(self) -> Dense:
        """The last layer."""
        layer = self.chain[-1]
        assert isinstance(layer, Dense)
        return layer

    @property
    def output_dim(self) -> int:
        """The number of outputs."""
        return len(self.last.bias_O)

    @property
    def num_parameters(self) -> int:
        """The number of weights and biases."""
        return sum(layer.bias_O.size + weight_of(layer).size for layer in self.weighted())

    def widths(self) -> tuple[int, ...]:
        """Return the number of outputs of each layer with weights."""
        return tuple(len(layer.bias_O) for layer in self.weighted())

    def weighted(self) -> tuple[Dense | Convolution, ...]:
        """Return the layers with weights."""
        return tuple(layer for layer in self.chain if isinstance(layer, Dense | Convolution))


def has_weights(layer: Layer) -> bool:
    """Return whether the layer is a `Dense` or a `Convolution`."""
    return isinstance(layer, Dense | Convolution)


WeightEncoder = Callable[[Dense | Convolution, str], tuple[list[bytes], list[bytes]]]


def weight_of(layer: Layer) -> FloatArray:
    """Return the weight of a layer that has one."""
    assert isinstance(layer, Dense | Convolution)
    return layer.weight_IO if isinstance(layer, Dense) else layer.weight_OIKK


def encode_weight(layer: Dense | Convolution, name: str) -> tuple[list[bytes], list[bytes]]:
    """Return the tensors and the nodes that give the weight of a layer under this name: float32, without nodes."""
    return [_float_tensor(name, weight_of(layer))], []


def encode(layers: Layers, weights: WeightEncoder = encode_weight) -> bytes:
    """Return the ONNX file of the layers. weights: returns the tensors and nodes of the weight of a layer."""
    nodes: list[bytes] = []
    tensors: list[bytes] = []
    value = INPUT
    for index, layer in enumerate(layers.chain):
        is_last = index == len(layers.chain) - 1
        result = OUTPUT if is_last and layers.link is None else f"value.{index}"
        names = [f"weight.{index}", f"bias.{index}"]
        if isinstance(layer, Dense | Convolution):
            weight_tensors, weight_nodes = weights(layer, names[0])
            tensors += [*weight_tensors, _float_tensor(names[1], layer.bias_O)]
            nodes += weight_nodes
        nodes += encode_operation(layer, [value, *names], result)
        value = result
    if layers.link is not None:
        nodes.append(encode_node(layers.link, [value], OUTPUT))
    return encode_model(
        nodes,
        name="layers",
        inputs=encode_rows(INPUT, layers.input_shape, FLOAT),
        outputs=encode_rows(OUTPUT, layers.output_dim, FLOAT),
        initialisers=tensors,
    )


def encode_operation(layer: Layer, inputs: Sequence[str], result: str) -> list[bytes]:
    """Return the nodes of a layer. inputs: the names of the value, the weight and the bias."""
    match layer:
        case Flatten():
            return [encode_node("Flatten", inputs[:1], result)]
        case MaxPool():
            sizes = [layer.size, layer.size]
            attributes = [encode_integers("kernel_shape", sizes), encode_integers("strides", sizes)]
            return [encode_node("MaxPool", inputs[:1], result, attributes=attributes)]
    operator = "Gemm" if isinstance(layer, Dense) else "Conv"
    attributes = [] if isinstance(layer, Dense) else _convolution_attributes(layer)
    if layer.activation is None:
        return [encode_node(operator, inputs, result, attributes=attributes)]
    total = f"{result}.sum"
    return [
        encode_node(operator, inputs, total, attributes=attributes),
        encode_node(layer.activation, [total], result),
    ]


def _convolution_attributes(layer: Convolution) -> list[bytes]:
    kernel: Sequence[int] = layer.weight_OIKK.shape[2:]
    return [
        encode_integers("kernel_shape", kernel),
        encode_integers("pads", [layer.padding] * 4),
        encode_integers("strides", [layer.stride] * 2),
        encode_integers("group", [layer.groups]),
    ]


def _float_tensor(name: str, array: FloatArray) -> bytes:
    return encode_tensor(name, FLOAT, np.ascontiguousarray(array, dtype="<f4"))
