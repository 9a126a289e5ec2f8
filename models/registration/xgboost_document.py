"""The JSON document of an XGBoost model: what this package needs from it, by name.

Shapes: n nodes of a tree, V values of a leaf.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from forebay.models.registration.tree_builder import CategorySet, NativeTree
from forebay.schemas.errors import ModelError

_CATEGORICAL = 1


@dataclass(frozen=True, slots=True, eq=False)
class BoosterDocument:
    """A document that XGBoost wrote.

    num_rounds: the number of boosting rounds.
    best_round: the best round, from 0, where training stopped early.
    feature_names, feature_types: empty if the model has none.
    """

    document: Mapping[str, Any]
    objective: str
    num_features: int
    num_outputs: int
    num_rounds: int
    best_round: int | None
    feature_names: tuple[str, ...]
    feature_types: tuple[str, ...]
    _model: Mapping[str, Any]
    _weights: tuple[float, ...]

    @classmethod
    def read(cls, data: bytes, place: str) -> BoosterDocument:
        """Return the document. Raises ModelError that names `place` for a model without trees."""
        document = json.loads(data)
        learner = document["learner"]
        booster = learner["gradient_booster"]
        kind = booster["name"]
        if kind not in ("gbtree", "dart"):
            raise ModelError(
                f"{place}: the booster is {kind}; allowed is gbtree or dart",
                kind="registration",
                remedy="train trees, or register a linear model of scikit-learn",
            )
        weights = tuple(booster["weight_drop"]) if kind == "dart" else ()
        model = booster["gbtree"]["model"] if kind == "dart" else booster["model"]
        sizes = learner["learner_model_param"]
        best = learner["attributes"].get("best_iteration")
        return cls(
            document,
            objective=learner["objective"]["name"],
            num_features=int(sizes["num_feature"]),
            num_outputs=max(int(sizes["num_class"]), int(sizes.get("num_target", "1")), 1),
            num_rounds=len(model["iteration_indptr"]) - 1,
            best_round=None if best is None else int(best),
            feature_names=tuple(learner["feature_names"]),
            feature_types=tuple(learner["feature_types"]),
            _model=model,
            _weights=weights,
        )

    def num_trees(self, rounds: int) -> int:
        """Return the number of trees in the first `rounds`."""
        return int(self._model["iteration_indptr"][rounds])

    def output_of(self, number: int) -> int:
        """Return the output that a tree contributes to; 0 if its leaves have a value for every output."""
        return int(self._model["tree_info"][number])

    def tree(self, number: int) -> NativeTree:
        """Return a tree, with its weight in a dart model."""
        fields = self._model["trees"][number]
        left_n = np.array(fields["left_children"], dtype=np.int64)
        right_n = np.array(fields["right_children"], dtype=np.int64)
        # The decimals are those of float32, so that they are read back exactly only as such.
        threshold_n = np.array(fields["split_conditions"], dtype=np.float32)
        is_leaf_n = left_n < 0
        values = threshold_n.astype(np.float64)
        if width := _leaf_width(fields):
            weights = np.array(fields["leaf_weights"], dtype=np.float32).astype(np.float64).reshape(-1, width)
            values = np.zeros((len(left_n), width))
            values[is_leaf_n] = weights[right_n[is_leaf_n]]  # a leaf's right child is its place among the leaves
        if self._weights:
            values = values * float(np.float32(self._weights[number]))
        return NativeTree(
            feature=np.array(fields["split_indices"], dtype=np.int64),
            threshold=threshold_n.astype(np.float64),
            left=left_n,
            right=right_n,
            default_left=np.array(fields["default_left"], dtype=np.bool_),
            values=values,
            categories=_category_sets(fields, is_leaf_n),
        )

    def categories(self) -> tuple[tuple[str, ...], ...]:
        """Return the categories of each feature in the order of their codes; empty for numbers and where they are unknown."""
        found = [_texts(encoded) for encoded in self._model.get("cats", {}).get("enc", ())]
        return tuple(found) if len(found) == self.num_features else ((),) * self.num_features

    def without_leaves(self) -> bytes:
        """Return the document of the same model with all leaves zero."""
        document = copy.deepcopy(dict(self.document))
        booster = document["learner"]["gradient_booster"]
        for tree in (booster["gbtree"]["model"] if "gbtree" in booster else booster["model"])["trees"]:
            tree["split_conditions"] = [
                0.0 if left < 0 else condition
                for left, condition in zip(tree["left_children"], tree["split_conditions"], strict=True)
            ]
            if "leaf_weights" in tree:
                tree["leaf_weights"] = [0.0] * len(tree["leaf_weights"])
        return json.dumps(document).encode()


def _leaf_width(fields: Mapping[str, Any]) -> int:
    """Return the number of values in a leaf; 0 for trees with one value, which is stored in place of the threshold."""
    width = int(fields["tree_param"]["size_leaf_vector"])
    return width if width > 1 else 0


def _category_sets(fields: Mapping[str, Any], is_leaf_n: np.ndarray[Any, np.dtype[np.bool_]]) -> dict[int, CategorySet]:
    """Return the categorical splits by node. In XGBoost, listed codes go to the right, and all others to the left."""
    sets = {}
    for node, start, size in zip(
        fields["categories_nodes"], fields["categories_segments"], fields["categories_sizes"], strict=True
    ):
        if is_leaf_n[node] or fields["split_type"][node] != _CATEGORICAL:
            continue
        codes = np.array(fields["categories"][start : start + size], dtype=np.int64)
        is_left = np.ones(int(codes.max(initial=0)) + 1, dtype=np.bool_)
        is_left[codes] = False
        sets[int(node)] = CategorySet(is_left, unknown_left=True)
    return sets


def _texts(encoded: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the categories of a feature: texts, stored as bytes with offsets, or numbers."""
    values = encoded["values"]
    if "offsets" not in encoded:
        return tuple(str(value) for value in values)
    data, offsets = bytes(value & 0xFF for value in values), encoded["offsets"]
    return tuple(data[start:end].decode() for start, end in pairwise(offsets))
