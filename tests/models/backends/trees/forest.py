"""Random ensembles for tests, and a slow predictor that is easy to check.

Shapes: B rows, F features, T trees, O outputs, L leaves.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.backends.trees.ensemble import Float64Array, TreeEnsemble
from forebay.models.backends.trees.rules import EnsembleRules
from forebay.models.registration.tree_builder import CategorySet, EnsembleBuilder, NativeTree

NUM_CATEGORIES = 40


def make_ensemble(
    rules: EnsembleRules, *, seed: int = 0, num_trees: int = 10, depth: int = 5, whole_leaves: bool = False
) -> TreeEnsemble:
    """Return a random ensemble. The last feature is categorical if there are at least three.

    whole_leaves: each leaf has a value for every output.
    """
    random = np.random.default_rng(seed)
    builder = EnsembleBuilder(rules)
    for tree in range(num_trees):
        builder.add(_make_tree(rules, random, depth, whole_leaves), 0 if whole_leaves else tree % rules.num_outputs)
    return builder.build("a test", random.normal(size=rules.num_outputs))


def make_rows(ensemble: TreeEnsemble, num_rows: int, *, seed: int = 1) -> FloatArray:
    """Return rows; many of their values are thresholds, next to thresholds, codes, zeros, unknown codes or missing."""
    random = np.random.default_rng(seed)
    num_features = ensemble.rules.num_features
    x_BF = random.normal(size=(num_rows, num_features)).astype(np.float32)
    for feature in range(num_features):
        is_split_N = (ensemble.feature_N == feature) & (ensemble.category_N < 0)
        thresholds = np.append(ensemble.threshold_N[is_split_N], 0.0).astype(np.float32)
        on_B = random.choice(thresholds, num_rows)
        towards_B = random.choice(np.array([-np.inf, np.inf], dtype=np.float32), num_rows)
        kind_B = random.integers(0, 5, num_rows)
        x_BF[:, feature] = np.select(
            [kind_B == 0, kind_B == 1, kind_B == 2],
            [on_B, np.nextafter(on_B, towards_B), random.integers(-2, NUM_CATEGORIES + 40, num_rows)],
            x_BF[:, feature],
        )
    x_BF[random.random(x_BF.shape) < 0.1] = np.nan
    return x_BF


def predict_slowly(ensemble: TreeEnsemble, x_BF: FloatArray) -> Float64Array:
    """Return the outputs, float64 [B, O], computed node by node in Python."""
    rules = ensemble.rules
    return np.array([_row_outputs(ensemble, rules, [float(value) for value in row]) for row in x_BF])


def leaf_of(ensemble: TreeEnsemble, root: int, row: list[float]) -> int:
    """Return the node of the leaf that a row reaches."""
    node = root
    while ensemble.feature_N[node] >= 0:
        value, threshold = row[ensemble.feature_N[node]], float(ensemble.threshold_N[node])
        split = int(ensemble.category_N[node])
        if math.isnan(value) or (ensemble.zero_missing_N[node] and abs(value) <= float(np.float32(1e-35))):
            left = bool(ensemble.default_left_N[node])
        elif split >= 0:
            left = _is_left(ensemble, split, value)
        else:
            left = value < threshold if ensemble.rules.comparison == "<" else value <= threshold
        node = int(ensemble.left_N[node] if left else ensemble.right_N[node])
    return node


def _row_outputs(ensemble: TreeEnsemble, rules: EnsembleRules, row: list[float]) -> list[float]:
    if rules.missing == "refused" and any(math.isnan(value) for value in row):
        return [math.nan] * rules.num_outputs
    leaf_nodes = [node for node, feature in enumerate(ensemble.feature_N) if feature == -1]
    terms: list[list[float]] = [[] for _ in range(rules.num_outputs)]
    for root, output in zip(ensemble.roots_T.tolist(), ensemble.output_T.tolist(), strict=True):
        values = ensemble.values_LV[leaf_nodes.index(leaf_of(ensemble, root, row))].tolist()
        for place, value in enumerate(values):
            terms[output + place].append(value)
    links: dict[str, Callable[[float], float]] = {
        "identity": lambda z: z,
        "exp": math.exp,
        "sigmoid": lambda z: 1 / (1 + math.exp(-z)),
        "signed_square": lambda z: math.copysign(z * z, z),
        "log1p_exp": lambda z: math.log(1 + math.exp(z)),
        "isolation": lambda z: 2.0 ** (-z / rules.scale),
    }
    outputs = []
    for values, base in zip(terms, ensemble.base_O.tolist(), strict=True):
        total = math.fsum(values)
        if rules.aggregate == "average":
            total /= max(1, len(values))
        outputs.append(links[rules.link](total + base))
    return outputs


def _is_left(ensemble: TreeEnsemble, split: int, value: float) -> bool:
    splits = ensemble.categories
    if not 0 <= value < splits.size_C[split]:
        return bool(splits.unknown_left_C[split])
    code = math.trunc(value)
    word = int(splits.words_W[int(splits.start_C[split]) + code // 32])
    return bool(word >> (code % 32) & 1)


def _make_tree(rules: EnsembleRules, random: np.random.Generator, depth: int, whole_leaves: bool) -> NativeTree:
    left, right = [-1], [-1]
    for node in range(2**depth - 1):  # some branches end early
        if node < len(left) and (node == 0 or random.random() < 0.9):
            left[node], right[node] = len(left), len(left) + 1
            left += [-1, -1]
            right += [-1, -1]
    size = len(left)
    feature = random.integers(0, rules.num_features, size)
    is_category = (feature == 2) & (rules.num_features > 2) & (np.array(left) >= 0)
    categories = {
        int(node): CategorySet(random.random(random.integers(1, NUM_CATEGORIES)) < 0.5, bool(random.random() < 0.5))
        for node in np.flatnonzero(is_category)
    }
    return NativeTree(
        feature=feature,
        threshold=random.normal(size=size).astype(np.float32).astype(np.float64),
        left=np.array(left),
        right=np.array(right),
        default_left=random.random(size) < 0.5,
        values=random.normal(size=(size, rules.num_outputs) if whole_leaves else size),
        zero_missing=random.random(size) < 0.2,
        categories=categories,
    )
