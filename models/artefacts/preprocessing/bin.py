"""Replace numbers by the index of the interval that they are in."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar, Final

import numpy as np
import numpy.typing as npt

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.json_object import JsonObject
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

# Up to here, comparing all columns with one edge after another is faster than a search in each column.
_MAX_COMPARED_EDGES: Final = 24


@dataclass(frozen=True, slots=True)
class Bin(SameWidth):
    """Replaces a number in column `columns[i]` by how many of `edges[i]` are at most that number. NaN is unchanged.

    edges: the inner edges of the intervals, ascending, compared in float64.
    """

    kind: ClassVar[str] = "bin"
    width: int
    columns: tuple[int, ...]
    edges: tuple[tuple[float, ...], ...]
    _picked: slice | npt.NDArray[np.intp] = field(init=False, repr=False, compare=False)
    _edges: tuple[npt.NDArray[np.float64], ...] = field(init=False, repr=False, compare=False)
    _edges_EK: npt.NDArray[np.float64] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        make_plain(self, ("edges",), number_lists)
        check_columns(self.kind, self.width, self.columns, {})
        check_count(self.kind, "lists of edges", self.edges, self.columns)
        for edges in self.edges:
            check_finite(self.kind, "edges", edges)
            if any(low >= high for low, high in pairwise(edges)):
                raise error("bin: the edges of a column must be ascending")
        object.__setattr__(self, "_picked", picked(self.columns))
        object.__setattr__(self, "_edges", tuple(np.array(edges, dtype=np.float64) for edges in self.edges))
        object.__setattr__(self, "_edges_EK", self._few_edges())

    def apply(self, x_BF: FloatArray) -> FloatArray:
        out_BF = x_BF.copy()
        x_BK = x_BF[:, self._picked].astype(np.float64)
        count_BK = np.zeros(x_BK.shape, dtype=np.float32)
        if self._edges_EK is not None:
            for edges_K in self._edges_EK:
                count_BK += x_BK >= edges_K
        else:
            for index, edges in enumerate(self._edges):
                count_BK[:, index] = np.searchsorted(edges, x_BK[:, index], side="right")
        np.copyto(count_BK, np.float32(np.nan), where=np.isnan(x_BK))
        out_BF[:, self._picked] = count_BK
        return out_BF

    def _few_edges(self) -> npt.NDArray[np.float64] | None:
        """Return the edges of all columns, padded with NaN, which no number reaches; None if a search is faster."""
        most = max(map(len, self.edges), default=0)
        if most > _MAX_COMPARED_EDGES:
            return None
        edges_EK = np.full((most, len(self.columns)), np.nan)
        for index, edges in enumerate(self.edges):
            edges_EK[: len(edges), index] = edges
        return edges_EK

    def to_dict(self) -> dict[str, object]:
        return {
            "step": self.kind,
            "width": self.width,
            "columns": list(self.columns),
            "edges": [list(edges) for edges in self.edges],
        }

    @classmethod
    def read(cls, fields: JsonObject) -> Bin:
        """Return the step in one object of a file. Raises ModelError that names the file and the key."""
        fields.reject_unknown_keys({"step", "width", "columns", "edges"})
        edges = number_lists(fields.array("edges"), "edges", error)
        return cls(fields.integer("width", minimum=1), fields.integers("columns"), edges)
