"""Write the protocol buffers of ONNX files. The package `onnx` is not needed: the few messages are written from arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt

IR_VERSION: Final = 10
OPSET: Final = 21

# Types of attributes.
_INT: Final = 2
_INTS: Final = 7
# Field types of protocol buffers.
_VARINT: Final = 0
_LENGTH: Final = 2

_BYTES: Final = 5
"""Every number of a list is written with this many bytes, which readers must accept: so numpy writes whole arrays at once."""

DOUBLE: Final = 11
"""The number of float64 among the data types of ONNX; float32 is `proto.FLOAT`."""


def encode_model(
    nodes: Sequence[bytes],
    *,
    name: str,
    inputs: bytes,
    outputs: bytes,
    initialisers: Sequence[bytes] = (),
    domains: Mapping[str, int] = MappingProxyType({}),
) -> bytes:
    """Return an ONNX file with one graph.

    nodes: as `encode_node` returns them, in the order of the computation.
    name: of the graph.
    inputs, outputs: as `encode_rows` returns them.
    initialisers: as `encode_tensor` returns them.
    domains: the versions of domains besides ai.onnx.
    """
    graph = [
        *(message(1, node) for node in nodes),
        text(2, name),
        *(message(5, tensor) for tensor in initialisers),
        message(11, inputs),
        message(12, outputs),
    ]
    opsets = [message(8, text(1, domain) + number(2, version)) for domain, version in {"": OPSET, **domains}.items()]
    return b"".join([number(1, IR_VERSION), message(7, b"".join(graph)), *opsets])


def encode_node(
    operator: str, inputs: Sequence[str], output: str, *, attributes: Sequence[bytes] = (), domain: str = ""
) -> bytes:
    """Return a NodeProto with one output. attributes: as AttributeProto."""
    fields = [*(text(1, name) for name in inputs), text(2, output), text(4, operator)]
    fields += [message(5, attribute) for attribute in attributes]
    return b"".join([*fields, *([text(7, domain)] if domain else [])])


def encode_rows(name: str, width: int | Sequence[int], data_type: int) -> bytes:
    """Return a ValueInfoProto of rows [B, width], or [B, *sizes]; B is free."""
    sizes = [width] if isinstance(width, int) else width
    dimensions = message(1, text(2, "B")) + b"".join(message(1, number(1, size)) for size in sizes)
    tensor = number(1, data_type) + message(2, dimensions)
    return text(1, name) + message(2, message(1, tensor))


def encode_integers(name: str, values: Sequence[int]) -> bytes:
    """Return an AttributeProto of whole numbers from 0: one as a number, several as a list."""
    if len(values) == 1:
        return text(1, name) + number(3, values[0]) + number(20, _INT)
    return text(1, name) + b"".join(number(8, value) for value in values) + number(20, _INTS)


def encode_tensor(name: str, data_type: int, values: npt.NDArray[np.generic]) -> bytes:
    """Return a TensorProto. values: of the data type, in little-endian order."""
    dimensions = [number(1, size) for size in values.shape]
    return b"".join([*dimensions, number(2, data_type), text(8, name), message(9, values.tobytes())])


def packed(values: npt.NDArray[np.int64]) -> bytes:
    """Return the content of a packed field: whole numbers from 0."""
    digits = np.empty((len(values), _BYTES), dtype=np.uint8)
    for place in range(_BYTES):
        digits[:, place] = (values >> (7 * place)) & 0x7F
    digits[:, :-1] |= 0x80
    return digits.tobytes()


def message(field: int, content: bytes) -> bytes:
    """Return a field that holds a message, or other bytes."""
    return _varint(field << 3 | _LENGTH) + _varint(len(content)) + content


def text(field: int, value: str) -> bytes:
    """Return a field that holds a text."""
    return message(field, value.encode())


def number(field: int, value: int) -> bytes:
    """Return a field that holds a whole number from 0."""
    return _varint(field << 3 | _VARINT) + _varint(value)


def _varint(value: int) -> bytes:
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    digits.append(value)
    return bytes(digits)
