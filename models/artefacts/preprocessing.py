"""Frozen preprocessing: fitted offline, stored in the artefact, and the same code in training and serving.

Shapes: B rows, F columns in, G columns out. NaN means missing. Each row is processed independently.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from forebay.models.artefacts.argument_checks import describe, integer, integers, numbers, sequence, text
from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.json_object import JsonObject
from forebay.models.artefacts.signature import MAX_CATEGORIES, MAX_FEATURES
from forebay.schemas.errors import ModelError, TensorError

# Each step may hold arrays as wide as the widest row, so their number in a manifest is limited.
_MAX_STEPS: Final = 16
_FLOAT32_MAX: Final = float(np.finfo(np.float32).max)


class Step(Protocol):
    """One frozen step on rows of `width` columns. `apply` never modifies its input and returns new memory."""

    @property
    def kind(self) -> str: ...

    @property
    def width(self) -> int: ...

    @property
    def output_width(self) -> int: ...

    def apply(self, x_BF: FloatArray) -> FloatArray: ...

    def to_dict(self) -> dict[str, object]: ...


@dataclass(frozen=True, slots=True)
class Impute:
    """Replaces NaN in column `columns[i]` by `values[i]`. strategy: how the values were fitted."""

    width: int
    columns: tuple[int, ...]
    values: tuple[float, ...]
    strategy: str = "constant"
    _fill_F: FloatArray = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _make_plain(self, ("values",), numbers)
        object.__setattr__(self, "strategy", text(self.strategy, "impute: strategy", _error))
        _check_columns(self.kind, self.width, self.columns, {"values": self.values})
        fill_F = _spread(self.width, self.columns, self.values, elsewhere=np.nan).astype(np.float32)
        object.__setattr__(self, "_fill_F", fill_F)

    @property
    def kind(self) -> str:
        return "impute"

    @property
    def output_width(self) -> int:
        return self.width

    def apply(self, x_BF: FloatArray) -> FloatArray:
        return np.where(np.isnan(x_BF), self._fill_F, x_BF)

    def to_dict(self) -> dict[str, object]:
        return {
            "step": self.kind,
            "width": self.width,
            "columns": list(self.columns),
            "values": list(self.values),
            "strategy": self.strategy,
        }


@dataclass(frozen=True, slots=True)
class Standardise:
    """Subtracts `means[i]` from column `columns[i]` and divides the result by `scales[i]`.

    Other columns and NaN are unchanged. A result beyond the range of float32 becomes infinite.
    """

    width: int
    columns: tuple[int, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]
    _mean_F: npt.NDArray[np.float64] = field(init=False, repr=False, compare=False)
    _factor_F: npt.NDArray[np.float64] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _make_plain(self, ("means", "scales"), numbers)
        _check_columns(self.kind, self.width, self.columns, {"means": self.means, "scales": self.scales})
        if any(scale <= 0 or not np.isfinite(1 / scale) for scale in self.scales):
            raise _error("standardise: every scale must be positive, and not so small that 1 / scale is infinite")
        scale_F = _spread(self.width, self.columns, self.scales, elsewhere=1.0)
        object.__setattr__(self, "_mean_F", _spread(self.width, self.columns, self.means, elsewhere=0.0))
        object.__setattr__(self, "_factor_F", 1.0 / scale_F)

    @property
    def kind(self) -> str:
        return "standardise"

    @property
    def output_width(self) -> int:
        return self.width

    def apply(self, x_BF: FloatArray) -> FloatArray:
        # In float64: a column such as a time in seconds would lose all precision if its mean were subtracted
        # in float32.
        z_BF = x_BF.astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            z_BF -= self._mean_F
            z_BF *= self._factor_F
            return z_BF.astype(np.float32)

    def to_dict(self) -> dict[str, object]:
        return {
            "step": self.kind,
            "width": self.width,
            "columns": list(self.columns),
            "means": list(self.means),
            "scales": list(self.scales),
        }


@dataclass(frozen=True, slots=True)
class OneHot:
    """Expands column `columns[i]`, a category's index below `sizes[i]`, to `sizes[i]` columns of 0 and 1.

    The other columns come first, in their order; then the categories, in the order of `columns`. NaN, and any
    value that is not such an index, gives all zeros.
    """

    width: int
    columns: tuple[int, ...]
    sizes: tuple[int, ...]
    _kept: npt.NDArray[np.intp] = field(init=False, repr=False, compare=False)
    _picked: npt.NDArray[np.intp] = field(init=False, repr=False, compare=False)
    _starts: npt.NDArray[np.intp] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _make_plain(self, ("sizes",), integers)
        _check_columns(self.kind, self.width, self.columns, {"sizes": self.sizes})
        if any(not 1 <= size <= MAX_CATEGORIES for size in self.sizes) or self.output_width > MAX_FEATURES:
            raise _error(
                f"one_hot: sizes must be from 1 to {MAX_CATEGORIES}, and the output must have at most {MAX_FEATURES} columns"
            )
        kept = np.setdiff1d(np.arange(self.width, dtype=np.intp), np.array(self.columns, dtype=np.intp))
        ends = len(kept) + np.cumsum(np.array(self.sizes, dtype=np.intp))
        object.__setattr__(self, "_kept", kept)
        object.__setattr__(self, "_picked", np.array(self.columns, dtype=np.intp))
        object.__setattr__(self, "_starts", ends - np.array(self.sizes, dtype=np.intp))

    @property
    def kind(self) -> str:
        return "one_hot"

    @property
    def output_width(self) -> int:
        return self.width - len(self.columns) + sum(self.sizes)

    def apply(self, x_BF: FloatArray) -> FloatArray:
        x_BG = np.zeros((len(x_BF), self.output_width), dtype=np.float32)
        x_BG[:, : len(self._kept)] = x_BF[:, self._kept]
        code_BK = x_BF[:, self._picked]
        # Every comparison with NaN is false, so the remaining values can be converted to an index.
        known_BK = (code_BK >= 0) & (code_BK < np.array(self.sizes)) & (code_BK == np.floor(code_BK))
        rows, picked = np.nonzero(known_BK)
        x_BG[rows, self._starts[picked] + code_BK[known_BK].astype(np.intp)] = 1.0
        return x_BG

    def to_dict(self) -> dict[str, object]:
        return {
            "step": self.kind,
            "width": self.width,
            "columns": list(self.columns),
            "sizes": list(self.sizes),
        }


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Steps that are applied in order. Without steps, rows are unchanged: `Preprocessing.identity()`.

    Raises ModelError(kind="preprocessing") if a step does not take the output of the step before it.
    """

    steps: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        steps = sequence(self.steps, "steps", "Impute, Standardise and OneHot", _error)
        for index, step in enumerate(steps):
            if not all(hasattr(step, name) for name in ("kind", "width", "output_width", "apply", "to_dict")):
                raise _error(f"steps[{index}] is {describe(step)}; give Impute, Standardise or OneHot of forebay")
        if len(steps) > _MAX_STEPS:
            raise _error(f"there are {len(steps)} steps; allowed are at most {_MAX_STEPS}")
        object.__setattr__(self, "steps", steps)
        for before, after in pairwise(self.steps):
            if before.output_width != after.width:
                raise _error(f"{before.kind} gives {before.output_width} columns, but {after.kind} takes {after.width}")

    @classmethod
    def identity(cls) -> Preprocessing:
        """Return a preprocessing without steps."""
        return cls()

    def output_width(self, input_width: int) -> int:
        """Return G for rows of F = `input_width` columns. Raises ModelError if the steps take another width."""
        if not self.steps:
            return input_width
        if self.steps[0].width != input_width:
            raise _error(f"the preprocessing takes {self.steps[0].width} columns, not {input_width}")
        return self.steps[-1].output_width

    def apply(self, x_BF: FloatArray) -> FloatArray:
        """Return the preprocessed rows [B, G], float32 in C order, always in new memory; `x_BF` is never modified.

        Raises TensorError for another type or shape.
        """
        if x_BF.dtype != np.float32 or x_BF.ndim != 2 or (self.steps and x_BF.shape[1] != self.steps[0].width):
            wanted = str(self.steps[0].width) if self.steps else "F"
            raise TensorError(
                f"the preprocessing takes float32 [B, {wanted}]; this is {x_BF.dtype} {list(x_BF.shape)}",
                remedy="give rows with the columns of the model's signature",
            )
        if not self.steps:
            return x_BF.copy(order="C")
        for step in self.steps:
            x_BF = step.apply(x_BF)
        return np.ascontiguousarray(x_BF)

    def to_dict(self) -> dict[str, object]:
        """Return the preprocessing as JSON values, from which floats are read back exactly."""
        return {"steps": [step.to_dict() for step in self.steps]}

    @classmethod
    def from_dict(cls, value: object, file: str = "preprocessing") -> Preprocessing:
        """Return the preprocessing in JSON values, as `to_dict` writes it. Raises ModelError that names `file` and the key."""
        return cls.read(JsonObject(value, file))

    @classmethod
    def read(cls, fields: JsonObject) -> Preprocessing:
        """Return the preprocessing in one object of a file. Raises ModelError that names the file and the key."""
        fields.reject_unknown_keys({"steps"})
        items = fields.children("steps")
        if len(items) > _MAX_STEPS:
            raise fields.error(f"{fields.full_path('steps')} has {len(items)} steps; allowed are at most {_MAX_STEPS}")
        steps = tuple(_read_step(item) for item in items)
        try:
            return cls(steps)
        except ModelError as error:
            raise fields.error(error.message) from None


