"""Write layers of a perceptron as an ONNX graph, without torch and without the package `onnx`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import numpy as np

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.backends.onnx.encoding import encode_model, encode_node, encode_rows, encode_tensor
from forebay.models.backends.onnx.proto import FLOAT

OPERATORS: Final[Mapping[str, str]] = MappingProxyType({"relu": "Relu", "logistic": "Sigmoid", "tanh": "Tanh"})
"""The operator of each activation, as scikit-learn calls it."""

_INPUT, _OUTPUT = "rows", "outputs"


def encode_layers(weights: Sequence[FloatArray], biases: Sequence[FloatArray], activation: str) -> bytes:
    """Return the ONNX file of `x @ weight + bias` for each layer, with the activation between the layers.

    weights, biases: of each layer, float32 [inputs, outputs] and [outputs].
    activation: a key of `OPERATORS`; not used for one layer.
    """
    nodes, tensors, value = [], [], _INPUT
    last = len(weights) - 1
    for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        names = f"weight.{layer}", f"bias.{layer}"
        for name, array in zip(names, (weight, bias), strict=True):
            tensors.append(encode_tensor(name, FLOAT, np.ascontiguousarray(array, dtype="<f4")))
        result = _OUTPUT if layer == last else f"sum.{layer}"
        nodes.append(encode_node("Gemm", [value, *names], result))
        value = result
        if layer < last:
            value = f"hidden.{layer}"
            nodes.append(encode_node(OPERATORS[activation], [result], value))
    return encode_model(
        nodes,
        name="layers",
        inputs=encode_rows(_INPUT, weights[0].shape[0], FLOAT),
        outputs=encode_rows(_OUTPUT, weights[-1].shape[1], FLOAT),
        initialisers=tensors,
    )
