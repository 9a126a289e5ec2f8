"""Check the arrays of an ensemble, so that no executor reads outside an array or runs for ever, whatever a file holds.

Shapes: as in `ensemble`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NoReturn

import numpy as np
import numpy.typing as npt

from forebay.models.artefacts.signature import MAX_CATEGORIES
from forebay.models.backends.trees.rules import EnsembleRules
from forebay.schemas.errors import ModelError

MAX_NODES: Final = 16_777_216
MAX_DEPTH: Final = 1_024
"""Of a tree: the number of splits between its root and its lowest leaf."""

DTYPES: Final[Mapping[str, type[np.generic]]] = {
    "roots": np.int32,
    "feature": np.int32,
    "threshold": np.float64,
    "left": np.int32,
    "right": np.int32,
    "default_left": np.uint8,
    "zero_missing": np.uint8,
    "category": np.int32,
    "category_start": np.int32,
    "category_size": np.int32,
    "category_unknown_left": np.uint8,
    "category_words": np.uint32,
    "values": np.float64,
    "output": np.int32,
    "base": np.float64,
}
_NODES: Final = ("feature", "threshold", "left", "right", "default_left", "zero_missing", "category")
_SPLITS: Final = ("category_start", "category_size", "category_unknown_left")
_FLAGS: Final = ("default_left", "zero_missing", "category_unknown_left")
_BITS: Final = 32

_Arrays = Mapping[str, npt.NDArray[np.generic]]
_Int64Array = npt.NDArray[np.int64]
_BoolArray = npt.NDArray[np.bool_]


def check_arrays(arrays: _Arrays, rules: EnsembleRules, file: str) -> None:
    """Raise ModelError that names `file`, the array and the index unless the arrays are an ensemble."""
    check = _Checks(arrays, rules, file)
    check.names_and_shapes()
    check.nodes()
    check.trees()
    check.categories()
    check.leaves()


class _Checks:
    """The checks of one file, in the order in which each relies on those before it."""

    def __init__(self, arrays: _Arrays, rules: EnsembleRules, file: str) -> None:
        self._arrays = arrays
        self._rules = rules
        self._file = file

    def names_and_shapes(self) -> None:
        arrays = self._arrays
        missing, extra = sorted(DTYPES.keys() - arrays.keys()), sorted(arrays.keys() - DTYPES.keys())
        if missing or extra:
            problem = f"{missing[0]} is missing" if missing else f"{extra[0][:80]} is not expected"
            self._fail(f"{problem}; allowed are exactly {', '.join(DTYPES)}")
        num_nodes = len(arrays["feature"]) if arrays["feature"].ndim else 0
        num_trees = len(arrays["roots"]) if arrays["roots"].ndim else 0
        num_splits = len(arrays["category_start"]) if arrays["category_start"].ndim else 0
        if not 1 <= num_nodes <= MAX_NODES:
            self._fail(f"feature has {num_nodes} nodes; allowed is from 1 to {MAX_NODES}", "publish a smaller model")
        if not 1 <= num_trees <= num_nodes:
            self._fail(f"roots has {num_trees} trees; allowed is from 1 to the number of nodes, {num_nodes}")
        lengths = {name: num_nodes for name in _NODES} | {name: num_splits for name in _SPLITS}
        lengths |= {"roots": num_trees, "output": num_trees, "base": self._rules.num_outputs}
        for name, dtype in DTYPES.items():
            array = arrays[name]
            if array.dtype != np.dtype(dtype):
                self._fail(f"{name} is {array.dtype}; allowed is {np.dtype(dtype)}")
            if name == "values":
                widths = sorted({1, self._rules.num_outputs})
                if array.ndim != 2 or array.shape[1] not in widths:
                    self._fail(f"values has the shape {list(array.shape)}; allowed is [leaves, {widths[-1]} or 1]")
            elif array.ndim != 1 or len(array) != lengths.get(name, len(array)):
                wanted = lengths.get(name, "any number")
                self._fail(f"{name} has the shape {list(array.shape)}; allowed is [{wanted}]")

    def nodes(self) -> None:
        """Check what each node holds by itself."""
        num_nodes = len(self._arrays["feature"])
        self._within("feature", -1, self._rules.num_features - 1)
        self._within("category", -1, len(self._arrays["category_start"]) - 1)
        for name in _FLAGS:
            self._within(name, 0, 1)
        is_leaf_N = self._is_leaf()
        for name in ("left", "right"):
            self._within(name, -1, num_nodes - 1)
            wrong_N = is_leaf_N != (self._integers(name) == -1)
            self._none(name, wrong_N, "-1 for leaves, whose feature is -1, and only for them")
            backwards_N = np.logical_and(~is_leaf_N, self._integers(name) <= np.arange(num_nodes))
            self._none(name, backwards_N, "a node after its parent")
        is_category_N = self._integers("category") >= 0
        self._none("category", np.logical_and(is_leaf_N, is_category_N), "-1 for leaves")
        is_numeric_N = ~np.logical_or(is_leaf_N, is_category_N)
        zero_missing_N = self._integers("zero_missing") == 1
        self._none("zero_missing", np.logical_and(zero_missing_N, ~is_numeric_N), "0 for all but numeric splits")
        threshold_N = self._arrays["threshold"].astype(np.float64, copy=False)
        self._none("threshold", ~np.isfinite(threshold_N), "a finite number")
        self._none(
            "threshold",
            np.logical_and(~is_numeric_N, threshold_N != 0),
            "0 for all but numeric splits",
        )

    def trees(self) -> None:
        """Check that the nodes are trees: each has one parent in its own tree, and none is too deep."""
        num_nodes = len(self._arrays["feature"])
        roots_T = self._integers("roots")
        self._within("roots", 0, num_nodes - 1)
        ascends_T = np.diff(roots_T, prepend=-1) > 0
        ascends_T[0] = roots_T[0] == 0
        self._none("roots", ~ascends_T, "0 first, then ascending")
        is_root_N = np.zeros(num_nodes, dtype=np.bool_)
        is_root_N[roots_T] = True
        tree_N = np.cumsum(is_root_N)
        split_S = np.flatnonzero(~self._is_leaf())
        parents_N = np.zeros(num_nodes, dtype=np.int64)
        for name in ("left", "right"):
            child_S = self._integers(name)[split_S]
            strays_S = tree_N[child_S] != tree_N[split_S]
            if strays_S.any():
                self._fail_at(name, int(split_S[strays_S.argmax()]), "a node of the same tree")
            parents_N += np.bincount(child_S, minlength=num_nodes)
        wrong_N = parents_N != np.where(is_root_N, 0, 1)
        if wrong_N.any():
            node = int(wrong_N.argmax())
            allowed = "0, because it is a root" if is_root_N[node] else "1"
            self._fail(f"node {node} is a child of {parents_N[node]} nodes; allowed is {allowed}")
        self._depth(roots_T)

    def _depth(self, roots_T: _Int64Array) -> None:
        left_N, right_N = self._integers("left"), self._integers("right")
        level = roots_T
        for _ in range(MAX_DEPTH + 1):
            level = level[left_N[level] >= 0]
            if not len(level):
                return
            level = np.concatenate((left_N[level], right_N[level]))
        self._fail(f"a tree is more than {MAX_DEPTH} splits deep", "train trees of a limited depth, and publish again")

    def categories(self) -> None:
        num_words = len(self._arrays["category_words"])
        self._within("category_start", 0, max(num_words - 1, 0))
        self._within("category_size", 1, MAX_CATEGORIES)
        ends_C = self._integers("category_start") + (self._integers("category_size") + _BITS - 1) // _BITS
        self._none("category_size", ends_C > num_words, f"a set that ends within the {num_words} words")

    def leaves(self) -> None:
        values = self._arrays["values"].astype(np.float64, copy=False)
        num_leaves = int(self._is_leaf().sum())
        if len(values) != num_leaves:
            self._fail(f"values has {len(values)} rows; allowed is one for each of the {num_leaves} leaves")
        self._none("values", ~np.asarray(np.isfinite(values).all(axis=1)), "finite numbers")
        self._none("base", ~np.isfinite(self._arrays["base"].astype(np.float64, copy=False)), "a finite number")
        self._within("output", 0, self._rules.num_outputs - 1)
        if values.shape[1] > 1:
            self._none("output", self._integers("output") != 0, "0 where leaves have a value for every output")

    def _is_leaf(self) -> _BoolArray:
        is_leaf_N: _BoolArray = self._integers("feature") == -1
        return is_leaf_N

    def _integers(self, name: str) -> _Int64Array:
        return self._arrays[name].astype(np.int64)

    def _within(self, name: str, minimum: int, maximum: int) -> None:
        values = self._integers(name)
        self._none(name, np.logical_or(values < minimum, values > maximum), f"from {minimum} to {maximum}")

    def _none(self, name: str, is_wrong: _BoolArray, allowed: str) -> None:
        if is_wrong.any():
            self._fail_at(name, int(is_wrong.argmax()), allowed)

    def _fail_at(self, name: str, index: int, allowed: str) -> NoReturn:
        value = self._arrays[name][index]
        shown = value.item() if value.ndim == 0 else value.tolist()[:8]
        self._fail(f"{name}[{index}] is {shown}; allowed is {allowed}")

    def _fail(self, problem: str, remedy: str = "publish the model again") -> NoReturn:
        raise ModelError(f"{self._file}: {problem}", kind="trees", remedy=remedy)
