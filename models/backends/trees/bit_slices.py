"""Walk shallow trees for many rows at once: one bit for each row and condition, and no branches.

Every distinct comparison of the ensemble is made once for all rows of a block; its results are packed into words of 64 rows.
The path of 64 rows through a tree is then selected by a few operations on words, level by level.

Shapes: E columns, K distinct comparisons, T trees, D levels, R rows of a block (a multiple of 64), W = R / 64 words.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from forebay.models.backends.trees.onnx_graph import Int64Array, NumericTrees

MAX_LEVELS: Final = 6
MIN_TREES: Final = 64
MIN_ROWS: Final = 256
"""Of an ensemble and a batch for which this is faster than walking row by row."""
_MAX_SLOTS: Final = 1_048_576
_MAX_COMPARISONS: Final = 32_768
_BLOCK_BYTES: Final = 4_194_304
_WORD: Final = 64
_MAX_BLOCK: Final = 512

_Words = npt.NDArray[np.uint64]
_Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class _Comparisons:
    """The distinct comparisons; those of nodes that send NaN to the right come first.

    column_K, threshold_K: what is compared. The threshold is the float32 that divides all float32 as the original does.
    num_missing_right: how many comparisons send NaN to the right.
    spans: column, start and end of comparisons of the same column and direction.
    is_strict: whether a row goes to the left if its value is less than the threshold, or else less or equal.
    """

    threshold_K: npt.NDArray[np.float32]
    num_missing_right: int
    spans: tuple[tuple[int, int, int], ...]
    is_strict: bool

    def goes_right(self, x_ER: npt.NDArray[np.float32]) -> _Words:
        """Return a bit for each row, set where the row goes to the right, [K, W]."""
        result_KR = np.empty((len(self.threshold_K), x_ER.shape[1]), dtype=np.bool_)
        # Comparisons with NaN are false. So where NaN goes to the right, going to the left is compared, and inverted below.
        left, right = (np.less, np.greater_equal) if self.is_strict else (np.less_equal, np.greater)
        for column, start, end in self.spans:
            compare = left if start < self.num_missing_right else right
            compare(x_ER[column], self.threshold_K[start:end, None], out=result_KR[start:end])
        words_KW = np.packbits(result_KR, axis=1, bitorder="little").view(np.uint64)
        inverted = words_KW[: self.num_missing_right]
        np.invert(inverted, out=inverted)
        return words_KW


class BitSlices:
    """Numeric trees of at most `MAX_LEVELS` levels."""

    def __init__(
        self, trees: NumericTrees, comparisons: _Comparisons, comparison_M: Int64Array, slots: list[Int64Array]
    ) -> None:
        """Take what `bit_slices` found. slots: the nodes of each level, [T, 2**level]; the last holds leaves."""
        leaf_TS = slots[-1]
        order_T = np.argsort(trees.target_L[leaf_TS[:, 0]], kind="stable")
        leaf_TS = leaf_TS[order_T]
        self._targets, self._starts = np.unique(trees.target_L[leaf_TS[:, 0]], return_index=True)
        self._num_targets = trees.num_targets
        self._comparisons = comparisons
        self._levels = [comparison_M[nodes_TS[order_T]] for nodes_TS in slots[:-1]]
        self._weight_S = trees.weight_L[leaf_TS].reshape(-1)
        self._first_slot_T1 = (np.arange(len(leaf_TS), dtype=np.int32) * leaf_TS.shape[1])[:, None]
        rows = _BLOCK_BYTES // len(comparisons.threshold_K) // _WORD * _WORD
        self._block = min(max(rows, _WORD), _MAX_BLOCK)

    def run(self, columns_BE: _Float64Array) -> _Float64Array:
        """Return the sums of the leaves, float64 [B, targets]."""
        num_rows = len(columns_BE)
        total = np.zeros((num_rows, self._num_targets))
        for start in range(0, num_rows, self._block):
            block = columns_BE[start : start + self._block]
            x_ER = np.zeros((block.shape[1], -(-len(block) // _WORD) * _WORD), dtype=np.float32)
            x_ER[:, : len(block)] = block.T
            weight_TR = self._weight_S[self._slots(self._comparisons.goes_right(x_ER))]
            sums = np.add.reduceat(weight_TR, self._starts, axis=0)
            total[start : start + len(block), self._targets] = sums[:, : len(block)].T
        return total

    def _slots(self, right_KW: _Words) -> npt.NDArray[np.int32]:
        """Return the leaf that each row reaches in each tree, as an index of `_weight_S`, [T, R]."""
        path: list[_Words] = []
        for comparison_TS in self._levels:
            bits = right_KW[comparison_TS]  # [T, 2**level, W]
            for turn in path:
                half = bits.shape[1] // 2
                lower, upper = bits[:, :half], bits[:, half:]
                bits = lower ^ ((lower ^ upper) & turn[:, None])
            path.append(bits[:, 0])
        slot_TR = np.zeros((len(path[0]), path[0].shape[1] * _WORD), dtype=np.uint8)
        for turn in path:
            slot_TR <<= 1
            slot_TR |= np.unpackbits(np.ascontiguousarray(turn).view(np.uint8), axis=1, bitorder="little")
        leaf_TR: npt.NDArray[np.int32] = slot_TR + self._first_slot_T1
        return leaf_TR


def bit_slices(trees: NumericTrees) -> BitSlices | None:
    """Return the trees in this form; None if they are too deep or too many."""
    refs = trees.root_T[:, None]
    slots: list[Int64Array] = []
    while (refs >= 0).any():
        if len(slots) == MAX_LEVELS or 2 * refs.size > _MAX_SLOTS:
            return None
        is_leaf = refs < 0
        node = np.where(is_leaf, 0, refs)  # any comparison does below a leaf: both sides are that leaf
        slots.append(node)
        left = np.where(trees.left_is_leaf_M[node], ~trees.left_M[node], trees.left_M[node])
        right = np.where(trees.right_is_leaf_M[node], ~trees.right_M[node], trees.right_M[node])
        children = np.stack((np.where(is_leaf, refs, left), np.where(is_leaf, refs, right)), axis=2)
        refs = children.reshape(len(refs), -1)
    comparisons, comparison_M = _comparisons(trees)
    if len(comparisons.threshold_K) > _MAX_COMPARISONS:
        return None
    return BitSlices(trees, comparisons, comparison_M, [*slots, ~refs])


def _comparisons(trees: NumericTrees) -> tuple[_Comparisons, Int64Array]:
    """Return the distinct comparisons, and the one that each node makes, [M]."""
    is_strict = bool(trees.mode_M[0])
    keys = np.stack((trees.missing_left_M, trees.feature_M, _as_float32(trees.threshold_M, is_strict)), axis=1)
    distinct, comparison_M = np.unique(keys.astype(np.float64), axis=0, return_inverse=True)
    changes = np.flatnonzero(np.any(np.diff(distinct[:, :2], axis=0) != 0, axis=1)) + 1
    bounds = [0, *changes.tolist(), len(distinct)]
    return (
        _Comparisons(
            distinct[:, 2].astype(np.float32),
            num_missing_right=int((distinct[:, 0] == 0).sum()),
            spans=tuple((int(distinct[a, 1]), a, b) for a, b in pairwise(bounds)),
            is_strict=is_strict,
        ),
        comparison_M.reshape(-1).astype(np.int64),
    )


def _as_float32(threshold_M: _Float64Array, is_strict: bool) -> npt.NDArray[np.float32]:
    """Return thresholds of float32 that divide all float32 as these do."""
    with np.errstate(over="ignore"):
        near = threshold_M.astype(np.float32)
    if is_strict:  # x < t for the least float32 that is not less than t
        return np.where(near < threshold_M, np.nextafter(near, np.float32(np.inf)), near)
    return np.where(near > threshold_M, np.nextafter(near, np.float32(-np.inf)), near)