def _read_step(fields: JsonObject) -> Step:
    kind = fields.text("step", {"impute", "standardise", "one_hot"})
    width, columns = fields.integer("width", minimum=1), fields.integers("columns")
    try:
        match kind:
            case "impute":
                fields.reject_unknown_keys({"step", "width", "columns", "values", "strategy"})
                return Impute(width, columns, fields.numbers("values"), fields.text("strategy"))
            case "standardise":
                fields.reject_unknown_keys({"step", "width", "columns", "means", "scales"})
                return Standardise(width, columns, fields.numbers("means"), fields.numbers("scales"))
            case _:
                fields.reject_unknown_keys({"step", "width", "columns", "sizes"})
                return OneHot(width, columns, fields.integers("sizes", minimum=1))
    except ModelError as error:
        if error.kind != "preprocessing":
            raise
        raise fields.error(f"{fields.path}: {error.message}") from None


_Number = TypeVar("_Number", int, float)


def _make_plain(
    step: Step, names: Sequence[str], read: Callable[[object, str, Callable[[str], ModelError]], tuple[float, ...]]
) -> None:
    """Convert a step's numbers to plain Python numbers. Raises ModelError for anything else."""
    object.__setattr__(step, "width", integer(step.width, f"{step.kind}: width", _error))
    object.__setattr__(step, "columns", integers(getattr(step, "columns"), f"{step.kind}: columns", _error))  # noqa: B009
    for name in names:
        object.__setattr__(step, name, read(getattr(step, name), f"{step.kind}: {name}", _error))


def _check_columns(kind: str, width: int, columns: Sequence[int], per_column: dict[str, Sequence[_Number]]) -> None:
    if not 1 <= width <= MAX_FEATURES:
        raise _error(f"{kind}: width is {width}; allowed is from 1 to {MAX_FEATURES}")
    if len(set(columns)) != len(columns) or any(not 0 <= column < width for column in columns):
        raise _error(f"{kind}: columns must be different and from 0 to {width - 1}")
    for name, values in per_column.items():
        if len(values) != len(columns):
            raise _error(f"{kind}: there are {len(values)} {name} for {len(columns)} columns")
        if any(not -_FLOAT32_MAX <= value <= _FLOAT32_MAX for value in values):
            raise _error(f"{kind}: {name} must be finite and within float32")


def _spread(width: int, columns: Sequence[int], values: Sequence[float], elsewhere: float) -> npt.NDArray[np.float64]:
    spread_F = np.full(width, elsewhere, dtype=np.float64)
    spread_F[list(columns)] = values
    return spread_F


def _error(message: str) -> ModelError:
    return ModelError(
        message, kind="preprocessing", remedy="fit the preprocessing on rows with the signature's columns"
    )
