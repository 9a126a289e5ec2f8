"""Write numeric trees as an ONNX graph with one operator, `TreeEnsemble`, in the protocol buffers format.

The package `onnx` is not needed: the few messages are written here, from arrays.

Shapes: M inner nodes, L leaves, T trees.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

INPUT: Final = "x"
OUTPUT: Final = "y"

# Field types of protocol buffers.
_VARINT: Final = 0
_LENGTH: Final = 2

# Types of attributes and elements in ONNX.
_INT, _TENSOR, _INTS = 2, 4, 7
_DOUBLE, _UINT8 = 11, 2
_IR_VERSION: Final = 10
_OPSET: Final = 21
_ML_OPSET: Final = 5

_VARINT_BYTES: Final = 5
"""Every number of a list is written with this many bytes, which readers must accept: so numpy writes whole arrays at once."""

Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class NumericTrees:
    """Trees whose splits are all numeric; each has at least one split. Children that are leaves count the leaves.

    root_T: the inner node of each tree's root.
    feature_M, threshold_M, mode_M: the column, and whether a value goes to the left if `<=` (0) or `<` (1) the threshold.
    missing_left_M: whether NaN goes to the left.
    left_M, right_M: the index of an inner node, or of a leaf.
    left_is_leaf_M, right_is_leaf_M: which of both.
    weight_L, target_L: what a leaf adds, and to which output.
    """

    num_inputs: int
    num_targets: int
    root_T: Int64Array
    feature_M: Int64Array
    threshold_M: npt.NDArray[np.float64]
    mode_M: npt.NDArray[np.uint8]
    missing_left_M: npt.NDArray[np.bool_]
    left_M: Int64Array
    right_M: Int64Array
    left_is_leaf_M: npt.NDArray[np.bool_]
    right_is_leaf_M: npt.NDArray[np.bool_]
    weight_L: npt.NDArray[np.float64]
    target_L: Int64Array


def encode_graph(trees: NumericTrees) -> bytes:
    """Return the ONNX model: it takes float64 [B, num_inputs] and returns the sums of the leaves, float64 [B, num_targets]."""
    attributes = [
        _integer_attribute("aggregate_function", 1),  # sum
        _integer_attribute("n_targets", trees.num_targets),
        _integer_attribute("post_transform", 0),
        _integers_attribute("tree_roots", trees.root_T),
        _integers_attribute("nodes_featureids", trees.feature_M),
        _tensor_attribute("nodes_splits", _DOUBLE, trees.threshold_M.astype("<f8")),
        _tensor_attribute("nodes_modes", _UINT8, trees.mode_M),
        _integers_attribute("nodes_missing_value_tracks_true", trees.missing_left_M.astype(np.int64)),
        _integers_attribute("nodes_truenodeids", trees.left_M),
        _integers_attribute("nodes_trueleafs", trees.left_is_leaf_M.astype(np.int64)),
        _integers_attribute("nodes_falsenodeids", trees.right_M),
        _integers_attribute("nodes_falseleafs", trees.right_is_leaf_M.astype(np.int64)),
        _tensor_attribute("leaf_weights", _DOUBLE, trees.weight_L.astype("<f8")),
        _integers_attribute("leaf_targetids", trees.target_L),
    ]
    node = [_text(1, INPUT), _text(2, OUTPUT), _text(4, "TreeEnsemble"), _text(7, "ai.onnx.ml")]
    node += [_message(5, attribute) for attribute in attributes]
    graph = [
        _message(1, b"".join(node)),
        _text(2, "trees"),
        _message(11, _value(INPUT, trees.num_inputs)),
        _message(12, _value(OUTPUT, trees.num_targets)),
    ]
    opsets = [_message(8, _text(1, domain) + _number(2, number)) for domain, number in _OPSETS]
    return b"".join([_number(1, _IR_VERSION), _message(7, b"".join(graph)), *opsets])


_OPSETS: Final = (("", _OPSET), ("ai.onnx.ml", _ML_OPSET))


def _value(name: str, width: int) -> bytes:
    """Return a ValueInfoProto of float64 [B, width]."""
    dimensions = _message(1, _text(2, "B")) + _message(1, _number(1, width))
    tensor = _number(1, _DOUBLE) + _message(2, dimensions)
    return _text(1, name) + _message(2, _message(1, tensor))


def _integer_attribute(name: str, value: int) -> bytes:
    return _text(1, name) + _number(3, value) + _number(20, _INT)


def _integers_attribute(name: str, values: Int64Array) -> bytes:
    return _text(1, name) + _message(8, _packed(values)) + _number(20, _INTS)


def _tensor_attribute(name: str, element: int, values: npt.NDArray[np.generic]) -> bytes:
    tensor = _number(1, len(values)) + _number(2, element) + _text(8, name) + _message(9, values.tobytes())
    return _text(1, name) + _message(5, tensor) + _number(20, _TENSOR)


def _packed(values: Int64Array) -> bytes:
    """Return whole numbers from 0 as a packed field."""
    digits = np.empty((len(values), _VARINT_BYTES), dtype=np.uint8)
    for place in range(_VARINT_BYTES):
        digits[:, place] = (values >> (7 * place)) & 0x7F
    digits[:, :-1] |= 0x80
    return digits.tobytes()


def _message(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | _LENGTH) + _varint(len(content)) + content


def _text(field: int, value: str) -> bytes:
    return _message(field, value.encode())


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3 | _VARINT) + _varint(value)


def _varint(value: int) -> bytes:
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    digits.append(value)
    return bytes(digits)
