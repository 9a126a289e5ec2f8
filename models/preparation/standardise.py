"""Shift and scale columns to mean 0 and standard deviation 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from forebay.models.artefacts.preprocessing import Standardise
from forebay.models.preparation.errors import fit_error
from forebay.models.preparation.recipe_step import FittedStep, Options
from forebay.models.preparation.recipe_table import RecipeTable
from forebay.models.preparation.training_rows import ColumnChoice, TrainingRows, listed


@dataclass(frozen=True, slots=True)
class StandardiseStep(Options):
    """Subtracts the mean and divides by the standard deviation, without missing values.

    ddof: the divisor of the variance is the number of values minus `ddof`: 0 for that of the rows, 1 for an estimate.
    """

    kind: ClassVar[str] = "standardise"
    columns: ColumnChoice = "numbers"
    ddof: int = 0

    @classmethod
    def read(cls, table: RecipeTable) -> StandardiseStep:
        """Return the step in a table of a recipe."""
        table.reject_unknown_keys(("step", "columns", "ddof"))
        ddof = table.integer("ddof", default=0)
        if ddof > 1:
            table.fail("ddof", "0 or 1")
        return cls(table.columns(default="numbers"), ddof)

    def fit(self, rows: TrainingRows) -> FittedStep:
        columns = rows.choose_numbers(self.columns)
        means, scales, constant = [], [], []
        for column in columns:
            present_N = rows.present(column)
            if not len(present_N):
                raise fit_error(
                    f"the column {rows.names[column]!r} has no value in any training row", "drop the column"
                )
            varies = present_N.min() < present_N.max()
            means.append(float(present_N.mean()))
            scales.append(float(present_N.std(ddof=self.ddof)) if varies else 1.0)
            if not varies:
                constant.append(rows.names[column])
        notes = (f"constant columns become 0: {listed(constant)}",) if constant else ()
        return FittedStep((Standardise(rows.width, columns, tuple(means), tuple(scales)),), rows.names, notes=notes)
