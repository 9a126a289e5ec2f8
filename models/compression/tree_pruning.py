"""Make ensembles of trees smaller: fewer trees, shallower trees, coarser thresholds.

Shapes: T trees, N nodes, L leaves, V values of a leaf, R rows, G columns.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.backends.trees.ensemble import LEAF, TreeEnsemble
from forebay.models.backends.trees.runner import run_leaf_numbers
from forebay.schemas.errors import ModelError

_PLACE: Final = "the smaller ensemble"
_MIN_COVER: Final = 1e-3
"""The weight of a leaf that no row reaches: it decides only where no other leaf below the node was reached either."""

BoolArray = npt.NDArray[np.bool_]


def keep_trees(ensemble: TreeEnsemble, share: float) -> TreeEnsemble:
    """Return the ensemble with the first `share` of the trees of each output.

    Later trees of a boosted ensemble correct what is left by those before, so that the first ones matter most. In an average,
    all trees are alike.

    Raises ModelError if none leaves.
    """
    keep_T = np.zeros(ensemble.num_trees, dtype=np.bool_)
    for output in np.unique(ensemble.output_T):
        trees = np.flatnonzero(ensemble.output_T == output)
        keep_T[trees[: max(1, round(len(trees) * share))]] = True
    if keep_T.all():
        raise _error("no tree leaves", "give a smaller share of the trees")
    tree_N = _tree_of_nodes(ensemble)
    return _selected(ensemble, keep_T[tree_N], keep_T)


def limit_depth(ensemble: TreeEnsemble, depth: int, x_RG: FloatArray) -> TreeEnsemble:
    """Return the ensemble with at most `depth` splits between a root and a leaf.

    A node that becomes a leaf has the mean of the leaves below it, weighted by the training rows that reach them.

    x_RG: prepared training rows. Raises ModelError if no tree is deeper.
    """
    depth_N, parent_N = _depths(ensemble)
    is_leaf_N = ensemble.feature_N == LEAF
    if not ((depth_N == depth) & ~is_leaf_N).any():
        raise _error(f"no tree has more than {depth} splits from root to leaf", "give a smaller depth")
    cover_N, sums_NV = _covers(ensemble, x_RG, parent_N)
    becomes_leaf_N = (depth_N == depth) & ~is_leaf_N
    keep_N = depth_N <= depth
    means_NV = sums_NV / cover_N[:, None]
    feature_N = np.where(becomes_leaf_N, LEAF, ensemble.feature_N).astype(np.int32)
    changed = replace(
        ensemble,
        feature_N=feature_N,
        threshold_N=np.where(becomes_leaf_N, 0.0, ensemble.threshold_N),
        left_N=np.where(becomes_leaf_N, LEAF, ensemble.left_N).astype(np.int32),
        right_N=np.where(becomes_leaf_N, LEAF, ensemble.right_N).astype(np.int32),
        default_left_N=ensemble.default_left_N & ~becomes_leaf_N,
        zero_missing_N=ensemble.zero_missing_N & ~becomes_leaf_N,
        category_N=np.where(becomes_leaf_N, LEAF, ensemble.category_N).astype(np.int32),
        values_LV=means_NV[feature_N == LEAF],
    )
    return _selected(changed, keep_N, np.ones(ensemble.num_trees, dtype=np.bool_))


def quantise_thresholds(ensemble: TreeEnsemble, bits: int, x_RG: FloatArray) -> TreeEnsemble:
    """Return the ensemble whose numeric thresholds are quantiles of the training rows, 2**bits - 1 for each column.

    A threshold becomes the nearest one. The values of leaves are rounded to float16. Splits that became equal to one of their
    parents remain, so that neither the number of nodes nor the time changes.

    x_RG: prepared training rows.
    """
    threshold_N = ensemble.threshold_N.copy()
    shares = np.arange(1, 2**bits) / 2**bits
    is_numeric_N = (ensemble.feature_N != LEAF) & (ensemble.category_N == LEAF)
    for column in np.unique(ensemble.feature_N[is_numeric_N]):
        present = x_RG[:, column][np.isfinite(x_RG[:, column])].astype(np.float64)
        if not len(present):
            continue
        edges = np.unique(np.quantile(present, shares, method="midpoint"))
        nodes = np.flatnonzero(is_numeric_N & (ensemble.feature_N == column))
        threshold_N[nodes] = _nearest(edges, threshold_N[nodes])
    with np.errstate(over="ignore"):
        values_LV = ensemble.values_LV.astype(np.float16).astype(np.float64)
    if not np.isfinite(values_LV).all():
        raise _error("a leaf is larger than float16 holds", "leave the thresholds as they are")
    return replace(ensemble, threshold_N=threshold_N, values_LV=values_LV)


def max_depth(ensemble: TreeEnsemble) -> int:
    """Return the largest number of splits between a root and a leaf."""
    return int(_depths(ensemble)[0].max())


def _nearest(edges: npt.NDArray[np.float64], values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    place = np.clip(np.searchsorted(edges, values), 1, max(1, len(edges) - 1))
    if len(edges) == 1:
        return np.full(len(values), edges[0])
    below, above = edges[place - 1], edges[place]
    return np.where(values - below <= above - values, below, above)


def _tree_of_nodes(ensemble: TreeEnsemble) -> npt.NDArray[np.int64]:
    return np.repeat(np.arange(ensemble.num_trees), np.diff(ensemble.roots_T, append=ensemble.num_nodes))


def _depths(ensemble: TreeEnsemble) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the depth of each node and its parent, -1 for roots. Children come after their parents."""
    depth_N = np.zeros(ensemble.num_nodes, dtype=np.int64)
    parent_N = np.full(ensemble.num_nodes, -1, dtype=np.int64)
    level = ensemble.roots_T.astype(np.int64)
    depth = 0
    while len(level):
        depth_N[level] = depth
        splits = level[ensemble.feature_N[level] != LEAF]
        left, right = ensemble.left_N[splits].astype(np.int64), ensemble.right_N[splits].astype(np.int64)
        parent_N[left], parent_N[right] = splits, splits
        level, depth = np.concatenate((left, right)), depth + 1
    return depth_N, parent_N


