"""Replace missing values by values that are fitted to the training rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
import numpy.typing as npt

from forebay.models.artefacts.preprocessing import Impute
from forebay.models.artefacts.preprocessing.fill_sequence import METHODS, FillSequence
from forebay.models.preparation.errors import fit_error
from forebay.models.preparation.recipe_step import FittedStep, Options
from forebay.models.preparation.recipe_table import RecipeTable
from forebay.models.preparation.training_rows import ColumnChoice, TrainingRows

STRATEGIES: Final = ("mean", "median", "mode", "constant", "forward", "backward", "interpolate")


@dataclass(frozen=True, slots=True)
class ImputeStep(Options):
    """Replaces missing values.

    strategy: the column's `mean`, `median`, `mode` (the smallest of the most frequent values), or the `constant` `value`.
        Within a sequence also from its other events: the last value before (`forward`), the next one after (`backward`),
        or on the line between them (`interpolate`).
    """

    kind: ClassVar[str] = "impute"
    strategy: str
    columns: ColumnChoice = "numbers"
    value: float | None = None

    @classmethod
    def read(cls, table: RecipeTable) -> ImputeStep:
        """Return the step in a table of a recipe."""
        table.reject_unknown_keys(("step", "strategy", "columns", "value"))
        strategy = table.text("strategy", STRATEGIES)
        if table.has("value") != (strategy == "constant"):
            raise table.error("value must be given for the strategy constant, and only for it")
        return cls(strategy, table.columns(default="numbers"), table.optional_number("value"))

    def fit(self, rows: TrainingRows) -> FittedStep:
        columns = rows.choose_numbers(self.columns)
        if self.strategy in METHODS:
            return self._fit_sequences(rows, columns)
        values = tuple(self._value(rows, column) for column in columns)
        num_missing = int(np.isnan(rows.x_NF[:, list(columns)]).sum())
        return FittedStep(
            (Impute(rows.width, columns, values, self.strategy),),
            rows.names,
            notes=(f"{num_missing} missing values of {len(columns)} columns are replaced ({self.strategy})",),
        )

    def _fit_sequences(self, rows: TrainingRows, columns: tuple[int, ...]) -> FittedStep:
        if rows.sequences_N is None:
            raise fit_error(
                f"the strategy {self.strategy} needs the other events of a sequence, and each row stands by itself: "
                "a worker predicts an event before the next one arrives",
                'use "mean", "median", "mode" or "constant", or give the signature a window with sequence_length',
            )
        for place in columns:
            rows.present(place)  # raises for infinite values
        step = FillSequence(rows.width, columns, self.strategy)
        before_NK, after_NK = (
            np.isnan(x_NF[:, list(columns)])
            for x_NF in (rows.x_NF, step.apply_to_sequences(rows.x_NF, rows.sequences_N))
        )
        note = f"{int(before_NK.sum() - after_NK.sum())} missing values are replaced ({self.strategy})"
        left = f"{int(after_NK.sum())} stay missing, because their sequence has no such value"
        return FittedStep((step,), rows.names, notes=(note, left) if after_NK.any() else (note,))

    def _value(self, rows: TrainingRows, column: int) -> float:
        if self.value is not None:
            return self.value
        present_N = rows.present(column)
        if not len(present_N):
            raise fit_error(
                f"the column {rows.names[column]!r} has no value in any training row",
                'drop the column, or use strategy = "constant"',
            )
        return summary(present_N, self.strategy)


def summary(present_N: npt.NDArray[np.float64], strategy: str) -> float:
    """Return the mean, median, or (smallest) most frequent of values."""
    match strategy:
        case "mean":
            return float(present_N.mean())
        case "median":
            return float(np.median(present_N))
    values, counts = np.unique(present_N, return_counts=True)
    return float(values[counts.argmax()])
