"""Read a net as a chain of layers from the ONNX graph or from the weights of one of our architectures.

A graph that is not such a chain gives None, with the reason: it can be quantised, but not pruned.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

import numpy as np

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.artefact import Artefact
from forebay.models.artefacts.backend_files import ONNX_FILE
from forebay.models.artefacts.preparation import prepared_shape
from forebay.models.backends.onnx.proto import Node, OnnxModel, Tensor, parse_model
from forebay.models.compression.layers import (
    ACTIVATIONS,
    Activation,
    Convolution,
    Dense,
    Flatten,
    Layer,
    Layers,
    Link,
    MaxPool,
)

_TRANSPARENT: Final = ("Identity", "Dropout")
_LINKS: Final = ("Softmax", "Sigmoid")
_TORCH_ACTIVATIONS: Final[Mapping[str, Activation]] = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh"}


class NotAChain(Exception):
    """The net is not a chain of layers. The message is the reason, for people."""


def read_layers(artefact: Artefact) -> Layers:
    """Return the layers of a version of the backends `torch` and `onnx`. Raises NotAChain."""
    manifest = artefact.manifest
    shape = prepared_shape(manifest.signature, manifest.preprocessing)
    if manifest.backend == "torch":
        from forebay.models.backends.torch.backend import load_net

        net = load_net(artefact)
        if net.architecture not in ("linear_regression", "logistic_regression", "mlp", "cnn"):
            raise NotAChain(f"a {net.architecture} keeps a state from step to step")
        weights = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
        return torch_layers(net.architecture, net.params, weights, shape)
    if manifest.backend == "onnx":
        return graph_layers(parse_model(artefact.contents[ONNX_FILE]), shape)
    raise NotAChain(f"the backend {manifest.backend} runs no net that can be changed here")


def torch_layers(
    architecture: str, params: Mapping[str, object], weights: Mapping[str, FloatArray], shape: tuple[int, ...]
) -> Layers:
    """Return the layers of a net of our architectures. weights: as in its state. Raises NotAChain."""
    if params.get("embeddings"):
        raise NotAChain("its first layer looks up vectors for codes")

    def dense(name: str, activation: Activation | None = None) -> Dense:
        weight_OI = weights[f"{name}.weight"]
        return Dense(np.ascontiguousarray(weight_OI.T), weights[f"{name}.bias"], activation)

    if architecture == "cnn":
        convolutions = [
            Convolution(weights[f"{name}.weight"], weights[f"{name}.bias"], "Relu", padding=1)
            for name in ("conv1", "conv2")
        ]
        chain: list[Layer] = []
        for convolution in convolutions:
            chain += [convolution, MaxPool(2)]
        return Layers((*chain, Flatten(), dense("dense", "Relu"), dense("head")), shape)
    if architecture == "mlp":
        activation = _TORCH_ACTIVATIONS[str(params["activation"])]
        count = len(cast("list[int]", params["hidden_dims"]))
        hidden = [dense(f"hidden.{index}", activation) for index in range(count)]
        return Layers((*hidden, dense("head")), shape)
    return Layers((dense("linear"),), shape)


def graph_layers(model: OnnxModel, shape: tuple[int, ...]) -> Layers:
    """Return the layers of a graph. shape: of a row. Raises NotAChain if it has other operators, or branches."""
    chain: list[Layer] = []
    link: Link | None = None
    for node, matrix_bias in _nodes(model):
        if link is not None:
            raise NotAChain(f"{node.op_type} follows {link}")
        if node.op_type in ACTIVATIONS and chain and _takes_activation(chain[-1]) and not _is_end(model, node):
            chain[-1] = _activated(chain[-1], node.op_type)
        elif node.op_type in _LINKS and _is_end(model, node):
            link = cast("Link", node.op_type)
        else:
            chain.append(_layer(node, model, matrix_bias))
    if not chain or not isinstance(chain[-1], Dense) or chain[-1].activation is not None:
        raise NotAChain("it does not end in a linear layer")
    return Layers(tuple(chain), shape, link)


def _nodes(model: OnnxModel) -> Iterator[tuple[Node, Tensor | None]]:
    """Yield the nodes in the order of the computation; for a MatMul, the bias that the next node adds."""
    inputs = [info.name for info in model.inputs if info.name not in model.initialisers]
    consumers: dict[str, list[Node]] = {}
    for node in model.nodes:
        for name in node.inputs:
            consumers.setdefault(name, []).append(node)
    value, output = inputs[0], model.outputs[0].name
    if len(model.outputs) > 1:
        raise NotAChain(f"it has {len(model.outputs)} outputs")
    while value != output:
        following = consumers.get(value, [])
        if len(following) != 1:
            raise NotAChain(f"the value {value[:40]!r} goes to {len(following)} nodes")
        (node,) = following
        bias = None
        value = node.outputs[0]
        if node.op_type == "MatMul" and value != output:
            after = consumers.get(value, [])
            if len(after) == 1 and after[0].op_type == "Add":
                other = next(name for name in after[0].inputs if name != value)
                bias = model.initialisers.get(other)
                if bias is not None:
                    value = after[0].outputs[0]
        if node.op_type not in _TRANSPARENT:
            yield node, bias


def _is_end(model: OnnxModel, node: Node) -> bool:
    return node.outputs[0] == model.outputs[0].name


def _takes_activation(layer: Layer) -> bool:
    return isinstance(layer, Dense | Convolution) and layer.activation is None


def _activated(layer: Layer, activation: Activation) -> Layer:
    from dataclasses import replace

    assert isinstance(layer, Dense | Convolution)
    return replace(layer, activation=activation)


def _layer(node: Node, model: OnnxModel, matrix_bias: Tensor | None) -> Layer:
    match node.op_type:
        case "Gemm":
            return _gemm(node, model)
        case "MatMul":
            weight_IO = _floats(model, node.inputs[1])
            bias_O = (
                np.zeros(weight_IO.shape[1], np.float32) if matrix_bias is None else _array(matrix_bias).reshape(-1)
            )
            return Dense(weight_IO, bias_O)
        case "Conv":
            return _convolution(node, model)
        case "MaxPool":
            return _pool(node)
        case "Flatten" if _integer(node, "axis", 1) == 1:
            return Flatten()
        case "Reshape":
            sizes = model.initialisers[node.inputs[1]].integers() if node.inputs[1] in model.initialisers else None
            if sizes is not None and len(sizes) == 2:
                return Flatten()
    raise NotAChain(f"it has the operator {node.op_type[:40]}")


def _gemm(node: Node, model: OnnxModel) -> Dense:
    factors = [float(node.attributes.get(name, {}).get("f", 1.0)) for name in ("alpha", "beta")]
    if factors != [1.0, 1.0] or _integer(node, "transA", 0):
        raise NotAChain("a Gemm scales or transposes its input")
    weight = _floats(model, node.inputs[1])
    weight_IO = np.ascontiguousarray(weight.T) if _integer(node, "transB", 0) else weight
    bias_O = _floats(model, node.inputs[2]).reshape(-1) if len(node.inputs) > 2 else np.zeros(0, np.float32)
    if len(bias_O) != weight_IO.shape[1]:
        bias_O = np.resize(bias_O, weight_IO.shape[1]) if len(bias_O) else np.zeros(weight_IO.shape[1], np.float32)
    return Dense(weight_IO, bias_O)


def _convolution(node: Node, model: OnnxModel) -> Convolution:
    pads, strides, dilations = (_integers(node, name, default) for name, default in _WINDOW_DEFAULTS.items())
    if len(set(pads)) != 1 or len(set(strides)) != 1 or set(dilations) != {1} or _auto_pad(node):
        raise NotAChain("a convolution has different paddings or strides, or dilations")
    weight_OIKK = _floats(model, node.inputs[1])
    if weight_OIKK.ndim != 4:
        raise NotAChain("a convolution is not over images")
    bias_O = _floats(model, node.inputs[2]) if len(node.inputs) > 2 else np.zeros(len(weight_OIKK), np.float32)
    return Convolution(weight_OIKK, bias_O, padding=pads[0], stride=strides[0], groups=_integer(node, "group", 1))


_WINDOW_DEFAULTS: Final[Mapping[str, list[int]]] = {"pads": [0] * 4, "strides": [1, 1], "dilations": [1, 1]}


def _pool(node: Node) -> MaxPool:
    kernel = _integers(node, "kernel_shape", [])
    strides, pads = _integers(node, "strides", [1, 1]), _integers(node, "pads", [0] * 4)
    if len(kernel) != 2 or kernel != strides or len(set(kernel)) != 1 or any(pads) or _auto_pad(node):
        raise NotAChain("a pooling overlaps or pads")
    if _integer(node, "ceil_mode", 0):
        raise NotAChain("a pooling rounds up")
    return MaxPool(kernel[0])


def _auto_pad(node: Node) -> bool:
    return bytes(node.attributes.get("auto_pad", {}).get("s", b"NOTSET")) not in (b"NOTSET", b"VALID")


def _integer(node: Node, name: str, default: int) -> int:
    return int(node.attributes.get(name, {}).get("i", default))


def _integers(node: Node, name: str, default: list[int]) -> list[int]:
    found: Any = node.attributes.get(name, {}).get("ints", default)
    return [int(value) for value in found]


def _floats(model: OnnxModel, name: str) -> FloatArray:
    if name not in model.initialisers:
        raise NotAChain("a weight is computed")
    return _array(model.initialisers[name])


def _array(tensor: Tensor) -> FloatArray:
    values = tensor.floats()
    if values is None:
        raise NotAChain("its weights are not float32: it has been quantised already")
    return np.array(values, dtype=np.float32).reshape(tensor.dims)
