"""Sparse counts by index: the histograms of quality sums."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from forebay.schemas.errors import DataError

_MAX_PENDING: Final = 1024
"""Changes that are collected before they are summed up, which costs about as much for one as for a thousand."""
_DENSE_SIZE: Final = 8192
MAX_COUNT: Final = 1 << 40
"""Counts of a record beyond this, or below the negative of it, are refused: sums of millions of records fit into 64 bits."""


class CountsDocument(msgspec.Struct):
    """Counts as JSON: indices in ascending order, and the count of each."""

    bins: list[int]
    counts: list[int]


class Counts:
    """Counts by index. Only those that are not zero take memory. One is negative if more was taken back than added.

    size: number of indices.
    """

    __slots__ = ("_counts", "_indices", "_num_pending", "_pending", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self._indices: npt.NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._counts: npt.NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._pending: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = []
        self._num_pending = 0

    def __bool__(self) -> bool:
        self.sum_up()
        return bool(len(self._indices))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Counts):
            return NotImplemented
        self.sum_up()
        other.sum_up()
        return (
            self.size == other.size
            and np.array_equal(self._indices, other._indices)
            and np.array_equal(self._counts, other._counts)
        )

    __hash__ = None  # type: ignore[assignment]

    def add(self, indices: npt.NDArray[np.int64], sign: int = 1) -> None:
        """Add 1 for each index; -1 with sign -1. The indices may repeat and are all below the size."""
        if len(indices) > _MAX_PENDING and self.size <= _DENSE_SIZE:
            dense = np.bincount(indices, minlength=self.size)
            found = np.flatnonzero(dense)
            self._add(found, dense[found] * sign)
        else:
            self._add(indices, np.full(len(indices), sign, dtype=np.int64))

    def merge(self, other: Counts) -> None:
        """Add other counts of the same size."""
        other.sum_up()
        self._add(other._indices, other._counts)

    def _add(self, indices: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> None:
        if not len(indices):
            return
        self._pending.append((indices, counts))
        self._num_pending += len(indices)
        if self._num_pending > _MAX_PENDING:
            self.sum_up()

    def sum_up(self) -> None:
        """Add what is pending. The arrays are replaced, never changed: others may hold them."""
        if not self._pending:
            return
        self._pending.append((self._indices, self._counts))
        indices = np.concatenate([part for part, _ in self._pending])
        counts = np.concatenate([part for _, part in self._pending])
        self._pending.clear()
        self._num_pending = 0
        if self.size <= _DENSE_SIZE:
            # Whole numbers below 2**53 are exact in float64.
            dense = np.bincount(indices, weights=counts, minlength=self.size)
            self._indices = np.flatnonzero(dense)
            self._counts = dense[self._indices].astype(np.int64)
            return
        union, inverse = np.unique(indices, return_inverse=True)
        sums = np.zeros(len(union), dtype=np.int64)
        np.add.at(sums, inverse, counts)
        self._indices, self._counts = union[sums != 0], sums[sums != 0]

    def total(self) -> int:
        """Return the sum of all counts."""
        self.sum_up()
        return int(self._counts.sum())

    def dense(self) -> npt.NDArray[np.int64]:
        """Return the count of every index."""
        self.sum_up()
        dense = np.zeros(self.size, dtype=np.int64)
        dense[self._indices] = self._counts
        return dense

    def items(self) -> Mapping[int, int]:
        """Return the counts that are not zero, by index in ascending order."""
        self.sum_up()
        return dict(zip(self._indices.tolist(), self._counts.tolist(), strict=True))

    def to_dict(self) -> dict[str, Any]:
        """Return the counts as JSON values."""
        self.sum_up()
        return {"bins": self._indices.tolist(), "counts": self._counts.tolist()}

    @classmethod
    def read(cls, document: CountsDocument, size: int, place: str) -> Counts:
        """Return the counts of a document. Raises DataError; place: what they are, for the message."""
        bins, counts = document.bins, document.counts
        if len(bins) != len(counts):
            raise DataError(f"{place}: {len(bins)} bins, but {len(counts)} counts; expected as many")
        if bins and not (
            min(bins) >= 0 and max(bins) < size and min(counts) >= -MAX_COUNT and max(counts) <= MAX_COUNT
        ):
            raise DataError(f"{place}: expected indices from 0 to {size - 1}, and counts of at most {MAX_COUNT}")
        indices, values = np.array(bins, dtype=np.int64), np.array(counts, dtype=np.int64)
        if len(indices) and bool((np.diff(indices) <= 0).any()):
            raise DataError(f"{place}: bins: expected ascending indices from 0 to {size - 1}")
        found = cls(size)
        kept = values != 0
        found._indices, found._counts = indices[kept], values[kept]
        return found
