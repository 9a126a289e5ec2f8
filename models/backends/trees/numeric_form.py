"""Rewrite an ensemble so that every split compares a number with a threshold, which any executor can do.

Each categorical split becomes a column that holds 0 for rows that go to the left and 1 for others. It is looked up in a table
by code, so that any number of categories costs the same. Where zero counts as missing, a column has NaN instead.

Shapes: B rows, F features, E columns of the executor, N nodes, S splits, K columns looked up, T trees, O outputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.backends.trees.ensemble import BoolArray, CategorySplits, Float64Array, TreeEnsemble
from forebay.models.backends.trees.onnx_graph import Int64Array, NumericTrees
from forebay.models.backends.trees.traversal import ZERO_RANGE
from forebay.schemas.errors import ModelError

MAX_TABLE_VALUES: Final = 67_108_864
_BITS: Final = 32
_MODES: Final = {"<=": 0, "<": 1}


@dataclass(frozen=True, slots=True, eq=False)
class CategoryTable:
    """The columns that are looked up by the codes of one feature.

    column: of the feature in a row.
    table: [codes + 2, K]; the last two rows are for unknown values and for NaN.
    """

    column: int
    table: Float64Array

    def look_up(self, value_B: FloatArray) -> Float64Array:
        """Return the columns [B, K] for the values of the feature."""
        unknown = len(self.table) - 2
        is_known_B = (value_B >= 0) & (value_B < unknown)  # false for NaN
        row_B = np.where(is_known_B, value_B, unknown).astype(np.intp)
        row_B += np.isnan(value_B)
        return self.table[row_B]


@dataclass(frozen=True, slots=True, eq=False)
class NumericForm:
    """Numeric trees, and how the columns that they compare are made from a row.

    used_E: the columns of a row that are taken as they are, first.
    zeros: columns of a row in which zero becomes NaN, next.
    tables: the categorical columns, last.
    trees: None if no tree has a split.
    constant_O: what the trees without a split add.
    """

    used: npt.NDArray[np.intp]
    zeros: npt.NDArray[np.intp]
    tables: tuple[CategoryTable, ...]
    trees: NumericTrees | None
    constant_O: Float64Array

    def columns(self, x_BF: FloatArray) -> Float64Array:
        """Return the columns that the trees compare, float64 [B, E], in C order."""
        if not len(self.zeros) and not self.tables:
            used: Float64Array = x_BF[:, self.used].astype(np.float64, order="C")
            return used
        parts: list[Float64Array] = [x_BF[:, self.used].astype(np.float64)]
        if len(self.zeros):
            value_BZ = x_BF[:, self.zeros].astype(np.float64)
            parts.append(np.where(np.abs(value_BZ) <= ZERO_RANGE, np.nan, value_BZ))
        parts += [table.look_up(x_BF[:, table.column]) for table in self.tables]
        return np.concatenate(parts, axis=1)


def numeric_form(ensemble: TreeEnsemble, place: str, *, leaf_numbers_as_outputs: bool = False) -> NumericForm:
    """Return the numeric form of an ensemble. Raises ModelError that names `place` if its look-up tables would be too large.

    leaf_numbers_as_outputs: the trees return the index in `values_LV` of the leaf that a row reaches, one output for each
        tree, instead of the sums of the leaves.
    """
    is_split_N = ensemble.feature_N >= 0
    used, zeros, tables, column_N = _columns(ensemble, place)
    starts_as_leaf_T = ~is_split_N[ensemble.roots_T]
    tree_N = np.repeat(np.arange(ensemble.num_trees), np.diff(ensemble.roots_T, append=ensemble.num_nodes))
    weight_L, target_L, num_targets = _leaves(ensemble, tree_N, leaf_numbers_as_outputs)
    is_constant_L = starts_as_leaf_T[tree_N[~is_split_N]]
    constant_O = np.zeros(num_targets)
    np.add.at(constant_O, target_L[is_constant_L], weight_L[is_constant_L])
    trees = None
    if not starts_as_leaf_T.all():
        place_N = np.where(is_split_N, np.cumsum(is_split_N), np.cumsum(~is_split_N)) - 1
        split = np.flatnonzero(is_split_N)
        is_category_M = ensemble.category_N[split] >= 0
        left_M, right_M = ensemble.left_N[split], ensemble.right_N[split]
        # Leaves of trees without a split are left in place: nothing refers to them.
        trees = NumericTrees(
            num_inputs=len(used) + len(zeros) + sum(table.table.shape[1] for table in tables),
            num_targets=num_targets,
            root_T=place_N[ensemble.roots_T[~starts_as_leaf_T]],
            feature_M=column_N[split],
            threshold_M=np.where(is_category_M, 0.5, ensemble.threshold_N[split]),
            mode_M=np.full(len(split), _MODES[ensemble.rules.comparison], dtype=np.uint8),
            missing_left_M=ensemble.default_left_N[split],
            left_M=place_N[left_M],
            right_M=place_N[right_M],
            left_is_leaf_M=~is_split_N[left_M],
            right_is_leaf_M=~is_split_N[right_M],
            weight_L=weight_L,
            target_L=target_L,
        )
    return NumericForm(used, zeros, tables, trees=trees, constant_O=constant_O)


def _leaves(
    ensemble: TreeEnsemble, tree_N: Int64Array, numbers: bool
) -> tuple[npt.NDArray[np.float64], Int64Array, int]:
    """Return what each leaf adds, to which output, and the number of outputs."""
    tree_L = tree_N[ensemble.feature_N < 0]
    if numbers:
        return np.arange(len(tree_L), dtype=np.float64), tree_L, ensemble.num_trees
    return ensemble.values_LV[:, 0], ensemble.output_T[tree_L].astype(np.int64), ensemble.rules.num_outputs


def _columns(
    ensemble: TreeEnsemble, place: str
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], tuple[CategoryTable, ...], Int64Array]:
    """Return the columns that are taken, those with zero as missing, the tables, and the column of each node [N]."""
    is_category_N = ensemble.category_N >= 0
    is_plain_N = (ensemble.feature_N >= 0) & ~is_category_N & ~ensemble.zero_missing_N
    column_N = np.zeros(ensemble.num_nodes, dtype=np.int64)
    used, column_N[is_plain_N] = np.unique(ensemble.feature_N[is_plain_N], return_inverse=True)
    zeros, zero_column = np.unique(ensemble.feature_N[ensemble.zero_missing_N], return_inverse=True)
    column_N[ensemble.zero_missing_N] = len(used) + zero_column
    node_S = np.flatnonzero(is_category_N)
    keys = np.stack(
        (ensemble.feature_N[node_S], ensemble.category_N[node_S], ensemble.default_left_N[node_S].astype(np.int32)),
        axis=1,
    )
    keys, key_S = np.unique(keys, axis=0, return_inverse=True)  # sorted by feature
    column_N[node_S] = len(used) + len(zeros) + key_S.reshape(-1)
    _check_size(ensemble.categories, keys, place)
    features, starts = np.unique(keys[:, 0], return_index=True)
    tables = tuple(
        CategoryTable(int(feature), _table(ensemble.categories, group[:, 1], group[:, 2] == 1))
        for feature, group in zip(features, np.split(keys, starts[1:]), strict=False)
    )
    return used.astype(np.intp), zeros.astype(np.intp), tables, column_N


def _check_size(categories: CategorySplits, keys: npt.NDArray[np.int32], place: str) -> None:
    total = 0
    for feature in np.unique(keys[:, 0]):
        split_K = keys[keys[:, 0] == feature, 1]
        total += len(split_K) * (int(categories.size_C[split_K].max()) + 2)
    if total > MAX_TABLE_VALUES:
        raise ModelError(
            f"{place}: the categorical splits need tables of {total} values; allowed are at most {MAX_TABLE_VALUES}",
            kind="too_large",
            remedy="train with fewer categories in a feature, or with fewer trees, and publish the model again",
        )


def _table(categories: CategorySplits, split_K: npt.NDArray[np.int32], default_left_K: BoolArray) -> Float64Array:
    """Return the columns for every code: 0 for rows that go to the left, 1 for others."""
    size_K = categories.size_C[split_K].astype(np.int64)
    num_codes = int(size_K.max())
    is_left = np.empty((num_codes + 2, len(split_K)), dtype=np.bool_)
    is_left[:-1] = categories.unknown_left_C[split_K]
    is_left[-1] = default_left_K
    for place, (split, size) in enumerate(zip(split_K.tolist(), size_K.tolist(), strict=True)):
        start = int(categories.start_C[split])
        words = categories.words_W[start : start + -(-size // _BITS)].astype("<u4")
        is_left[:size, place] = np.unpackbits(words.view(np.uint8), count=size, bitorder="little")
    return np.where(is_left, 0.0, 1.0)
