"""Smaller ensembles: the first trees, shallower trees, coarser thresholds."""

from __future__ import annotations

import numpy as np
import pytest

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.backends.trees.ensemble import TreeEnsemble
from forebay.models.backends.trees.rules import EnsembleRules
from forebay.models.backends.trees.runner import TreesRunner
from forebay.models.compression.tree_pruning import keep_trees, limit_depth, max_depth, quantise_thresholds
from forebay.schemas.errors import ModelError

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(0, 1, (500, 3)).astype(np.float32)


def full_trees(count: int, depth: int) -> TreeEnsemble:
    """Return complete binary trees with random splits, nodes in the order of their levels."""
    splits, leaves = 2**depth - 1, 2**depth
    size = splits + leaves
    node = np.arange(size)
    is_leaf = node >= splits
    arrays: dict[str, list[np.ndarray]] = {}
    for tree in range(count):
        first = tree * size
        parts = {
            "feature": np.where(is_leaf, -1, RANDOM.integers(0, 3, size)).astype(np.int32),
            "threshold": np.where(is_leaf, 0.0, RANDOM.normal(0, 0.7, size)),
            "left": np.where(is_leaf, -1, first + 2 * node + 1).astype(np.int32),
            "right": np.where(is_leaf, -1, first + 2 * node + 2).astype(np.int32),
            "default_left": (~is_leaf).astype(np.uint8),
            "zero_missing": np.zeros(size, np.uint8),
            "category": np.full(size, -1, np.int32),
            "values": RANDOM.normal(0, 1, (leaves, 1)),
        }
        for name, part in parts.items():
            arrays.setdefault(name, []).append(part)
    joined = {name: np.concatenate(parts) for name, parts in arrays.items()}
    others = {
        "roots": (np.arange(count) * size).astype(np.int32),
        "category_start": np.zeros(0, np.int32),
        "category_size": np.zeros(0, np.int32),
        "category_unknown_left": np.zeros(0, np.uint8),
        "category_words": np.zeros(0, np.uint32),
        "output": np.zeros(count, np.int32),
        "base": np.zeros(1),
    }
    return TreeEnsemble.from_arrays(joined | others, EnsembleRules(num_features=3, num_outputs=1), "test")


def predict(ensemble: TreeEnsemble) -> FloatArray:
    return TreesRunner(ensemble, place="test").run(X)


def test_half_of_the_trees_give_the_sum_of_the_first_half() -> None:
    trees = full_trees(6, 3)
    first, last = keep_trees(trees, 0.5), keep_trees(trees, 0.9)
    assert (first.num_trees, last.num_trees, first.num_nodes) == (3, 5, trees.num_nodes // 2)
    assert (first.threshold_N == trees.threshold_N[: first.num_nodes]).all()
    assert np.abs(predict(first) - predict(trees)).max() > 0.1
    with pytest.raises(ModelError, match="no tree leaves"):
        keep_trees(trees, 0.99)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_shallower_trees_keep_the_mean_of_the_rows(depth: int) -> None:
    trees = full_trees(4, 4)
    smaller = limit_depth(trees, depth, X)
    assert max_depth(smaller) == depth and smaller.num_nodes == 4 * (2 ** (depth + 1) - 1)
    # A leaf has the mean of its rows, so that the mean over all rows stays, and the variance can only shrink.
    assert predict(smaller).mean() == pytest.approx(predict(trees).mean(), abs=2e-3)
    assert ((predict(smaller) - predict(trees)) ** 2).mean() < predict(trees).var() + 0.1
    with pytest.raises(ModelError, match="no tree has more than 4 splits"):
        limit_depth(trees, 4, X)


def test_thresholds_become_quantiles_of_the_rows() -> None:
    trees = full_trees(8, 4)
    coarse, fine = quantise_thresholds(trees, 2, X), quantise_thresholds(trees, 8, X)
    assert len(np.unique(coarse.threshold_N)) <= 3 * 3 + 1
    assert coarse.num_nodes == trees.num_nodes
    errors = [float(np.abs(predict(one) - predict(trees)).mean()) for one in (fine, coarse)]
    assert errors[0] < errors[1]
