"""Append columns that are computed from other columns."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from forebay.models.artefacts.argument_checks import integers, numbers, text
from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.json_object import JsonObject
from forebay.models.artefacts.preprocessing.step import (
    FLOAT32_MAX,
    check_columns,
    check_count,
    error,
    make_plain,
    picked,
)

_Floats = npt.NDArray[np.float64]

OPERATIONS: Final[Mapping[str, Callable[[_Floats, _Floats], Any]]] = MappingProxyType(
    {"add": np.add, "subtract": np.subtract, "multiply": np.multiply, "divide": np.divide}
)
"""Operations on two columns."""


@dataclass(frozen=True, slots=True)
class Combine:
    """Appends a column for each of `columns`: `operation` of column `columns[i]` and column `others[i]`.

    at_zero: the result of a division by zero; None for NaN.

    Computed in float64. A missing operand gives a missing result. Results beyond float32 are limited to its range.
    """

    width: int
    columns: tuple[int, ...]
    others: tuple[int, ...]
    operation: str
    at_zero: float | None = None
    _left: slice | npt.NDArray[np.intp] = field(init=False, repr=False, compare=False)
    _right: slice | npt.NDArray[np.intp] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        make_plain(self, ("others",), integers)
        object.__setattr__(self, "operation", text(self.operation, "combine: operation", error))
        if self.operation not in OPERATIONS:
            raise error(f"combine: operation is {self.operation!r}; allowed is one of {', '.join(OPERATIONS)}")
        # Unlike in other steps, a column may occur several times.
        for column in (*self.columns, *self.others):
            check_columns(self.kind, self.width, (column,), {})
        check_count(self.kind, "other columns", self.others, self.columns)
        if self.at_zero is not None:
            (at_zero,) = numbers((self.at_zero,), "combine: at_zero", error)
            check_columns(self.kind, self.width, (0,), {"at_zero": (at_zero,)})
            object.__setattr__(self, "at_zero", at_zero)
        check_columns(self.kind, self.output_width, (), {})
        object.__setattr__(self, "_left", picked(self.columns))
        object.__setattr__(self, "_right", picked(self.others))

    @property
    def kind(self) -> str:
        return "combine"

    @property
    def output_width(self) -> int:
        return self.width + len(self.columns)

    def apply(self, x_BF: FloatArray) -> FloatArray:
        out_BG = np.empty((len(x_BF), self.output_width), dtype=np.float32)
        out_BG[:, : self.width] = x_BF
        left_BK, right_BK = x_BF[:, self._left].astype(np.float64), x_BF[:, self._right].astype(np.float64)
        with np.errstate(all="ignore"):
            result_BK = np.clip(OPERATIONS[self.operation](left_BK, right_BK), -FLOAT32_MAX, FLOAT32_MAX)
        if self.operation == "divide":
            at_zero = math.nan if self.at_zero is None else self.at_zero
            result_BK = np.where((right_BK == 0) & ~np.isnan(left_BK), at_zero, result_BK)
        out_BG[:, self.width :] = result_BK
        return out_BG

    def to_dict(self) -> dict[str, object]:
        return {
            "step": self.kind,
            "width": self.width,
            "columns": list(self.columns),
            "others": list(self.others),
            "operation": self.operation,
            "at_zero": self.at_zero,
        }

    @classmethod
    def read(cls, fields: JsonObject) -> Combine:
        """Return the step in one object of a file. Raises ModelError that names the file and the key."""
        fields.reject_unknown_keys({"step", "width", "columns", "others", "operation", "at_zero"})
        return cls(
            fields.integer("width", minimum=1),
            fields.integers("columns"),
            others=fields.integers("others"),
            operation=fields.text("operation"),
            at_zero=None if fields.value("at_zero") is None else fields.number("at_zero"),
        )


@dataclass(frozen=True, slots=True)
class Cyclic:
    """Appends the sine and then the cosine of `2 * pi * x / periods[i]` for each of `columns`.

    Computed in float64. NaN gives NaN.
    """

    width: int
    columns: tuple[int, ...]
    periods: tuple[float, ...]
    _picked: slice | npt.NDArray[np.intp] = field(init=False, repr=False, compare=False)
    _factor_K: _Floats = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        make_plain(self, ("periods",), numbers)
        check_columns(self.kind, self.width, self.columns, {"periods": self.periods})
        if any(period <= 0 or not math.isfinite(2 * math.pi / period) for period in self.periods):
            raise error("cyclic: every period must be positive, and not so small that 1 / period is infinite")
        check_columns(self.kind, self.output_width, (), {})
        object.__setattr__(self, "_picked", picked(self.columns))
        object.__setattr__(self, "_factor_K", 2 * np.pi / np.array(self.periods, dtype=np.float64))

    @property
    def kind(self) -> str:
        return "cyclic"

    @property
    def output_width(self) -> int:
        return self.width + 2 * len(self.columns)

    def apply(self, x_BF: FloatArray) -> FloatArray:
        out_BG = np.empty((len(x_BF), self.output_width), dtype=np.float32)
        out_BG[:, : self.width] = x_BF
        with np.errstate(invalid="ignore", over="ignore"):
            angle_BK = x_BF[:, self._picked].astype(np.float64) * self._factor_K
            out_BG[:, self.width :: 2] = np.sin(angle_BK)
            out_BG[:, self.width + 1 :: 2] = np.cos(angle_BK)
        return out_BG

    def to_dict(self) -> dict[str, object]:
        return {
            "step": self.kind,
            "width": self.width,
            "columns": list(self.columns),
            "periods": list(self.periods),
        }

    @classmethod
    def read(cls, fields: JsonObject) -> Cyclic:
        """Return the step in one object of a file. Raises ModelError that names the file and the key."""
        fields.reject_unknown_keys({"step", "width", "columns", "periods"})
        return cls(fields.integer("width", minimum=1), fields.integers("columns"), fields.numbers("periods"))
