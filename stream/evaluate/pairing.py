"""Find pairs of equal hashes, and what a pair changes.

Shapes: B = rows that are looked up, N = rows that are searched, M = pairs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from forebay.stream.evaluate.columns import Hashes, Integers

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


class Matches(NamedTuple):
    """Pairs of a row that was looked up and the position of a row with the same hash, in the order of both."""

    rows_M: Integers
    positions_M: Integers

    def __len__(self) -> int:
        raise TypeError("use len(matches.rows_M)")


def find(hashes_B: Hashes, sorted_N: Hashes) -> Matches:
    """Return all pairs of equal hashes."""
    low_B = np.searchsorted(sorted_N, hashes_B)
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
