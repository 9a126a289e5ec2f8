"""Replace numbers by the number of their interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from forebay.models.artefacts.preprocessing import OneHot
from forebay.models.artefacts.preprocessing.bin import Bin
from forebay.models.preparation.errors import fit_error
from forebay.models.preparation.recipe_step import FittedStep, Options
from forebay.models.preparation.recipe_table import RecipeTable
from forebay.models.preparation.training_rows import ColumnChoice, TrainingRows, listed


@dataclass(frozen=True, slots=True)
class BinStep(Options):
    """Replaces numbers by the number of their interval, from 0, or by a column of 0 and 1 for each interval.

    method: `equal_width`: intervals of the same width; `quantile`: with about the same number of training rows.
    encode: `index` or `one_hot`, which moves the new columns to the end.

    Values beyond the training rows are in the first or last interval. A missing one stays missing, or is all 0.
    """

    kind: ClassVar[str] = "bin"
    columns: ColumnChoice = "numbers"
    method: str = "equal_width"
    bins: int = 10
    encode: str = "index"

    @classmethod
    def read(cls, table: RecipeTable) -> BinStep:
        """Return the step in a table of a recipe."""
        table.reject_unknown_keys(("step", "columns", "method", "bins", "encode"))
        bins = table.integer("bins", 2, default=10)
        if bins > 10_000:
            table.fail("bins", "a whole number from 2 to 10000")
        return cls(
            table.columns(default="numbers"),
            table.text("method", ("equal_width", "quantile"), default="equal_width"),
            bins=bins,
            encode=table.text("encode", ("index", "one_hot"), default="index"),
        )

    def fit(self, rows: TrainingRows) -> FittedStep:
        columns = rows.choose_numbers(self.columns)
        edges = []
        fewer = []
        for place in columns:
            present_N = rows.present(place)
            if not len(present_N):
                raise fit_error(f"the column {rows.names[place]!r} has no value in any training row", "drop the column")
            edges.append(self._edges(present_N))
            if len(edges[-1]) < self.bins - 1:
                fewer.append(rows.names[place])
        notes = (f"fewer than {self.bins} intervals, because many values are equal: {listed(fewer)}",) if fewer else ()
        step = Bin(rows.width, columns, tuple(edges))
        if self.encode == "index" or not columns:
            return FittedStep((step,), rows.names, notes=notes)
        sizes = tuple(len(inner) + 1 for inner in edges)
        names = [name for place, name in enumerate(rows.names) if place not in columns]
        for place, size in zip(columns, sizes, strict=True):
            names += [f"{rows.names[place]}_bin_{number}" for number in range(size)]
        return FittedStep((step, OneHot(rows.width, columns, sizes)), tuple(names), notes=notes)

    def _edges(self, present_N: npt.NDArray[np.float64]) -> tuple[float, ...]:
        """Return the inner edges, without those at which an interval would be empty in every row."""
        if self.method == "equal_width":
            edges = np.linspace(present_N.min(), present_N.max(), self.bins + 1)
        else:
            edges = np.quantile(present_N, np.linspace(0.0, 1.0, self.bins + 1))
        inner = np.unique(edges[1:-1])
        return tuple(inner[inner > present_N.min()].tolist())
