"""Small numbers in place of values that many rows share: versions, slices, names of models and classes."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Final, Generic, TypeVar

import numpy as np
import numpy.typing as npt

Value = TypeVar("Value", bound=Hashable)
Codes = npt.NDArray[np.uint32]
MAX_SLICE_SETS: Final = 100_000
"""Distinct combinations of slices, about 40 MB. Four slices of 100 values each have a hundred million."""


class Interner(Generic[Value]):
    """Gives each distinct value a code: 0, 1, 2 and on.

    values: those that have the first codes.
    max_values: with as many values, all further ones have the code of the last of the first ones; None for no limit.
    """

    def __init__(self, values: Sequence[Value] = (), *, max_values: int | None = None) -> None:
        self._max_values = max_values
        self._overflow = len(values) - 1
        self._codes: dict[Value, int] = {}
        self.values: list[Value] = []
        for value in values:
            self.code(value)

    def __len__(self) -> int:
        return len(self.values)

    def code(self, value: Value) -> int:
        """Return the code of a value."""
        found = self._codes.get(value)
        if found is None:
            if len(self.values) == self._max_values:
                return self._overflow
            found = self._codes[value] = len(self.values)
            self.values.append(value)
        return found

    def codes(self, values: Iterable[Value], count: int) -> Codes:
        """Return the codes of `count` values."""
        return np.fromiter(map(self.code, values), np.uint32, count)


class SliceSets:
    """Codes of sets of slices. Code 0 is the empty set, and the code of every set beyond the limit.

    max_sets: the limit.
    """

    def __init__(self, *, max_sets: int = MAX_SLICE_SETS) -> None:
        self.texts: Interner[str] = Interner()
        self._sets: Interner[tuple[int, ...]] = Interner([()], max_values=max_sets)
        self._table_SK: npt.NDArray[np.int64] = np.zeros((1, 0), np.int64)

    def codes(self, slices: Iterable[Iterable[str]] | None, count: int) -> Codes:
        """Return the code of each row's slices; all 0 for None."""
        if slices is None:
            return np.zeros(count, np.uint32)
        text_code = self.texts.code
        return self._sets.codes((tuple(map(text_code, row)) for row in slices), count)

    def table(self) -> npt.NDArray[np.int64]:
        """Return the codes of the texts of each set, [sets, slices of a row]; -1 where a set has fewer."""
        sets = self._sets.values
        if len(self._table_SK) != len(sets):
            self._table_SK = np.full((len(sets), max(map(len, sets))), -1, np.int64)
            for row, texts in enumerate(sets):
                self._table_SK[row, : len(texts)] = texts
        return self._table_SK
