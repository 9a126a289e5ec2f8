"""Groups: what many predictions have in common, their version and their slices."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from forebay.stream.evaluate.columns import Integers, Slices
from forebay.stream.evaluate.interning import Codes, Interner, SliceSets

Ref = TypeVar("Ref", bound=Hashable)


class Groups(Generic[Ref]):
    """Codes of groups. refs: the versions by their codes. slices: the sets of slices by their codes."""

    def __init__(self) -> None:
        self.refs: Interner[Ref] = Interner()
        self.slices = SliceSets()
        self._groups: Interner[tuple[int, int]] = Interner()
        self._table_G2: npt.NDArray[np.int64] = np.zeros((0, 2), np.int64)

    def codes(self, ref: Ref, slices: Slices | None, count: int) -> Codes:
        """Return the group of each prediction of a version."""
        ref_code = self.refs.code(ref)
        if slices is None:
            return np.full(count, self._groups.code((ref_code, 0)), np.uint32)
        sets = self.slices.codes(slices, count)
        found, inverse = np.unique(sets, return_inverse=True)
        codes = np.array([self._groups.code((ref_code, code)) for code in found.tolist()], np.uint32)
        return codes[inverse]

    def refs_of(self, groups: npt.NDArray[np.unsignedinteger]) -> Integers:
        """Return the code of the version of each group."""
        versions: Integers = self._table()[groups, 0]
        return versions

    def slices_of(self, groups: npt.NDArray[np.unsignedinteger]) -> Integers:
        """Return the code of the set of slices of each group."""
        sets: Integers = self._table()[groups, 1]
        return sets

    def _table(self) -> npt.NDArray[np.int64]:
        if len(self._table_G2) != len(self._groups):
            self._table_G2 = np.array(self._groups.values, np.int64).reshape(-1, 2)
        return self._table_G2
