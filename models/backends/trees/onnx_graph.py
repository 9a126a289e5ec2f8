"""Write numeric trees as an ONNX graph with one operator, `TreeEnsemble`, in the protocol buffers format.

Shapes: M inner nodes, L leaves, T trees.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from forebay.models.backends.onnx.encoding import (
    DOUBLE,
    encode_model,
    encode_node,
    encode_rows,
    encode_tensor,
    message,
    number,
    packed,
    text,
)

INPUT: Final = "x"
OUTPUT: Final = "y"

# Types of attributes in ONNX.
_INT, _TENSOR, _INTS = 2, 4, 7
_UINT8: Final = 2
_ML_DOMAIN: Final = "ai.onnx.ml"
_ML_OPSET: Final = 5

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
        _tensor_attribute("nodes_splits", DOUBLE, trees.threshold_M.astype("<f8")),
        _tensor_attribute("nodes_modes", _UINT8, trees.mode_M),
        _integers_attribute("nodes_missing_value_tracks_true", trees.missing_left_M.astype(np.int64)),
        _integers_attribute("nodes_truenodeids", trees.left_M),
        _integers_attribute("nodes_trueleafs", trees.left_is_leaf_M.astype(np.int64)),
        _integers_attribute("nodes_falsenodeids", trees.right_M),
        _integers_attribute("nodes_falseleafs", trees.right_is_leaf_M.astype(np.int64)),
        _tensor_attribute("leaf_weights", DOUBLE, trees.weight_L.astype("<f8")),
        _integers_attribute("leaf_targetids", trees.target_L),
    ]
    return encode_model(
        [encode_node("TreeEnsemble", [INPUT], OUTPUT, attributes=attributes, domain=_ML_DOMAIN)],
        name="trees",
        inputs=encode_rows(INPUT, trees.num_inputs, DOUBLE),
        outputs=encode_rows(OUTPUT, trees.num_targets, DOUBLE),
        domains={_ML_DOMAIN: _ML_OPSET},
    )


def _integer_attribute(name: str, value: int) -> bytes:
    return text(1, name) + number(3, value) + number(20, _INT)


def _integers_attribute(name: str, values: Int64Array) -> bytes:
    return text(1, name) + message(8, packed(values)) + number(20, _INTS)


def _tensor_attribute(name: str, element: int, values: npt.NDArray[np.generic]) -> bytes:
    return text(1, name) + message(5, encode_tensor(name, element, values)) + number(20, _TENSOR)
