"""Replace numbers by the index of the interval that they are in."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.json_object import JsonObject
from forebay.models.artefacts.preprocessing.step import (
    check_columns,
    check_count,
    check_finite,
    error,
    make_plain,
    number_lists,
)


@dataclass(frozen=True, slots=True)
class Bin:
    """Replaces a number in column `columns[i]` by how many of `edges[i]` are at most that number. NaN is unchanged.

    edges: the inner edges of the intervals, ascending, compared in float64.
    """

    width: int
    columns: tuple[int, ...]
    edges: tuple[tuple[float, ...], ...]
    _edges: tuple[npt.NDArray[np.float64], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        make_plain(self, ("edges",), number_lists)
        check_columns(self.kind, self.width, self.columns, {})
        check_count(self.kind, "lists of edges", self.edges, self.columns)
        for edges in self.edges:
            check_finite(self.kind, "edges", edges)
            if any(low >= high for low, high in pairwise(edges)):
                raise error("bin: the edges of a column must be ascending")
        object.__setattr__(self, "_edges", tuple(np.array(edges, dtype=np.float64) for edges in self.edges))

    @property
    def kind(self) -> str:
        return "bin"

    @property
    def output_width(self) -> int:
        return self.width

    def apply(self, x_BF: FloatArray) -> FloatArray:
        out_BF = x_BF.copy()
        for column, edges in zip(self.columns, self._edges, strict=True):
            x_B = x_BF[:, column].astype(np.float64)
            out_BF[:, column] = np.where(np.isnan(x_B), np.nan, np.searchsorted(edges, x_B, side="right"))
        return out_BF

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
