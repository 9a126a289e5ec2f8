"""Limit columns to a range, and apply elementary functions to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from forebay.models.artefacts.argument_checks import numbers, text
from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.json_object import JsonObject
from forebay.models.artefacts.preprocessing.step import SameWidth, check_columns, error, make_plain, picked, spread

FUNCTIONS: Final[Mapping[str, Callable[[npt.NDArray[np.float64]], Any]]] = MappingProxyType(
    {
        "abs": np.abs,
        "cbrt": np.cbrt,
        "cos": np.cos,
        "exp": np.exp,
        "expm1": np.expm1,
        "floor": np.floor,
        "log": np.log,
        "log10": np.log10,
        "log1p": np.log1p,
        "log2": np.log2,
        "rint": np.rint,
        "sin": np.sin,
        "sqrt": np.sqrt,
        "square": np.square,
        "tanh": np.tanh,
        "trunc": np.trunc,
    }
)
"""Functions of one number, by their names in numpy."""


@dataclass(frozen=True, slots=True)
class Clip(SameWidth):
    """Raises values below `minima[i]` in column `columns[i]` to it, and lowers those above `maxima[i]`. NaN is unchanged."""

    kind: ClassVar[str] = "clip"
    width: int
    columns: tuple[int, ...]
    minima: tuple[float, ...]
    maxima: tuple[float, ...]
    _minima_F: FloatArray = field(init=False, repr=False, compare=False)
    _maxima_F: FloatArray = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        make_plain(self, ("minima", "maxima"), numbers)
        check_columns(self.kind, self.width, self.columns, {"minima": self.minima, "maxima": self.maxima})
        if any(low > high for low, high in zip(self.minima, self.maxima, strict=True)):
            raise error("clip: a minimum is above its maximum")
        minima_F = spread(self.width, self.columns, self.minima, elsewhere=-np.inf)
        maxima_F = spread(self.width, self.columns, self.maxima, elsewhere=np.inf)
        object.__setattr__(self, "_minima_F", minima_F.astype(np.float32))
        object.__setattr__(self, "_maxima_F", maxima_F.astype(np.float32))

    def apply(self, x_BF: FloatArray) -> FloatArray:
        return np.clip(x_BF, self._minima_F, self._maxima_F)

    def to_dict(self) -> dict[str, object]:
        return {
            "step": self.kind,
            "width": self.width,
            "columns": list(self.columns),
            "minima": list(self.minima),
            "maxima": list(self.maxima),
        }

    @classmethod
    def read(cls, fields: JsonObject) -> Clip:
        """Return the step in one object of a file. Raises ModelError that names the file and the key."""
        fields.reject_unknown_keys({"step", "width", "columns", "minima", "maxima"})
        return cls(
            fields.integer("width", minimum=1),
            fields.integers("columns"),
            minima=fields.numbers("minima"),
            maxima=fields.numbers("maxima"),
        )


@dataclass(frozen=True, slots=True)
class Function(SameWidth):
    """Applies the function `function` of numpy to `columns`, in float64. Values outside its domain become NaN or infinite."""

    kind: ClassVar[str] = "function"
    width: int
    columns: tuple[int, ...]
    function: str
    _picked: slice | npt.NDArray[np.intp] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        make_plain(self, (), numbers)
        object.__setattr__(self, "function", text(self.function, "function: function", error))
        if self.function not in FUNCTIONS:
            raise error(f"function: function is {self.function!r}; allowed is one of {', '.join(FUNCTIONS)}")
        check_columns(self.kind, self.width, self.columns, {})
        object.__setattr__(self, "_picked", picked(self.columns))

    def apply(self, x_BF: FloatArray) -> FloatArray:
        out_BF = x_BF.copy()
        with np.errstate(all="ignore"):
            out_BF[:, self._picked] = FUNCTIONS[self.function](x_BF[:, self._picked].astype(np.float64))
        return out_BF

    def to_dict(self) -> dict[str, object]:
        return {"step": self.kind, "width": self.width, "columns": list(self.columns), "function": self.function}

    @classmethod
    def read(cls, fields: JsonObject) -> Function:
        """Return the step in one object of a file. Raises ModelError that names the file and the key."""
        fields.reject_unknown_keys({"step", "width", "columns", "function"})
        return cls(fields.integer("width", minimum=1), fields.integers("columns"), fields.text("function"))
