"""Weights of 4 bits: each is an integer from -8 to 7 times the scale of its output channel. Values stay float32.

The graph has standard operators: DequantizeLinear before each product. ONNX Runtime turns the weights back into numbers
when it runs, so that what gets smaller is the file.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from forebay.models.backends.onnx.encoding import (
    encode_integers,
    encode_model,
    encode_node,
    encode_rows,
    encode_tensor,
    message,
    number,
    text,
)
from forebay.models.backends.onnx.proto import FLOAT, INT4
from forebay.models.compression.integers import QuantisedTensor, pack_int4, quantise_tensor
from forebay.models.compression.layers import INPUT, OUTPUT, Convolution, Dense, Layers, encode_operation, weight_of
from forebay.schemas.errors import ModelError

_BITS: Final = 4


def encode_int4(layers: Layers) -> bytes:
    """Return the ONNX file of the layers, with weights of 4 bits. Raises ModelError if a weight is not finite."""
    nodes: list[bytes] = []
    tensors: list[bytes] = []
    value = INPUT
    for index, layer in enumerate(layers.chain):
        is_last = index == len(layers.chain) - 1
        result = OUTPUT if is_last and layers.link is None else f"value.{index}"
        names = [f"weight.{index}", f"bias.{index}"]
        if isinstance(layer, Dense | Convolution):
            axis = 1 if isinstance(layer, Dense) else 0
            quantised = quantise_tensor(weight_of(layer), bits=_BITS, axis=axis)
            stored, scale = f"integers.{index}", f"scale.{index}"
            tensors.append(_int4_tensor(stored, quantised))
            tensors.append(encode_tensor(scale, FLOAT, quantised.scale.reshape(-1).astype("<f4")))
            tensors.append(encode_tensor(names[1], FLOAT, layer.bias_O.astype("<f4")))
            attributes = [encode_integers("axis", [axis])]
            nodes.append(encode_node("DequantizeLinear", [stored, scale], names[0], attributes=attributes))
        nodes += encode_operation(layer, [value, *names], result)
        value = result
    if layers.link is not None:
        nodes.append(encode_node(layers.link, [value], OUTPUT))
    if not tensors:
        raise ModelError("int4: the net has no weights", kind="compression", remedy="choose another method")
    return encode_model(
        nodes,
        name="layers",
        inputs=encode_rows(INPUT, layers.input_shape, FLOAT),
        outputs=encode_rows(OUTPUT, layers.output_dim, FLOAT),
        initialisers=tensors,
    )


def _int4_tensor(name: str, quantised: QuantisedTensor) -> bytes:
    dimensions = [number(1, size) for size in quantised.integers.shape]
    packed = np.ascontiguousarray(pack_int4(quantised.integers)).tobytes()
    return b"".join([*dimensions, number(2, INT4), text(8, name), message(9, packed)])
