"""Change the distribution of columns: quantiles, powers, logarithms and limits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Final

import numpy as np

from forebay.models.artefacts.preprocessing import Standardise, Step
from forebay.models.artefacts.preprocessing.interpolate import Interpolate
from forebay.models.artefacts.preprocessing.power import METHODS, PowerTransform
from forebay.models.artefacts.preprocessing.step import FLOAT32_MAX
from forebay.models.artefacts.preprocessing.transform import Clip, Function
from forebay.models.preparation.domain import OUTSIDE, restrict
from forebay.models.preparation.errors import fit_error
from forebay.models.preparation.recipe_step import FittedStep, Options
from forebay.models.preparation.recipe_table import RecipeTable
from forebay.models.preparation.training_rows import ColumnChoice, TrainingRows
from forebay.models.preparation.usable import UsableColumns, finish, read_choices, usable_columns

_MIN_SPREAD: Final = 1e-12
"""Least standard deviation of transformed values, relative to the largest one. Less is rounding: all values are the same."""
_LOG_LIMITS: Final = {"log": 0.0, "log1p": -1.0}


@dataclass(frozen=True, slots=True)
class QuantileStep(Options):
    """Maps values to their quantile, from 0 to 1, or on to that quantile of the normal distribution."""

    kind: ClassVar[str] = "quantile"
    columns: ColumnChoice = "numbers"
    distribution: str = "uniform"
    quantiles: int = 1000
    constant: str = "keep"
    empty: str = "refuse"

    @classmethod
    def read(cls, table: RecipeTable) -> QuantileStep:
        """Return the step in a table of a recipe."""
        table.reject_unknown_keys(("step", "columns", "distribution", "quantiles", "constant", "empty"))
        distribution = table.text("distribution", ("uniform", "normal"), default="uniform")
        quantiles = table.integer("quantiles", 2, default=1000)
        if quantiles > 10_000:
            table.fail("quantiles", "a whole number from 2 to 10000")
        constant, empty = read_choices(table)
        return cls(table.columns(default="numbers"), distribution, quantiles=quantiles, constant=constant, empty=empty)

    def fit(self, rows: TrainingRows) -> FittedStep:
        from sklearn.preprocessing import QuantileTransformer

        usable = usable_columns(rows, rows.choose_numbers(self.columns), constant=self.constant, empty=self.empty)
        if not usable.places:
            return finish(rows, [], usable)
        count = min(self.quantiles, len(rows.x_NF))
        fitted = QuantileTransformer(n_quantiles=count, subsample=None)
        fitted.fit(rows.x_NF[:, list(usable.places)].astype(np.float64))
        step = Interpolate(
            rows.width,
            usable.places,
            points=tuple(tuple(points) for points in fitted.quantiles_.T.tolist()),
            levels=tuple(fitted.references_.tolist()),
            distribution=self.distribution,
        )
        return finish(rows, [step], usable)


@dataclass(frozen=True, slots=True)
class PowerStep(Options):
    """Applies the power of Yeo and Johnson, or of Box and Cox, that makes values most like a normal distribution.

    standardise: whether the result has mean 0 and standard deviation 1 (ddof 0). A column with a single value is not
        transformed.
    outside: what becomes of values that Box and Cox do not take, which are not positive.
    """

    kind: ClassVar[str] = "power"
    columns: ColumnChoice = "numbers"
    method: str = "yeo-johnson"
    standardise: bool = True
    outside: str = "refuse"
    constant: str = "keep"
    empty: str = "refuse"

    @classmethod
    def read(cls, table: RecipeTable) -> PowerStep:
        """Return the step in a table of a recipe."""
        table.reject_unknown_keys(("step", "columns", "method", "standardise", "outside", "constant", "empty"))
        constant, empty = read_choices(table)
        return cls(
            table.columns(default="numbers"),
            table.text("method", METHODS, default="yeo-johnson"),
            standardise=table.boolean("standardise", default=True),
            outside=table.text("outside", OUTSIDE, default="refuse"),
            constant=constant,
            empty=empty,
        )

    def fit(self, rows: TrainingRows) -> FittedStep:
        places = rows.choose_numbers(self.columns)
        if self.method == "yeo-johnson":
            usable = usable_columns(rows, places, constant=self.constant, empty=self.empty)
            return finish(rows, self._steps(rows, usable), usable)
        domain = restrict(rows, places, 0.0, self.outside)
        inside = rows
        for step in domain.steps:
            inside = replace(inside, x_NF=step.apply(inside.x_NF))
        if domain.keep_N is not None:
            inside = inside.keep(domain.keep_N)
        usable = usable_columns(inside, places, constant=self.constant, empty=self.empty)
        fitted = finish(rows, [*domain.steps, *self._steps(inside, usable)], usable, *domain.notes)
        return replace(fitted, keep_N=domain.keep_N)

    def _steps(self, rows: TrainingRows, usable: UsableColumns) -> list[Step]:
        from sklearn.preprocessing import PowerTransformer

        chosen, lambdas, means, scales = [], [], [], []
        constant: list[tuple[int, float]] = []
        for place, values, is_constant in zip(usable.places, usable.values, usable.constant, strict=True):
            if is_constant:
                constant.append((place, float(values[0])))
                continue
            fitted = PowerTransformer(method=self.method, standardize=False).fit(values[:, None])
            power = float(fitted.lambdas_[0])
            transformed = fitted.transform(values[:, None])
            spread = transformed.std() > _MIN_SPREAD * np.abs(transformed).max()
            if not np.isfinite(power) or not np.isfinite(transformed).all() or not spread:
                raise fit_error(
                    f"no power makes the column {rows.names[place]!r} like a normal distribution",
                    "use a step quantile or log for it",
                )
            chosen.append(place)
            lambdas.append(power)
            means.append(float(transformed.mean()))
            scales.append(float(transformed.std()))
        step = PowerTransform(
            rows.width,
            tuple(chosen),
            tuple(lambdas),
            method=self.method,
            means=tuple(means) if self.standardise else (),
            scales=tuple(scales) if self.standardise else (),
        )
        if not constant or not self.standardise:
            return [step]
        single, values_K = zip(*constant, strict=True)
        return [step, Standardise(rows.width, single, values_K, (1.0,) * len(single))]


@dataclass(frozen=True, slots=True)
class LogStep(Options):
    """Takes the natural logarithm of x (`log`) or of 1 + x (`log1p`). outside: what becomes of values that have none."""

    kind: ClassVar[str] = "log"
    columns: ColumnChoice = "numbers"
    function: str = "log1p"
    outside: str = "refuse"

    @classmethod
    def read(cls, table: RecipeTable) -> LogStep:
        """Return the step in a table of a recipe."""
        table.reject_unknown_keys(("step", "columns", "function", "outside"))
        function = table.text("function", tuple(_LOG_LIMITS), default="log1p")
        return cls(table.columns(default="numbers"), function, table.text("outside", OUTSIDE, default="refuse"))

    def fit(self, rows: TrainingRows) -> FittedStep:
        places = rows.choose_numbers(self.columns)
        for place in places:
            rows.present(place)  # raises for infinite values
        if not places:
            return FittedStep((), rows.names)
        domain = restrict(rows, places, _LOG_LIMITS[self.function], self.outside)
        step = Function(rows.width, places, self.function)
        return FittedStep((*domain.steps, step), rows.names, keep_N=domain.keep_N, notes=domain.notes)


@dataclass(frozen=True, slots=True)
class ClipStep(Options):
    """Limits values to a range: given numbers, or quantiles of the training rows."""

    kind: ClassVar[str] = "clip"
    columns: ColumnChoice = "numbers"
    minimum: float | None = None
    maximum: float | None = None
    lower_quantile: float | None = None
    upper_quantile: float | None = None

    @classmethod
    def read(cls, table: RecipeTable) -> ClipStep:
        """Return the step in a table of a recipe."""
        keys = ("minimum", "maximum", "lower_quantile", "upper_quantile")
        table.reject_unknown_keys(("step", "columns", *keys))
        low, high = table.optional_number("minimum"), table.optional_number("maximum")
        quantiles = [
            table.number(key, minimum=0.0, maximum=1.0) if table.has(key) else None
            for key in ("lower_quantile", "upper_quantile")
        ]
        if not any(table.has(key) for key in keys):
            raise table.error(f"at least one of {', '.join(keys)} must be given")
        for key, other in (("minimum", "lower_quantile"), ("maximum", "upper_quantile")):
            if table.has(key) and table.has(other):
                raise table.error(f"{key} and {other} must not both be given")
        if low is not None and high is not None and low > high:
            table.fail("minimum", f"a number up to maximum, {high:g}")
        if None not in quantiles and quantiles[0] > quantiles[1]:  # type: ignore[operator]
            table.fail("lower_quantile", f"a number up to upper_quantile, {quantiles[1]:g}")
        return cls(
            table.columns(default="numbers"), low, high, lower_quantile=quantiles[0], upper_quantile=quantiles[1]
        )

    def fit(self, rows: TrainingRows) -> FittedStep:
        columns = rows.choose_numbers(self.columns)
        minima = tuple(
            self._limit(rows, place, self.minimum, self.lower_quantile, otherwise=-FLOAT32_MAX) for place in columns
        )
        maxima = tuple(
            self._limit(rows, place, self.maximum, self.upper_quantile, otherwise=FLOAT32_MAX) for place in columns
        )
        for place, low, high in zip(columns, minima, maxima, strict=True):
            if low > high:
                raise fit_error(
                    f"the lower limit of the column {rows.names[place]!r} is {low:g}, above its upper limit {high:g}",
                    "give both limits as numbers, or both as quantiles",
                )
        step = Clip(rows.width, columns, minima, maxima)
        x_NK = rows.x_NF[:, list(columns)]
        num_changed = int((step.apply(rows.x_NF)[:, list(columns)] != x_NK).sum() - np.isnan(x_NK).sum())
        return FittedStep((step,), rows.names, notes=(f"{num_changed} values are limited",))

    def _limit(
        self, rows: TrainingRows, place: int, given: float | None, quantile: float | None, otherwise: float
    ) -> float:
        if quantile is None:
            return otherwise if given is None else given
        present_N = rows.present(place)
        if not len(present_N):
            raise fit_error(f"the column {rows.names[place]!r} has no value in any training row", "drop the column")
        return float(np.quantile(present_N, quantile))
