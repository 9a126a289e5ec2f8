"""Find pairs of equal hashes, and what a pair changes.

Shapes: B = rows that are looked up, N = rows that are searched, M = pairs.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from forebay.stream.evaluate.columns import Hashes, Integers

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

_HASHES_OF_PREFIX: Final = 8


class Matches(NamedTuple):
    """Pairs of a row that was looked up and the position of a row with the same hash, in the order of both."""

    rows_M: Integers
    positions_M: Integers

    def __len__(self) -> int:
        raise TypeError("use len(matches.rows_M)")


class PrefixIndex:
    """Where the hashes with each prefix begin, for sorted hashes that are too many for the processor's caches.

    A search then reads two places in memory instead of one for each halving. Takes about half a byte a hash.
    """

    def __init__(self, sorted_N: Hashes) -> None:
        bits = max(1, (len(sorted_N) // _HASHES_OF_PREFIX).bit_length())
        self._shift = np.uint64(64 - bits)
        self._starts = np.zeros((1 << bits) + 1, np.uint32)
        np.cumsum(np.bincount((sorted_N >> self._shift).astype(np.int64), minlength=1 << bits), out=self._starts[1:])

    @property
    def num_bytes(self) -> int:
        """Size in memory."""
        return self._starts.nbytes

    def search(self, hashes_B: Hashes, sorted_N: Hashes) -> Integers:
        """Return where each hash is or would be inserted, as `numpy.searchsorted`."""
        prefixes_B = (hashes_B >> self._shift).astype(np.int64)
        low_B, high_B = self._starts[prefixes_B].astype(np.int64), self._starts[prefixes_B + 1].astype(np.int64)
        for _ in range(int((high_B - low_B).max(initial=0)).bit_length()):
            middle_B = (low_B + high_B) >> 1
            is_less_B = sorted_N[np.minimum(middle_B, len(sorted_N) - 1)] < hashes_B
            is_open_B = low_B < high_B
            low_B = np.where(is_open_B & is_less_B, middle_B + 1, low_B)
            high_B = np.where(is_open_B & ~is_less_B, middle_B, high_B)
        return low_B


def find(hashes_B: Hashes, sorted_N: Hashes, index: PrefixIndex | None = None) -> Matches:
    """Return all pairs of equal hashes. index: of the sorted hashes; None if there are few."""
    low_B = np.searchsorted(sorted_N, hashes_B) if index is None else index.search(hashes_B, sorted_N)
    rows = np.flatnonzero(sorted_N[np.minimum(low_B, len(sorted_N) - 1)] == hashes_B) if len(sorted_N) else low_B[:0]
    low = low_B[rows]
    following = np.minimum(low + 1, len(sorted_N) - 1)
    if not ((sorted_N[following] == hashes_B[rows]) & (following > low)).any():
        return Matches(rows, low)
    counts = np.searchsorted(sorted_N, hashes_B[rows], side="right") - low
    starts = np.cumsum(counts) - counts
    positions = np.arange(int(counts.sum())) - np.repeat(starts - low, counts)
    return Matches(np.repeat(rows, counts), positions)


class Changes(NamedTuple):
    """What labels change, by pair of a prediction and one of its labels, in the order of both.

    before_M: the prediction's label before; NaN for none.
    is_first_M, is_repeat_M: whether it had none, and whether it had the same; else the pair is a correction.
    before_at_M, after_at_M: the pair that set the label before and after it; -1 if it was set before all of them.
    is_last_M: whether no pair of the same prediction follows.
    """

    before_M: Floats
    is_first_M: Mask
    is_repeat_M: Mask
    before_at_M: Integers
    after_at_M: Integers
    is_last_M: Mask


def follow(rows_M: Integers, values_M: Floats, present_M: Floats) -> Changes:
    """Return what the labels of predictions change, one after the other.

    rows_M: the prediction of each pair, sorted; the labels of a prediction are in the order of their offsets.
    values_M: the label. present_M: the prediction's label before all pairs; NaN for none.
    """
    index_M = np.arange(len(rows_M))
    starts_M = np.ones(len(rows_M), bool)
    starts_M[1:] = rows_M[1:] != rows_M[:-1]
    before_M = present_M.copy()
    before_M[1:] = np.where(starts_M[1:], present_M[1:], values_M[:-1])
    is_repeat_M = before_M == values_M
    start_of_M = np.maximum.accumulate(np.where(starts_M, index_M, 0))
    changed_at_M = np.maximum.accumulate(np.where(is_repeat_M, -1, index_M))
    after_at_M = np.where(changed_at_M >= start_of_M, changed_at_M, -1)
    before_at_M = np.full(len(rows_M), -1)
    before_at_M[1:] = np.where(starts_M[1:], -1, after_at_M[:-1])
    return Changes(
        before_M,
        is_first_M=np.isnan(before_M),
        is_repeat_M=is_repeat_M,
        before_at_M=before_at_M,
        after_at_M=after_at_M,
        is_last_M=np.append(starts_M[1:], True)[: len(rows_M)],
    )
