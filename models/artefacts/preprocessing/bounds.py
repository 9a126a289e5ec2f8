"""Compare columns with bounds: replace values outside them by missing ones, or mark them in columns of 0 and 1.

A value is compared in float64, as in `RowCheck`, so that all agree on which values are outside.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import numpy.typing as npt

from forebay.models.artefacts.argument_checks import numbers
from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.json_object import JsonObject
from forebay.models.artefacts.preprocessing.step import check_columns, error, make_plain, picked


@dataclass(frozen=True, slots=True)
class _Bounded:
    """A step that compares column `columns[i]` with `minima[i]` and `maxima[i]`."""

    width: int
    columns: tuple[int, ...]
    minima: tuple[float, ...]
    maxima: tuple[float, ...]
    _picked: slice | npt.NDArray[np.intp] = field(init=False, repr=False, compare=False)
    _minima_K: npt.NDArray[np.float64] = field(init=False, repr=False, compare=False)
    _maxima_K: npt.NDArray[np.float64] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        make_plain(self, ("minima", "maxima"), numbers)
        check_columns(self.kind, self.width, self.columns, {"minima": self.minima, "maxima": self.maxima})
        if any(low > high for low, high in zip(self.minima, self.maxima, strict=True)):
            raise error(f"{self.kind}: a minimum is above its maximum")
        object.__setattr__(self, "_picked", picked(self.columns))
        object.__setattr__(self, "_minima_K", np.array(self.minima, dtype=np.float64))
        object.__setattr__(self, "_maxima_K", np.array(self.maxima, dtype=np.float64))

    @property
    @abstractmethod
    def kind(self) -> str: ...

    @property
    @abstractmethod
    def output_width(self) -> int: ...

    @abstractmethod
    def apply(self, x_BF: FloatArray) -> FloatArray: ...

    def to_dict(self) -> dict[str, object]:
        return {
            "step": self.kind,
            "width": self.width,
            "columns": list(self.columns),
            "minima": list(self.minima),
            "maxima": list(self.maxima),
        }

    @classmethod
    def read(cls, fields: JsonObject) -> Self:
        """Return the step in one object of a file. Raises ModelError that names the file and the key."""
        fields.reject_unknown_keys({"step", "width", "columns", "minima", "maxima"})
        return cls(
            fields.integer("width", minimum=1),
            fields.integers("columns"),
            minima=fields.numbers("minima"),
            maxima=fields.numbers("maxima"),
        )

    def _is_outside(self, x_BK: FloatArray) -> npt.NDArray[np.bool_]:
        # Comparisons with NaN are false.
        return np.asarray((x_BK < self._minima_K) | (x_BK > self._maxima_K))


@dataclass(frozen=True, slots=True)
class NullOutside(_Bounded):
    """Replaces values of column `columns[i]` below `minima[i]` or above `maxima[i]`, also infinite ones, by NaN."""

    @property
    def kind(self) -> str:
        return "null_outside"

    @property
    def output_width(self) -> int:
        return self.width

    def apply(self, x_BF: FloatArray) -> FloatArray:
        out_BF = x_BF.copy()
        x_BK = x_BF[:, self._picked]
        out_BF[:, self._picked] = np.where(self._is_outside(x_BK), np.float32(np.nan), x_BK)
        return out_BF


@dataclass(frozen=True, slots=True)
class FlagOutside(_Bounded):
    """Appends a column for each of `columns`: 1 where its value is below `minima[i]` or above `maxima[i]`, otherwise 0.

    NaN is not outside.
    """

    @property
    def kind(self) -> str:
        return "flag_outside"

    @property
    def output_width(self) -> int:
        return self.width + len(self.columns)

    def apply(self, x_BF: FloatArray) -> FloatArray:
        out_BG = np.empty((len(x_BF), self.output_width), dtype=np.float32)
        out_BG[:, : self.width] = x_BF
        out_BG[:, self.width :] = self._is_outside(x_BF[:, self._picked])
        return out_BG


@dataclass(frozen=True, slots=True)
class FlagMissing:
    """Appends a column for each of `columns`: 1 where its value is missing, otherwise 0."""

    width: int
    columns: tuple[int, ...]
    _picked: slice | npt.NDArray[np.intp] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        make_plain(self, (), numbers)
        check_columns(self.kind, self.width, self.columns, {})
        object.__setattr__(self, "_picked", picked(self.columns))

    @property
    def kind(self) -> str:
        return "flag_missing"

    @property
    def output_width(self) -> int:
        return self.width + len(self.columns)

    def apply(self, x_BF: FloatArray) -> FloatArray:
        out_BG = np.empty((len(x_BF), self.output_width), dtype=np.float32)
        out_BG[:, : self.width] = x_BF
        out_BG[:, self.width :] = np.isnan(x_BF[:, self._picked])
        return out_BG

    def to_dict(self) -> dict[str, object]:
        return {"step": self.kind, "width": self.width, "columns": list(self.columns)}

    @classmethod
    def read(cls, fields: JsonObject) -> FlagMissing:
        """Return the step in one object of a file. Raises ModelError that names the file and the key."""
        fields.reject_unknown_keys({"step", "width", "columns"})
        return cls(fields.integer("width", minimum=1), fields.integers("columns"))
