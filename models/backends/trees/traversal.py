"""Walk the trees in numpy: for tests, for proofs against the original libraries, and to show which leaf a row reaches.

Shapes: B rows, F features, T trees, N nodes, L leaves, O outputs.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.backends.trees.ensemble import Float64Array, Int32Array, TreeEnsemble

ZERO_RANGE: Final = float(np.float32(1e-35))
_BITS: Final = 32
_MAX_PATHS: Final = 4_194_304

_IntpArray = npt.NDArray[np.intp]
_BoolArray = npt.NDArray[np.bool_]


def leaf_indices(ensemble: TreeEnsemble, x_BF: FloatArray) -> Int32Array:
    """Return the node of the leaf that each row reaches in each tree, int32 [B, T], counted over the whole ensemble."""
    num_rows = max(1, _MAX_PATHS // ensemble.num_trees)
    found_BT = np.empty((len(x_BF), ensemble.num_trees), dtype=np.int32)
    for start in range(0, len(x_BF), num_rows):
        found_BT[start : start + num_rows] = _walk(ensemble, x_BF[start : start + num_rows])
    return found_BT


def leaf_numbers(ensemble: TreeEnsemble) -> Int32Array:
    """Return the index in `values_LV` of each leaf's node, int32 [N]; -1 for other nodes."""
    is_leaf_N = ensemble.feature_N == -1
    return np.where(is_leaf_N, np.cumsum(is_leaf_N) - 1, -1).astype(np.int32)


def sum_leaves(ensemble: TreeEnsemble, x_BF: FloatArray) -> Float64Array:
    """Return the aggregated leaves plus the base score, before the link, float64 [B, O]. NaN is not refused."""
    rules = ensemble.rules
    leaf_BT = leaf_numbers(ensemble)[leaf_indices(ensemble, x_BF)]
    total_BO = np.zeros((len(x_BF), rules.num_outputs), dtype=np.float64)
    trees_O = np.bincount(ensemble.output_T, minlength=rules.num_outputs)
    is_scalar = ensemble.values_LV.shape[1] == 1
    for tree, output in enumerate(ensemble.output_T.tolist()):
        value_BV = ensemble.values_LV[leaf_BT[:, tree]]
        if is_scalar:
            total_BO[:, output] += value_BV[:, 0]
        else:
            total_BO += value_BV
    if rules.aggregate == "average":
        total_BO /= np.maximum(trees_O, 1) if is_scalar else ensemble.num_trees
    total_BO += ensemble.base_O
    return total_BO


def _walk(ensemble: TreeEnsemble, x_BF: FloatArray) -> _IntpArray:
    node_BT: _IntpArray = np.tile(ensemble.roots_T.astype(np.intp), (len(x_BF), 1))
    row_BT = np.broadcast_to(np.arange(len(x_BF), dtype=np.intp)[:, None], node_BT.shape)
    node_P, row_P = node_BT.reshape(-1), row_BT.reshape(-1)
    active_P: _IntpArray = np.flatnonzero(ensemble.feature_N[node_P] >= 0)
    while len(active_P):
        nodes = node_P[active_P]
        value = x_BF[row_P[active_P], ensemble.feature_N[nodes]].astype(np.float64)
        goes_left = _goes_left(ensemble, nodes, value)
        node_P[active_P] = np.where(goes_left, ensemble.left_N[nodes], ensemble.right_N[nodes])
        active_P = active_P[ensemble.feature_N[node_P[active_P]] >= 0]
    return node_P.reshape(node_BT.shape)


def _goes_left(ensemble: TreeEnsemble, nodes: _IntpArray, value: Float64Array) -> _BoolArray:
    threshold = ensemble.threshold_N[nodes]
    is_missing = np.isnan(value) | (ensemble.zero_missing_N[nodes] & (np.abs(value) <= ZERO_RANGE))
    is_below = value < threshold if ensemble.rules.comparison == "<" else value <= threshold
    split = ensemble.category_N[nodes]
    if (is_categorical := split >= 0).any():
        is_below[is_categorical] = _is_member(ensemble, split[is_categorical], value[is_categorical])
    goes_left: _BoolArray = np.where(is_missing, ensemble.default_left_N[nodes], is_below)
    return goes_left


def _is_member(ensemble: TreeEnsemble, split: Int32Array, value: Float64Array) -> _BoolArray:
    """Return whether the values go to the left in their categorical splits; anything for NaN."""
    splits = ensemble.categories
    is_known = (value >= 0) & (value < splits.size_C[split])  # false for NaN
    code = np.where(is_known, value, 0).astype(np.int64)
    word = splits.words_W[splits.start_C[split] + code // _BITS]
    bit = (word >> (code % _BITS).astype(np.uint32)) & 1
    is_left: _BoolArray = np.where(is_known, bit.astype(np.bool_), splits.unknown_left_C[split])
    return is_left