def _covers(
    ensemble: TreeEnsemble, x_RG: FloatArray, parent_N: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return for each node the number of rows that reach it, and the sum of the leaves that they reach."""
    leaf_L = np.flatnonzero(ensemble.feature_N == LEAF)
    reached_RT = run_leaf_numbers(ensemble, np.ascontiguousarray(x_RG), place=_PLACE)
    counts_L = np.bincount(reached_RT.reshape(-1), minlength=len(leaf_L)).astype(np.float64) + _MIN_COVER
    cover_N = np.zeros(ensemble.num_nodes)
    sums_NV = np.zeros((ensemble.num_nodes, ensemble.values_LV.shape[1]))
    cover_N[leaf_L], sums_NV[leaf_L] = counts_L, counts_L[:, None] * ensemble.values_LV
    for node in range(ensemble.num_nodes - 1, -1, -1):  # children first
        parent = parent_N[node]
        if parent >= 0:
            cover_N[parent] += cover_N[node]
            sums_NV[parent] += sums_NV[node]
    return cover_N, sums_NV


def _selected(ensemble: TreeEnsemble, keep_N: BoolArray, keep_T: BoolArray) -> TreeEnsemble:
    """Return the ensemble of some nodes. keep_T: the trees that stay, with all their roots."""
    place_N = (np.cumsum(keep_N) - 1).astype(np.int32)

    def children(child_N: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        kept = child_N[keep_N]
        return np.where(kept >= 0, place_N[np.maximum(kept, 0)], LEAF).astype(np.int32)

    was_leaf_N = ensemble.feature_N == LEAF
    smaller = replace(
        ensemble,
        roots_T=place_N[ensemble.roots_T[keep_T]],
        feature_N=ensemble.feature_N[keep_N],
        threshold_N=ensemble.threshold_N[keep_N],
        left_N=children(ensemble.left_N),
        right_N=children(ensemble.right_N),
        default_left_N=ensemble.default_left_N[keep_N],
        zero_missing_N=ensemble.zero_missing_N[keep_N],
        category_N=ensemble.category_N[keep_N],
        values_LV=ensemble.values_LV[keep_N[was_leaf_N]],
        output_T=ensemble.output_T[keep_T],
    )
    # Checked as a file is when it is read.
    return TreeEnsemble.from_arrays(smaller.arrays(), smaller.rules, _PLACE)


def _error(problem: str, remedy: str) -> ModelError:
    return ModelError(f"trees: {problem}", kind="compression", remedy=remedy)
