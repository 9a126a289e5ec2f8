"""Reject rows that an isolation forest finds to be outliers.

Shapes: B rows, K columns that the trees compare, T trees, S = 2**depth - 1 places of splits in a tree, L = 2**depth leaves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Final

import numpy as np
import numpy.typing as npt

from forebay.models.artefacts.argument_checks import integer, integers, number, sequence, texts
from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.json_object import JsonObject
from forebay.models.artefacts.preprocessing.row_check import RowsRejected
from forebay.models.artefacts.preprocessing.step import (
    SameWidth,
    check_columns,
    check_count,
    check_finite,
    error,
    make_plain,
    number_lists,
    picked,
)
from forebay.schemas.errors import ModelError

LEAF: Final = -1
MAX_DEPTH: Final = 12
MAX_LEAVES: Final = 1_048_576
"""Of all trees, each filled up to the depth of the deepest one."""
_BLOCK_ROWS: Final = 256


@dataclass(frozen=True, slots=True)
class IsolationForest(SameWidth):
    """Rejects rows whose isolation score, as in scikit-learn's IsolationForest, is above a limit. Values are unchanged.

    Each tree is a list of nodes: a split before its left subtree, and that before its right subtree.

    splits: the nodes of each tree: the place in `columns` of the value that a split compares; -1 for a leaf.
    thresholds: of the splits of each tree, in their order: a row goes to the left if its value is less or equal.
    samples: of the leaves of each tree, in their order: how many of the tree's training rows are in the leaf.
    max_samples: the number of training rows of each tree.
    offset: a row is an outlier if minus its score, which is from 0 to 1, is below it (scikit-learn's `offset_`).
    names: of the columns, for the reason. A row without one of these values is rejected, too.

    Computed in float64, in the order of scikit-learn, so that both agree in each row.
    """

    kind: ClassVar[str] = "isolation_forest"
    width: int
    columns: tuple[int, ...]
    splits: tuple[tuple[int, ...], ...]
    thresholds: tuple[tuple[float, ...], ...]
    samples: tuple[tuple[int, ...], ...]
    max_samples: int
    offset: float
    names: tuple[str, ...]
    _picked: slice | npt.NDArray[np.intp] = field(init=False, repr=False, compare=False)
    _trees: _FilledTrees = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        make_plain(self, ("splits", "samples"), _integer_lists)
        make_plain(self, ("thresholds",), number_lists)
        object.__setattr__(self, "max_samples", integer(self.max_samples, f"{self.kind}: max_samples", error))
        object.__setattr__(self, "offset", number(self.offset, f"{self.kind}: offset", error))
        object.__setattr__(self, "names", texts(self.names, f"{self.kind}: names", error))
        check_columns(self.kind, self.width, self.columns, {})
        check_count(self.kind, "names", self.names, self.columns)
        if self.max_samples < 2:
            raise error(f"isolation_forest: max_samples is {self.max_samples}; allowed is from 2")
        if not -1 <= self.offset <= 0:
            raise error(f"isolation_forest: offset is {self.offset}; allowed is from -1 to 0")
        if not self.splits or not len(self.splits) == len(self.thresholds) == len(self.samples):
            raise error("isolation_forest: splits, thresholds and samples must each have a list for every tree")
        for thresholds in self.thresholds:
            check_finite(self.kind, "thresholds", thresholds)
        object.__setattr__(self, "_picked", picked(self.columns))
        object.__setattr__(self, "_trees", _filled(self))

    def apply(self, x_BF: FloatArray) -> FloatArray:
        return x_BF.copy()

    def decisions(self, x_BF: FloatArray) -> npt.NDArray[np.float64]:
        """Return scikit-learn's `decision_function`, [B]: negative for outliers. A missing value goes to the left."""
        scale = len(self.splits) * float(_mean_path(np.array([self.max_samples]))[0])
        x_BK = x_BF[:, self._picked]
        decisions_B = np.empty(len(x_BK))
        for start in range(0, len(x_BK), _BLOCK_ROWS):
            depths_b = self._trees.depths(x_BK[start : start + _BLOCK_ROWS])
            decisions_B[start : start + _BLOCK_ROWS] = -(2 ** -(depths_b / scale)) - self.offset
        return decisions_B

    def rejected(self, x_BF: FloatArray) -> npt.NDArray[np.bool_]:
        """Return which rows are rejected, bool [B]."""
        is_missing_B = np.isnan(x_BF[:, self._picked]).any(axis=1)
        return np.asarray(is_missing_B | (self.decisions(x_BF) < 0))

    def check(self, x_BF: FloatArray) -> None:
        """Raise RowsRejected if any row is rejected."""
        rows_R = np.flatnonzero(self.rejected(x_BF))
        if not len(rows_R):
            return
        is_missing_RK = np.isnan(x_BF[rows_R][:, self._picked])
        reasons = {}
        for row, is_missing_K in zip(rows_R.tolist(), is_missing_RK, strict=True):
            if is_missing_K.any():
                name = self.names[int(is_missing_K.argmax())]
                reasons[row] = f"{name!r} is missing, and the model's preparation requires it"
            else:
                reasons[row] = (
                    "the row is unlike the training rows: its isolation score is above the preparation's limit"
                )
        raise RowsRejected(reasons)

    def to_dict(self) -> dict[str, object]:
        return {
            "step": self.kind,
            "width": self.width,
            "columns": list(self.columns),
            "splits": [list(nodes) for nodes in self.splits],
            "thresholds": [list(thresholds) for thresholds in self.thresholds],
            "samples": [list(samples) for samples in self.samples],
            "max_samples": self.max_samples,
            "offset": self.offset,
            "names": list(self.names),
        }

    @classmethod
    def read(cls, fields: JsonObject) -> IsolationForest:
        """Return the step in one object of a file. Raises ModelError that names the file and the key."""
        keys = {"width", "columns", "splits", "thresholds", "samples", "max_samples", "offset", "names"}
        fields.reject_unknown_keys({"step", *keys})
        return cls(
            fields.integer("width", minimum=1),
            fields.integers("columns"),
            splits=_integer_lists(fields.array("splits"), "splits", error),
            thresholds=number_lists(fields.array("thresholds"), "thresholds", error),
            samples=_integer_lists(fields.array("samples"), "samples", error),
            max_samples=fields.integer("max_samples", minimum=2),
            offset=fields.number("offset"),
            names=fields.texts("names"),
        )


@dataclass(frozen=True, slots=True)
class _FilledTrees:
    """The trees filled up to one depth, so that a row's next node is computed and not looked up.

    The children of the place s are 2s + 1 and 2s + 2. Below a leaf, splits send every row to the left.

    column_TS, threshold_TS: of the splits. length_TL: of the path to each leaf, with what its training rows add.
    """

    depth: int
    column_TS: npt.NDArray[np.intp]
    threshold_TS: npt.NDArray[np.float64]
    length_TL: npt.NDArray[np.float64]

    def depths(self, x_BK: FloatArray) -> npt.NDArray[np.float64]:
        """Return the sums of the lengths of the paths of each row, [B]."""
        num_trees, num_rows = len(self.column_TS), len(x_BK)
        x_flat = np.ascontiguousarray(x_BK.T).reshape(-1)
        row_B = np.arange(num_rows)
        # Indexes of the arrays of all trees as one: `take` is several times faster than two indexes.
        first_T1 = (np.arange(num_trees) * self.column_TS.shape[1])[:, None]
        place_TB = np.zeros((num_trees, num_rows), dtype=np.intp)
        for _ in range(self.depth):
            split_TB = first_T1 + place_TB
            value_TB = x_flat.take(self.column_TS.take(split_TB) * num_rows + row_B)
            place_TB = 2 * place_TB + 1 + (value_TB > self.threshold_TS.take(split_TB))
        first_leaf_T1 = (np.arange(num_trees) * 2**self.depth)[:, None] - (2**self.depth - 1)
        length_TB = self.length_TL.take(first_leaf_T1 + place_TB)
        total_B = np.zeros(num_rows)
        for length_B in length_TB:  # one after the other, as scikit-learn adds them
            total_B += length_B
        return total_B


def _filled(forest: IsolationForest) -> _FilledTrees:
    """Return the trees of a step. Raises ModelError for lists that are not trees."""
    trees = [_nodes(forest, tree) for tree in range(len(forest.splits))]
    depth = max(max(level for _, level, _, _ in nodes) for nodes in trees)
    if len(trees) * 2**depth > MAX_LEAVES:
        raise error(
            f"isolation_forest: {len(trees)} trees of depth {depth} are too many; allowed are {MAX_LEAVES} leaves"
        )
    column_TS = np.zeros((len(trees), 2**depth - 1), dtype=np.intp)
    threshold_TS = np.full(column_TS.shape, np.inf)
    samples_TL = np.ones((len(trees), 2**depth), dtype=np.int64)
    level_TL = np.zeros(samples_TL.shape)
    for tree, nodes in enumerate(trees):
        for place, level, column, value in nodes:
            if column != LEAF:
                column_TS[tree, place], threshold_TS[tree, place] = column, value
                continue
            leaf = (place + 1 - 2**level) << (depth - level)  # the leftmost one below it
            samples_TL[tree, leaf], level_TL[tree, leaf] = int(value), level
    return _FilledTrees(depth, column_TS, threshold_TS, length_TL=level_TL + 1 + _mean_path(samples_TL) - 1)


def _nodes(forest: IsolationForest, tree: int) -> list[tuple[int, int, int, float]]:
    """Return for each node of a tree its place, its level, its column or -1, and its threshold or number of rows."""
    thresholds, samples = iter(forest.thresholds[tree]), iter(forest.samples[tree])
    nodes: list[tuple[int, int, int, float]] = []
    waiting = [(0, 0)]
    for column in forest.splits[tree]:
        if not waiting:
            raise error(f"isolation_forest: splits[{tree}] has nodes after its last leaf")
        place, level = waiting.pop()
        if not LEAF <= column < len(forest.columns) or level + (column != LEAF) > MAX_DEPTH:
            raise error(
                f"isolation_forest: splits[{tree}] must have numbers from -1 to {len(forest.columns) - 1}, and at most "
                f"{MAX_DEPTH} splits on a path"
            )
        value = next(samples if column == LEAF else thresholds, None)
        if value is None or (column == LEAF and not 1 <= value <= forest.max_samples):
            raise error(
                f"isolation_forest: tree {tree} must have a threshold for each split, and for each leaf a number of rows from "
                f"1 to {forest.max_samples}"
            )
        nodes.append((place, level, column, value))
        if column != LEAF:
            waiting += [(2 * place + 2, level + 1), (2 * place + 1, level + 1)]
    if waiting or next(thresholds, None) is not None or next(samples, None) is not None:
        raise error(f"isolation_forest: tree {tree} is not complete, or has more thresholds or samples than nodes")
    return nodes


def _mean_path(samples: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the mean length of a path in a random tree, by its number of rows (Liu, Ting and Zhou, 2008)."""
    lengths = np.zeros(samples.shape)
    lengths[samples == 2] = 1.0
    many = samples[samples > 2]
    lengths[samples > 2] = 2.0 * (np.log(many - 1.0) + np.euler_gamma) - 2.0 * (many - 1.0) / many
    return lengths


def _integer_lists(value: object, name: str, fault: Callable[[str], ModelError]) -> tuple[tuple[int, ...], ...]:
    items = sequence(value, name, "lists of whole numbers", fault)
    return tuple(integers(item, f"{name}[{index}]", fault) for index, item in enumerate(items))
