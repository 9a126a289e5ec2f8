"""Drop training rows that occur several times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from forebay.models.preparation.missing import dropped_note, refuse_in_sequences
from forebay.models.preparation.recipe_step import FittedStep, Options
from forebay.models.preparation.recipe_table import RecipeTable
from forebay.models.preparation.training_rows import BoolArray, ColumnChoice, TrainingRows


@dataclass(frozen=True, slots=True)
class DropDuplicatesStep(Options):
    """Keeps the first of the training rows that are equal in the chosen columns; missing values are equal.

    A worker predicts every event.
    """

    kind: ClassVar[str] = "drop_duplicates"
    columns: ColumnChoice = "*"

    @classmethod
    def read(cls, table: RecipeTable) -> DropDuplicatesStep:
        """Return the step in a table of a recipe."""
        table.reject_unknown_keys(("step", "columns"))
        return cls(table.columns(default="*"))

    def fit(self, rows: TrainingRows) -> FittedStep:
        refuse_in_sequences(rows, "rows cannot be dropped from the middle of a sequence")
        keep_N = _first_of_each(rows, rows.choose(self.columns))
        return FittedStep(
            (),
            rows.names,
            keep_N,
            notes=(dropped_note(keep_N, "equal to an earlier one"),),
            needs_all="duplicates are found only among the rows that the step is fitted to",
        )


def _first_of_each(rows: TrainingRows, columns: tuple[int, ...]) -> BoolArray:
    # 0 is added so that -0.0 becomes 0.0. Every NaN gets the same bits.
    x_NK = np.ascontiguousarray(rows.x_NF[:, list(columns)] + np.float32(0))
    x_NK[np.isnan(x_NK)] = np.nan
    keep_N = np.zeros(len(x_NK), dtype=np.bool_)
    if not columns:
        keep_N[:1] = True
        return keep_N
    bits_N = x_NK.view(np.dtype((np.void, x_NK.dtype.itemsize * x_NK.shape[1]))).ravel()
    keep_N[np.unique(bits_N, return_index=True)[1]] = True
    return keep_N
