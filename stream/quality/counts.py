"""Sparse counts by index: the histograms of quality sums."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from forebay.schemas.errors import DataError

_FEW = 256


class CountsDocument(msgspec.Struct):
    """Counts as JSON: indices in ascending order, and the count of each."""

    bins: list[int]
    counts: list[int]


class Counts:
    """Counts by index. Only those that are not zero take memory. One is negative if more was taken back than added.

    size: number of indices.
    """

    __slots__ = ("_counts", "_indices", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self._indices: npt.NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._counts: npt.NDArray[np.int64] = np.zeros(0, dtype=np.int64)

    def __bool__(self) -> bool:
        return bool(len(self._indices))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Counts):
            return NotImplemented
        return (
            self.size == other.size
            and np.array_equal(self._indices, other._indices)
            and np.array_equal(self._counts, other._counts)
        )

    __hash__ = None  # type: ignore[assignment]

    def add(self, indices: npt.NDArray[np.int64], sign: int = 1) -> None:
        """Add 1 for each index; -1 with sign -1. The indices may repeat and are all below the size."""
        if not len(indices):
            return
        if len(indices) < _FEW:
            found, counts = np.unique(indices, return_counts=True)
            self._add(found.astype(np.int64), counts.astype(np.int64) * sign)
        else:
            dense = np.bincount(indices, minlength=self.size)
            found = np.flatnonzero(dense)
            self._add(found, dense[found] * sign)

    def merge(self, other: Counts) -> None:
        """Add other counts of the same size."""
        self._add(other._indices, other._counts)

    def _add(self, indices: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> None:
        if not len(self._indices):
            self._indices, self._counts = indices, counts
            return
        union, inverse = np.unique(np.concatenate((self._indices, indices)), return_inverse=True)
        sums = np.zeros(len(union), dtype=np.int64)
        np.add.at(sums, inverse, np.concatenate((self._counts, counts)))
        kept = sums != 0
        self._indices, self._counts = union[kept], sums[kept]

    def total(self) -> int:
        """Return the sum of all counts."""
        return int(self._counts.sum())

    def dense(self) -> npt.NDArray[np.int64]:
        """Return the count of every index."""
        dense = np.zeros(self.size, dtype=np.int64)
        dense[self._indices] = self._counts
        return dense

    def items(self) -> Mapping[int, int]:
        """Return the counts that are not zero, by index in ascending order."""
        return dict(zip(self._indices.tolist(), self._counts.tolist(), strict=True))

    def to_dict(self) -> dict[str, Any]:
        """Return the counts as JSON values."""
        return {"bins": self._indices.tolist(), "counts": self._counts.tolist()}

    @classmethod
    def read(cls, document: CountsDocument, size: int, place: str) -> Counts:
        """Return the counts of a document. Raises DataError; place: what they are, for the message."""
        bins, counts = document.bins, document.counts
        if len(bins) != len(counts):
            raise DataError(f"{place}: {len(bins)} bins, but {len(counts)} counts; expected as many")
        try:
            indices, values = np.array(bins, dtype=np.int64), np.array(counts, dtype=np.int64)
        except OverflowError:
            raise DataError(f"{place}: a number does not fit into 64 bits") from None
        if len(indices) and (indices[0] < 0 or indices[-1] >= size or bool((np.diff(indices) <= 0).any())):
            raise DataError(f"{place}: bins: expected ascending indices from 0 to {size - 1}")
        found = cls(size)
        kept = values != 0
        found._indices, found._counts = indices[kept], values[kept]
        return found
