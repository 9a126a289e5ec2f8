"""What a step of the preprocessing is, and the checks of its numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Final, Protocol

import numpy as np
import numpy.typing as npt

from forebay.models.artefacts.argument_checks import integer, integers, number, numbers, sequence
from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.signature import MAX_FEATURES
from forebay.schemas.errors import ModelError

FLOAT32_MAX: Final = float(np.finfo(np.float32).max)


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


class SameWidth:
    """The base of steps that are dataclasses and neither add nor remove columns."""

    __slots__ = ()
    kind: ClassVar[str]
    width: int

    @property
    def output_width(self) -> int:
        return self.width


def make_plain(
    step: Step, names: Sequence[str], read: Callable[[object, str, Callable[[str], ModelError]], tuple[object, ...]]
) -> None:
    """Convert a step's numbers to plain Python numbers. Raises ModelError for anything else."""
    object.__setattr__(step, "width", integer(step.width, f"{step.kind}: width", error))
    object.__setattr__(step, "columns", integers(getattr(step, "columns"), f"{step.kind}: columns", error))  # noqa: B009
    for name in names:
        object.__setattr__(step, name, read(getattr(step, name), f"{step.kind}: {name}", error))


def number_lists(value: object, name: str, error: Callable[[str], ModelError]) -> tuple[tuple[float, ...], ...]:
    """Return the lists of numbers. Raises `error` for any other value."""
    items = sequence(value, name, "lists of numbers", error)
    return tuple(numbers(item, f"{name}[{index}]", error) for index, item in enumerate(items))


def optional_numbers(value: object, name: str, error: Callable[[str], ModelError]) -> tuple[float | None, ...]:
    """Return the numbers, and None where there is none. Raises `error` for any other value."""
    items = sequence(value, name, "numbers and None", error)
    return tuple(None if item is None else number(item, f"{name}[{index}]", error) for index, item in enumerate(items))


def check_columns(kind: str, width: int, columns: Sequence[int], per_column: Mapping[str, Sequence[float]]) -> None:
    """Raise ModelError unless the columns are different, and each has one finite number of every kind."""
    check_width(kind, width)
    if len(set(columns)) != len(columns) or any(not 0 <= column < width for column in columns):
        raise error(f"{kind}: columns must be different and from 0 to {width - 1}")
    for name, values in per_column.items():
        check_count(kind, name, values, columns)
        check_finite(kind, name, values)


def check_width(kind: str, width: int) -> None:
    """Raise ModelError unless a row may have this width."""
    if not 1 <= width <= MAX_FEATURES:
        raise error(f"{kind}: width is {width}; allowed is from 1 to {MAX_FEATURES}")


def check_count(kind: str, name: str, values: Sequence[object], columns: Sequence[int]) -> None:
    """Raise ModelError unless there is one value for each column."""
    if len(values) != len(columns):
        raise error(f"{kind}: there are {len(values)} {name} for {len(columns)} columns")


def check_finite(kind: str, name: str, values: Sequence[float]) -> None:
    """Raise ModelError unless the numbers are finite in float32."""
    if any(not -FLOAT32_MAX <= value <= FLOAT32_MAX for value in values):
        raise error(f"{kind}: {name} must be finite and within float32")


def spread(width: int, columns: Sequence[int], values: Sequence[float], elsewhere: float) -> npt.NDArray[np.float64]:
    """Return one value for each column of a row: `values` in `columns`, and `elsewhere` in the others."""
    spread_F = np.full(width, elsewhere, dtype=np.float64)
    spread_F[list(columns)] = values
    return spread_F


def picked(columns: Sequence[int]) -> slice | npt.NDArray[np.intp]:
    """Return the index of columns in an array: a slice if they are next to each other, which is several times faster."""
    if columns and list(columns) == list(range(columns[0], columns[0] + len(columns))):
        return slice(columns[0], columns[0] + len(columns))
    return np.array(columns, dtype=np.intp)


def error(message: str) -> ModelError:
    """Return the error for a step that cannot be right."""
    return ModelError(
        message, kind="preprocessing", remedy="fit the preprocessing on rows with the signature's columns"
    )
