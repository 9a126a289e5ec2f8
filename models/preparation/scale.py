"""Shift and scale columns. A column with a single value becomes 0, or the lower end of the range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from forebay.models.artefacts.preprocessing import Standardise, Step
from forebay.models.artefacts.preprocessing.transform import Clip
from forebay.models.preparation.recipe_step import FittedStep, Options
from forebay.models.preparation.recipe_table import RecipeTable
from forebay.models.preparation.training_rows import ColumnChoice, TrainingRows, listed
from forebay.models.preparation.usable import finish, read_choices, usable_columns


@dataclass(frozen=True, slots=True)
class StandardiseStep(Options):
    """Subtracts the mean and divides by the standard deviation, without missing values.

    ddof: the divisor of the variance is the number of values minus `ddof`: 0 for that of the rows, 1 for an estimate.
    """

    kind: ClassVar[str] = "standardise"
    columns: ColumnChoice = "numbers"
    ddof: int = 0
    constant: str = "keep"
    empty: str = "refuse"

    @classmethod
    def read(cls, table: RecipeTable) -> StandardiseStep:
        """Return the step in a table of a recipe."""
        table.reject_unknown_keys(("step", "columns", "ddof", "constant", "empty"))
        ddof = table.integer("ddof", default=0)
        if ddof > 1:
            table.fail("ddof", "0 or 1")
        return cls(table.columns(default="numbers"), ddof, *read_choices(table))

    def fit(self, rows: TrainingRows) -> FittedStep:
        usable = usable_columns(rows, rows.choose_numbers(self.columns), constant=self.constant, empty=self.empty)
        means = tuple(float(values.mean()) for values in usable.values)
        scales = tuple(
            1.0 if is_constant else float(values.std(ddof=self.ddof))
            for values, is_constant in zip(usable.values, usable.constant, strict=True)
        )
        return finish(rows, [Standardise(rows.width, usable.places, means, scales)], usable)


@dataclass(frozen=True, slots=True)
class MinMaxStep(Options):
    """Maps the smallest value to `low` and the largest to `high`. clip: whether later values stay within this range."""

    kind: ClassVar[str] = "min_max"
    columns: ColumnChoice = "numbers"
    low: float = 0.0
    high: float = 1.0
    clip: bool = False
    constant: str = "keep"
    empty: str = "refuse"

    @classmethod
    def read(cls, table: RecipeTable) -> MinMaxStep:
        """Return the step in a table of a recipe."""
        table.reject_unknown_keys(("step", "columns", "low", "high", "clip", "constant", "empty"))
        low = table.number("low", default=0.0, minimum=-1e6, maximum=1e6)
        high = table.number("high", default=1.0, above=low, maximum=1e6)
        constant, empty = read_choices(table)
        clip = table.boolean("clip", default=False)
        return cls(table.columns(default="numbers"), low, high=high, clip=clip, constant=constant, empty=empty)

    def fit(self, rows: TrainingRows) -> FittedStep:
        usable = usable_columns(rows, rows.choose_numbers(self.columns), constant=self.constant, empty=self.empty)
        # The range of a column with a single value is taken for 1, as in scikit-learn.
        scales = tuple(
            (1.0 if is_constant else float(values.max() - values.min())) / (self.high - self.low)
            for values, is_constant in zip(usable.values, usable.constant, strict=True)
        )
        means = tuple(
            float(values.min() - self.low * scale) for values, scale in zip(usable.values, scales, strict=True)
        )
        steps: list[Step] = [Standardise(rows.width, usable.places, means, scales)]
        if self.clip:
            count = len(usable.places)
            steps.append(Clip(rows.width, usable.places, (self.low,) * count, (self.high,) * count))
        return finish(rows, steps, usable)


@dataclass(frozen=True, slots=True)
class RobustStep(Options):
    """Subtracts the median and divides by the distance between two quantiles, without missing values."""

    kind: ClassVar[str] = "robust"
    columns: ColumnChoice = "numbers"
    lower_quantile: float = 0.25
    upper_quantile: float = 0.75
    constant: str = "keep"
    empty: str = "refuse"

    @classmethod
    def read(cls, table: RecipeTable) -> RobustStep:
        """Return the step in a table of a recipe."""
        table.reject_unknown_keys(("step", "columns", "lower_quantile", "upper_quantile", "constant", "empty"))
        lower = table.number("lower_quantile", default=0.25, minimum=0.0, maximum=1.0)
        upper = table.number("upper_quantile", default=0.75, above=lower, maximum=1.0)
        constant, empty = read_choices(table)
        return cls(table.columns(default="numbers"), lower, upper_quantile=upper, constant=constant, empty=empty)

    def fit(self, rows: TrainingRows) -> FittedStep:
        usable = usable_columns(rows, rows.choose_numbers(self.columns), constant=self.constant, empty=self.empty)
        distances = [self._distance(values) for values in usable.values]
        step = Standardise(
            rows.width,
            usable.places,
            tuple(float(np.median(values)) for values in usable.values),
            tuple(distance or 1.0 for distance in distances),
        )
        equal = [
            rows.names[place]
            for place, distance, is_constant in zip(usable.places, distances, usable.constant, strict=True)
            if not distance and not is_constant
        ]
        notes = (f"both quantiles are equal, so these columns are not scaled: {listed(equal)}",) if equal else ()
        return finish(rows, [step], usable, *notes)

    def _distance(self, values_N: npt.NDArray[np.float64]) -> float:
        lower, upper = np.quantile(values_N, (self.lower_quantile, self.upper_quantile))
        return float(upper - lower)
