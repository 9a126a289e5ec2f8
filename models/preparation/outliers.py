"""Find outliers, by bounds for each column or by models of whole rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from forebay.models.artefacts.preprocessing.bounds import FlagOutside, NullOutside
from forebay.models.artefacts.preprocessing.step import FLOAT32_MAX
from forebay.models.artefacts.preprocessing.transform import Clip
from forebay.models.preparation.errors import fit_error
from forebay.models.preparation.missing import dropped_note, refuse_in_sequences, row_check
from forebay.models.preparation.recipe_step import FittedStep, Options
from forebay.models.preparation.recipe_table import RecipeTable
from forebay.models.preparation.training_rows import (
    ColumnChoice,
    TrainingRows,
    columns_with_any,
    listed,
    rows_with_any,
)
from forebay.models.preparation.whole_rows import fit_isolation_forest, local_inliers

BOUND_METHODS: Final = ("iqr", "z_score")
MODEL_METHODS: Final = ("isolation_forest", "local_outlier_factor")
"""Methods that find whole rows."""
_BOUND_ACTIONS: Final = ("clip", "null", "flag", "reject", "drop")
_DEFAULT_FACTORS: Final = {"iqr": 1.5, "z_score": 3.0}


@dataclass(frozen=True, slots=True)
class OutliersStep(Options):
    """Finds values outside bounds that are fitted to the training rows and then are constants.

    method: `iqr`: more than `factor` times the distance of the quartiles beyond them; `z_score`: more than `factor` standard
        deviations (ddof 0) from the mean; `isolation_forest`: whole rows, also on events; `local_outlier_factor`: whole rows,
        only among training rows.
    action: `clip` to the bounds; `null`: becomes missing; `flag`: adds a column of 0 and 1; `reject`: training rows are dropped
        and a worker rejects events; `drop`: only training rows are dropped.
    """

    kind: ClassVar[str] = "outliers"
    method: str
    action: str
    columns: ColumnChoice = "numbers"
    factor: float | None = None
    contamination: float | None = None
    neighbours: int | None = None

    @classmethod
    def read(cls, table: RecipeTable) -> OutliersStep:
        """Return the step in a table of a recipe."""
        method = table.text("method", (*BOUND_METHODS, *MODEL_METHODS))
        options = {
            "iqr": ("factor",),
            "z_score": ("factor",),
            "isolation_forest": ("contamination",),
            "local_outlier_factor": ("contamination", "neighbours"),
        }[method]
        table.reject_unknown_keys(("step", "method", "action", "columns", *options))
        action = table.text("action", _BOUND_ACTIONS)
        if method == "local_outlier_factor" and action != "drop":
            raise table.error(
                f'action is {action!r}; {method} allows only "drop", because it compares a row with all training rows, which a '
                "worker does not have",
                'use action = "drop" to train without outliers, or method = "isolation_forest" with action = "reject"',
            )
        if method == "isolation_forest" and action not in ("drop", "reject"):
            raise table.error(
                f'action is {action!r}; {method} allows "drop" and "reject", because it finds rows and not values',
                'use one of these, or method = "iqr" or "z_score" with bounds for each column',
            )
        return cls(
            method,
            action,
            table.columns(default="numbers"),
            factor=table.number("factor", default=_DEFAULT_FACTORS[method], above=0.0) if "factor" in options else None,
            contamination=table.number("contamination", above=0.0, maximum=0.5) if table.has("contamination") else None,
            neighbours=table.integer("neighbours", 1, default=20) if "neighbours" in options else None,
        )

    def fit(self, rows: TrainingRows) -> FittedStep:
        columns = rows.choose_numbers(self.columns)
        if self.method == "isolation_forest":
            return self._fit_forest(rows, columns)
        if self.method == "local_outlier_factor":
            return self._fit_neighbours(rows, columns)
        bounds = [self._bounds(rows, place) for place in columns]
        minima, maxima = tuple(low for low, _ in bounds), tuple(high for _, high in bounds)
        x_NK = rows.x_NF[:, list(columns)]
        is_outside_NK = (x_NK < np.array(minima)) | (x_NK > np.array(maxima))
        found = [
            rows.names[place] for place, some in zip(columns, columns_with_any(is_outside_NK), strict=True) if some
        ]
        note = f"{int(is_outside_NK.sum())} outliers ({self.method}, {self.action}) in {listed(found) or 'no column'}"
        match self.action:
            case "clip":
                return FittedStep((Clip(rows.width, columns, minima, maxima),), rows.names, notes=(note,))
            case "null":
                return FittedStep((NullOutside(rows.width, columns, minima, maxima),), rows.names, notes=(note,))
            case "flag":
                names = (*rows.names, *(f"{rows.names[place]}_is_outlier" for place in columns))
                return FittedStep((FlagOutside(rows.width, columns, minima, maxima),), names, notes=(note,))
        refuse_in_sequences(rows, "rows cannot be dropped from the middle of a sequence")
        keep_N = ~rows_with_any(is_outside_NK)
        notes: tuple[str, ...] = (note, dropped_note(keep_N, "an outlier"))
        check = row_check(rows, columns, minima=minima, maxima=maxima)
        if self.action == "drop":
            notes = (*notes, "events with outliers are predicted")
            return FittedStep((), rows.names, keep_N, notes=notes, checks=(check,))
        return FittedStep((check,), rows.names, keep_N, notes=notes)

    def _bounds(self, rows: TrainingRows, place: int) -> tuple[float, float]:
        present_N = rows.present(place)
        if not len(present_N):
            raise fit_error(f"the column {rows.names[place]!r} has no value in any training row", "drop the column")
        factor = _DEFAULT_FACTORS[self.method] if self.factor is None else self.factor
        if self.method == "iqr":
            first, third = np.quantile(present_N, (0.25, 0.75))
            low, high = first - factor * (third - first), third + factor * (third - first)
        else:
            mean, deviation = present_N.mean(), present_N.std()
            low, high = mean - factor * deviation, mean + factor * deviation
        return max(float(low), -FLOAT32_MAX), min(float(high), FLOAT32_MAX)

    def _fit_forest(self, rows: TrainingRows, columns: tuple[int, ...]) -> FittedStep:
        """Return the forest that scikit-learn fits to whole rows, as a step that rejects events or only training rows."""
        refuse_in_sequences(rows, "rows cannot be dropped from the middle of a sequence")
        forest = fit_isolation_forest(rows, columns, self.contamination)
        keep_N = ~forest.rejected(rows.x_NF)
        notes: tuple[str, ...] = (dropped_note(keep_N, "an outlier (isolation_forest)"),)
        if self.action == "reject":
            return FittedStep((forest,), rows.names, keep_N, notes=notes)
        notes = (*notes, "events with outliers are predicted")
        return FittedStep((), rows.names, keep_N, notes=notes, checks=(forest,))

    def _fit_neighbours(self, rows: TrainingRows, columns: tuple[int, ...]) -> FittedStep:
        """Drop the training rows that are unlike their neighbours. The frozen preprocessing does not change."""
        refuse_in_sequences(rows, "rows cannot be dropped from the middle of a sequence")
        keep_N = local_inliers(rows, columns, self.contamination, self.neighbours or 20)
        notes = (
            dropped_note(keep_N, "an outlier (local_outlier_factor)"),
            "local_outlier_factor works only on training rows: a worker does not look for these outliers",
        )
        needs_all = "local_outlier_factor finds outliers only among the rows that it is fitted to"
        return FittedStep((), rows.names, keep_N, notes=notes, needs_all=needs_all)
