"""Add columns that are computed from others: expressions of two columns, products of all pairs, sine and cosine."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, combinations_with_replacement
from typing import ClassVar, Final

import numpy as np

from forebay.models.artefacts.preprocessing import Step
from forebay.models.artefacts.preprocessing.combine import OPERATIONS, Combine, Cyclic
from forebay.models.artefacts.preprocessing.select_columns import SelectColumns
from forebay.models.preparation.errors import fit_error
from forebay.models.preparation.recipe_step import FittedStep, Options
from forebay.models.preparation.recipe_table import RecipeTable
from forebay.models.preparation.training_rows import ColumnChoice, TrainingRows

_MAX_PRODUCTS: Final = 10_000


@dataclass(frozen=True, slots=True)
class CombineStep(Options):
    """Adds a column `name`: `left` and `right`, combined by `operation`.

    at_zero: the result of a division by zero; None for a missing value.
    """

    kind: ClassVar[str] = "combine"
    left: str
    right: str
    operation: str
    name: str
    at_zero: float | str | None = None

    @classmethod
    def read(cls, table: RecipeTable) -> CombineStep:
        """Return the step in a table of a recipe."""
        table.reject_unknown_keys(("step", "left", "right", "operation", "name", "at_zero"))
        operation = table.text("operation", OPERATIONS.keys())
        if table.has("at_zero") != (operation == "divide"):
            raise table.error('at_zero must be given for the operation divide, and only for it: a number or "missing"')
        at_zero: float | str | None = None
        if table.has("at_zero"):
            at_zero = "missing" if table.is_text("at_zero", "missing") else table.number("at_zero")
        return cls(table.text("left"), table.text("right"), operation, name=table.text("name"), at_zero=at_zero)

    def fit(self, rows: TrainingRows) -> FittedStep:
        (left,), (right,) = rows.choose_numbers((self.left,)), rows.choose_numbers((self.right,))
        at_zero = self.at_zero if isinstance(self.at_zero, float) else None
        step = Combine(rows.width, (left,), (right,), self.operation, at_zero=at_zero)
        notes: tuple[str, ...] = ()
        if num_zero := int((rows.x_NF[:, right] == 0).sum()) if self.operation == "divide" else 0:
            notes = (f"{num_zero} divisions by zero give {self.at_zero}",)
        return FittedStep((step,), (*rows.names, self.name), notes=notes)


@dataclass(frozen=True, slots=True)
class ProductsStep(Options):
    """Adds the products of all pairs of the chosen columns, called `a*b`. squares: whether also of each with itself."""

    kind: ClassVar[str] = "products"
    columns: ColumnChoice = "numbers"
    squares: bool = True

    @classmethod
    def read(cls, table: RecipeTable) -> ProductsStep:
        """Return the step in a table of a recipe."""
        table.reject_unknown_keys(("step", "columns", "squares"))
        return cls(table.columns(default="numbers"), table.boolean("squares", default=True))

    def fit(self, rows: TrainingRows) -> FittedStep:
        columns = rows.choose_numbers(self.columns)
        pairs = list((combinations_with_replacement if self.squares else combinations)(columns, 2))
        if not pairs:
            return FittedStep((), rows.names, notes=("there are no pairs of columns",))
        if len(pairs) > _MAX_PRODUCTS:
            raise fit_error(
                f"{len(columns)} columns have {len(pairs)} products; allowed are at most {_MAX_PRODUCTS}",
                "choose fewer columns",
            )
        left, right = zip(*pairs, strict=True)
        names = tuple(f"{rows.names[a]}*{rows.names[b]}" for a, b in pairs)
        return FittedStep((Combine(rows.width, left, right, "multiply"),), (*rows.names, *names))


@dataclass(frozen=True, slots=True)
class CyclicStep(Options):
    """Replaces a number that begins again after each period, such as an hour, by its sine and cosine.

    keep: whether the column itself stays.
    """

    kind: ClassVar[str] = "cyclic"
    columns: ColumnChoice
    period: float
    keep: bool = False

    @classmethod
    def read(cls, table: RecipeTable) -> CyclicStep:
        """Return the step in a table of a recipe."""
        table.reject_unknown_keys(("step", "columns", "period", "keep"))
        period = table.number("period", minimum=1e-30, maximum=1e30)
        return cls(table.columns(), period, table.boolean("keep", default=False))

    def fit(self, rows: TrainingRows) -> FittedStep:
        columns = rows.choose_numbers(self.columns)
        for place in columns:
            rows.present(place)  # raises for infinite values
        names = [*rows.names]
        for place in columns:
            names += [f"{rows.names[place]}_sin", f"{rows.names[place]}_cos"]
        steps: list[Step] = [Cyclic(rows.width, columns, (self.period,) * len(columns))]
        if not self.keep:
            kept = np.setdiff1d(np.arange(len(names)), columns).tolist()
            steps.append(SelectColumns(len(names), tuple(kept)))
            names = [names[place] for place in kept]
        return FittedStep(tuple(steps), tuple(names))
