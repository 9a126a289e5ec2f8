"""Build an ensemble from the trees of another library, one after the other, whatever the order of its nodes.

Shapes: n nodes of a tree, N nodes of the ensemble, V values of a leaf, O outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt

from forebay.models.backends.trees.ensemble import LEAF, TreeEnsemble
from forebay.models.backends.trees.rules import EnsembleRules
from forebay.models.backends.trees.validation import DTYPES, MAX_DEPTH
from forebay.schemas.errors import ModelError

_BITS: Final = 32


@dataclass(frozen=True, slots=True, eq=False)
class CategorySet:
    """The codes that go to the left in a categorical split.

    left: for each code from 0, whether it goes to the left. At least one.
    unknown_left: whether any other code goes to the left. NaN goes to the default side of the node.
    """

    left: npt.NDArray[np.bool_]
    unknown_left: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class NativeTree:
    """One tree, with the node numbers of its library; node 0 is the root.

    feature: the column of each node, [n]; anything for leaves.
    threshold: [n]; anything for leaves and categorical splits.
    left, right: [n], negative for leaves.
    default_left: [n].
    values: of the leaves, [n] or [n, V]; anything for other nodes.
    zero_missing: [n], or None.
    categories: the categorical splits, by node.
    """

    feature: npt.NDArray[np.integer]
    threshold: npt.NDArray[np.floating]
    left: npt.NDArray[np.integer]
    right: npt.NDArray[np.integer]
    default_left: npt.NDArray[np.generic]
    values: npt.NDArray[np.floating]
    zero_missing: npt.NDArray[np.generic] | None = None
    categories: Mapping[int, CategorySet] = field(default_factory=lambda: MappingProxyType({}))


class EnsembleBuilder:
    """Collects trees; `build` returns the checked ensemble."""

    def __init__(self, rules: EnsembleRules) -> None:
        self._rules = rules
        self._nodes: dict[str, list[npt.NDArray[np.generic]]] = {name: [] for name in _PER_NODE}
        self._values: list[npt.NDArray[np.float64]] = []
        self._roots: list[int] = []
        self._outputs: list[int] = []
        self._native_ids: list[npt.NDArray[np.int64]] = []
        self._splits: dict[tuple[bytes, int, bool], int] = {}  # equal splits are stored once
        self._starts: list[int] = []
        self._words: list[npt.NDArray[np.uint32]] = []
        self._num_words = 0
        self._num_nodes = 0

    def add(self, tree: NativeTree, output: int = 0) -> None:
        """Add a tree. output: what it contributes to, if its leaves have one value. Raises ModelError for a cyclic tree."""
        order_n = _breadth_first(tree)
        new_n = np.full(len(tree.left), LEAF, dtype=np.int64)
        new_n[order_n] = self._num_nodes + np.arange(len(order_n))
        is_leaf_n = tree.left[order_n] < 0
        category_n = np.full(len(order_n), -1, dtype=np.int64)
        for node, categories in tree.categories.items():
            category_n[new_n[node] - self._num_nodes] = self._split_index(categories)
        is_numeric_n = ~is_leaf_n & (category_n < 0)
        zero_missing_n = (
            np.zeros(len(order_n))
            if tree.zero_missing is None
            else tree.zero_missing[order_n].astype(np.bool_) & is_numeric_n
        )
        arrays: dict[str, npt.NDArray[np.generic]] = {
            "feature": np.where(is_leaf_n, LEAF, tree.feature[order_n]),
            "threshold": np.where(is_numeric_n, tree.threshold[order_n], 0.0),
            "left": np.where(is_leaf_n, LEAF, new_n[np.where(is_leaf_n, 0, tree.left[order_n])]),
            "right": np.where(is_leaf_n, LEAF, new_n[np.where(is_leaf_n, 0, tree.right[order_n])]),
            "default_left": tree.default_left[order_n].astype(np.bool_) & ~is_leaf_n,
            "zero_missing": zero_missing_n,
            "category": category_n,
        }
        for name, array in arrays.items():
            self._nodes[name].append(array.astype(DTYPES[name]))
        leaf_values = tree.values[order_n[is_leaf_n]].astype(np.float64)
        self._values.append(leaf_values.reshape(len(leaf_values), -1))
        self._native_ids.append(order_n)
        self._roots.append(self._num_nodes)
        self._outputs.append(output)
        self._num_nodes += len(order_n)

    def build(self, place: str, base: Sequence[float] | npt.NDArray[np.floating] | None = None) -> TreeEnsemble:
        """Return the ensemble. base: the base score of each output; None for 0.

        place: the start of error messages, such as the name of the model.
        """
        if not self._roots:
            raise ModelError(f"{place}: the model has no trees", kind="trees", remedy="train the model first")
        num_outputs = self._rules.num_outputs
        splits = list(self._splits)
        arrays: dict[str, npt.NDArray[np.generic]] = {
            "roots": np.array(self._roots, dtype=np.int32),
            **{name: np.concatenate(parts) for name, parts in self._nodes.items()},
            "category_start": np.array(self._starts, dtype=np.int32),
            "category_size": np.array([size for _, size, _ in splits], dtype=np.int32),
            "category_unknown_left": np.array([left for _, _, left in splits], dtype=np.uint8),
            "category_words": np.concatenate(self._words) if self._words else np.zeros(0, dtype=np.uint32),
            "values": np.concatenate(self._values),
            "output": np.array(self._outputs, dtype=np.int32),
            "base": np.zeros(num_outputs) if base is None else np.array(base, dtype=np.float64),
        }
        return TreeEnsemble.from_arrays(arrays, self._rules, place)

    def native_ids(self) -> npt.NDArray[np.int64]:
        """Return for each node of the ensemble its number in the library's tree, [N]."""
        return np.concatenate(self._native_ids)

    def _split_index(self, categories: CategorySet) -> int:
        bits = np.packbits(categories.left, bitorder="little")
        words = np.zeros(-(-len(categories.left) // _BITS), dtype="<u4")
        words.view(np.uint8)[: len(bits)] = bits
        key = (words.tobytes(), len(categories.left), bool(categories.unknown_left))
        if key not in self._splits:
            self._splits[key] = len(self._starts)
            self._starts.append(self._num_words)
            self._words.append(words.astype(np.uint32))
            self._num_words += len(words)
        return self._splits[key]


_PER_NODE: Final = ("feature", "threshold", "left", "right", "default_left", "zero_missing", "category")


def _breadth_first(tree: NativeTree) -> npt.NDArray[np.int64]:
    """Return the nodes that can be reached from the root, level by level."""
    levels = []
    level = np.zeros(1, dtype=np.int64)
    for _ in range(MAX_DEPTH + 1):
        levels.append(level)
        level = level[tree.left[level] >= 0]
        if not len(level):
            return np.concatenate(levels)
        level = np.stack((tree.left[level], tree.right[level]), axis=1).reshape(-1).astype(np.int64)
    raise ModelError(
        f"a tree is more than {MAX_DEPTH} splits deep", kind="trees", remedy="train trees of a limited depth"
    )
