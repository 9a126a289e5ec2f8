"""Missing and infinite values, besides replacing them: mark them in new columns, or drop and reject rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from forebay.models.artefacts.preprocessing import RowCheck, Step
from forebay.models.artefacts.preprocessing.bounds import FlagMissing, NullOutside
from forebay.models.artefacts.preprocessing.step import FLOAT32_MAX
from forebay.models.artefacts.preprocessing.transform import Clip
from forebay.models.preparation.errors import fit_error
from forebay.models.preparation.recipe_step import FittedStep, Options
from forebay.models.preparation.recipe_table import RecipeTable
from forebay.models.preparation.training_rows import BoolArray, ColumnChoice, TrainingRows, listed, rows_with_any


@dataclass(frozen=True, slots=True)
class FlagMissingStep(Options):
    """Adds a column of 0 and 1 for each chosen column: whether its value is missing. Put it before the step impute."""

    kind: ClassVar[str] = "missing_indicator"
    columns: ColumnChoice = "numbers"

    @classmethod
    def read(cls, table: RecipeTable) -> FlagMissingStep:
        """Return the step in a table of a recipe."""
        table.reject_unknown_keys(("step", "columns"))
        return cls(table.columns(default="numbers"))

    def fit(self, rows: TrainingRows) -> FittedStep:
        columns = rows.choose(self.columns)
        never = [rows.names[place] for place in columns if not np.isnan(rows.x_NF[:, place]).any()]
        names = (*rows.names, *(f"{rows.names[place]}_is_missing" for place in columns))
        notes = (f"never missing in the training rows: {listed(never)}",) if never else ()
        return FittedStep((FlagMissing(rows.width, columns),), names, notes=notes)


@dataclass(frozen=True, slots=True)
class DropMissingStep(Options):
    """Drops training rows in which a chosen column is missing; a worker rejects such events.

    Before steps that change values, the features are no longer nullable; after them, the preprocessing rejects the rows.
    """

    kind: ClassVar[str] = "drop_missing"
    columns: ColumnChoice = "*"

    @classmethod
    def read(cls, table: RecipeTable) -> DropMissingStep:
        """Return the step in a table of a recipe."""
        table.reject_unknown_keys(("step", "columns"))
        return cls(table.columns(default="*"))

    def fit(self, rows: TrainingRows) -> FittedStep:
        columns = rows.choose(self.columns)
        keep_N = ~rows_with_any(np.isnan(rows.x_NF[:, list(columns)]))
        refuse_in_sequences(rows, "rows cannot be dropped from the middle of a sequence")
        names = [rows.names[place] for place in columns]
        note = dropped_note(keep_N, "a missing value")
        if rows.is_raw:
            return FittedStep((), rows.names, keep_N, notes=(note,), required=frozenset(names))
        check = row_check(rows, columns, allow_missing=False)
        return FittedStep((check,), rows.names, keep_N, notes=(note,))


@dataclass(frozen=True, slots=True)
class InfiniteStep(Options):
    """Replaces infinite values. action: `null`, `clip` to the smallest and largest finite value, or `reject` the row."""

    kind: ClassVar[str] = "infinite"
    columns: ColumnChoice = "numbers"
    action: str = "null"

    @classmethod
    def read(cls, table: RecipeTable) -> InfiniteStep:
        """Return the step in a table of a recipe."""
        table.reject_unknown_keys(("step", "columns", "action"))
        return cls(table.columns(default="numbers"), table.text("action", ("null", "clip", "reject"), default="null"))

    def fit(self, rows: TrainingRows) -> FittedStep:
        columns = rows.choose_numbers(self.columns)
        x_NK = rows.x_NF[:, list(columns)]
        is_infinite_NK = np.isinf(x_NK)
        count = len(columns)
        note = f"{int(is_infinite_NK.sum())} infinite values ({self.action})"
        limits = (-FLOAT32_MAX,) * count, (FLOAT32_MAX,) * count
        match self.action:
            case "null":
                return FittedStep((NullOutside(rows.width, columns, *limits),), rows.names, notes=(note,))
            case "clip":
                return FittedStep((self._clip(rows, columns),), rows.names, notes=(note,))
        refuse_in_sequences(rows, "rows cannot be dropped from the middle of a sequence")
        check = row_check(rows, columns, minima=limits[0], maxima=limits[1])
        return FittedStep((check,), rows.names, ~rows_with_any(is_infinite_NK), notes=(note,))

    def _clip(self, rows: TrainingRows, columns: Sequence[int]) -> Step:
        minima, maxima = [], []
        for place in columns:
            values_N = rows.x_NF[:, place]
            finite_N = values_N[np.isfinite(values_N)]
            if not len(finite_N):
                raise fit_error(f"the column {rows.names[place]!r} has no finite value", "drop the column")
            minima.append(float(finite_N.min()))
            maxima.append(float(finite_N.max()))
        return Clip(rows.width, tuple(columns), tuple(minima), tuple(maxima))


def row_check(
    rows: TrainingRows,
    columns: Sequence[int],
    *,
    minima: Sequence[float | None] | None = None,
    maxima: Sequence[float | None] | None = None,
    allow_missing: bool = True,
) -> RowCheck:
    """Return the frozen step that rejects rows outside the limits; None for no limit."""
    count = len(columns)
    return RowCheck(
        rows.width,
        tuple(columns),
        minima=(None,) * count if minima is None else tuple(minima),
        maxima=(None,) * count if maxima is None else tuple(maxima),
        allow_missing=(allow_missing,) * count,
        names=tuple(rows.names[place] for place in columns),
    )


def refuse_in_sequences(rows: TrainingRows, reason: str) -> None:
    """Raise ModelError(kind="fit") if the rows are events of sequences."""
    if rows.sequences_N is not None:
        raise fit_error(reason, "replace the values instead, for example with a step impute, or leave out the windows")


def dropped_note(keep_N: BoolArray, why: str) -> str:
    """Return the note on dropped training rows."""
    return f"{int((~keep_N).sum())} of {len(keep_N)} training rows are dropped: {why}"
