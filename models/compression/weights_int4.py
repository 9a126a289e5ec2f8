"""Weights of 4 bits: each is an integer from -8 to 7 times the scale of its output channel. Values stay float32.

The graph has standard operators: DequantizeLinear before each product. ONNX Runtime turns the weights back into numbers
when it runs, so that what gets smaller is the file.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from forebay.models.backends.onnx.encoding import (
    encode_integers,
    encode_node,
    encode_tensor,
    message,
    number,
    text,
)
from forebay.models.backends.onnx.proto import FLOAT, INT4
from forebay.models.compression.integers import QuantisedTensor, pack_int4, quantise_tensor
from forebay.models.compression.layers import Convolution, Dense, Layers, encode, weight_of
from forebay.schemas.errors import ModelError

_BITS: Final = 4


def encode_int4(layers: Layers) -> bytes:
    """Return the ONNX file of the layers, with weights of 4 bits. Raises ModelError if a weight is not finite."""
    if not any(isinstance(layer, Dense | Convolution) for layer in layers.chain):
        raise ModelError("int4: the net has no weights", kind="compression", remedy="choose another method")
    return encode(layers, _encode_weight)


def _encode_weight(layer: Dense | Convolution, name: str) -> tuple[list[bytes], list[bytes]]:
    axis = 1 if isinstance(layer, Dense) else 0
    quantised = quantise_tensor(weight_of(layer), bits=_BITS, axis=axis)
    stored, scale = f"{name}.integers", f"{name}.scale"
    tensors = [
        _int4_tensor(stored, quantised),
        encode_tensor(scale, FLOAT, quantised.scale.reshape(-1).astype("<f4")),
    ]
    attributes = [encode_integers("axis", [axis])]
    return tensors, [encode_node("DequantizeLinear", [stored, scale], name, attributes=attributes)]


def _int4_tensor(name: str, quantised: QuantisedTensor) -> bytes:
    dimensions = [number(1, size) for size in quantised.integers.shape]
    packed = np.ascontiguousarray(pack_int4(quantised.integers)).tobytes()
    return b"".join([*dimensions, number(2, INT4), text(8, name), message(9, packed)])
