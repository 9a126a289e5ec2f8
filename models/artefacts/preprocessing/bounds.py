"""Compare columns with bounds: replace values outside them by missing ones, or mark them in columns of 0 and 1.

A value is compared in float64, as in `RowCheck`, so that all agree on which values are outside.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from forebay.models.artefacts.argument_checks import numbers
from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.json_object import JsonObject
from forebay.models.artefacts.preprocessing.step import check_columns, error, make_plain, picked

_Bounds = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class NullOutside:
    """Replaces values of column `columns[i]` below `minima[i]` or above `maxima[i]`, also infinite ones, by NaN."""

    width: int
    columns: tuple[int, ...]
    minima: tuple[float, ...]
    maxima: tuple[float, ...]
    _picked: slice | npt.NDArray[np.intp] = field(init=False, repr=False, compare=False)
    _minima_K: _Bounds = field(init=False, repr=False, compare=False)
    _maxima_K: _Bounds = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_bounds(self)

    @property
    def kind(self) -> str:
        return "null_outside"

    @property
    def output_width(self) -> int:
        return self.width

    def apply(self, x_BF: FloatArray) -> FloatArray:
        out_BF = x_BF.copy()
        x_BK = x_BF[:, self._picked]
        out_BF[:, self._picked] = np.where(_is_outside(x_BK, self._minima_K, self._maxima_K), np.float32(np.nan), x_BK)
        return out_BF

    def to_dict(self) -> dict[str, object]:
        return _bounds_to_dict(self)

    @classmethod
    def read(cls, fields: JsonObject) -> NullOutside:
        """Return the step in one object of a file. Raises ModelError that names the file and the key."""
        return cls(*_read_bounds(fields))


@dataclass(frozen=True, slots=True)
class FlagOutside:
    """Appends a column for each of `columns`: 1 where its value is below `minima[i]` or above `maxima[i]`, otherwise 0.

    NaN is not outside.
    """

    width: int
    columns: tuple[int, ...]
    minima: tuple[float, ...]
    maxima: tuple[float, ...]
    _picked: slice | npt.NDArray[np.intp] = field(init=False, repr=False, compare=False)
    _minima_K: _Bounds = field(init=False, repr=False, compare=False)
    _maxima_K: _Bounds = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_bounds(self)

    @property
    def kind(self) -> str:
        return "flag_outside"

    @property
    def output_width(self) -> int:
        return self.width + len(self.columns)

    def apply(self, x_BF: FloatArray) -> FloatArray:
        out_BG = np.empty((len(x_BF), self.output_width), dtype=np.float32)
        out_BG[:, : self.width] = x_BF
        out_BG[:, self.width :] = _is_outside(x_BF[:, self._picked], self._minima_K, self._maxima_K)
        return out_BG

    def to_dict(self) -> dict[str, object]:
        return _bounds_to_dict(self)

    @classmethod
    def read(cls, fields: JsonObject) -> FlagOutside:
        """Return the step in one object of a file. Raises ModelError that names the file and the key."""
        return cls(*_read_bounds(fields))


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


def _check_bounds(step: NullOutside | FlagOutside) -> None:
    make_plain(step, ("minima", "maxima"), numbers)
    check_columns(step.kind, step.width, step.columns, {"minima": step.minima, "maxima": step.maxima})
    if any(low > high for low, high in zip(step.minima, step.maxima, strict=True)):
        raise error(f"{step.kind}: a minimum is above its maximum")
    object.__setattr__(step, "_picked", picked(step.columns))
    object.__setattr__(step, "_minima_K", np.array(step.minima, dtype=np.float64))
    object.__setattr__(step, "_maxima_K", np.array(step.maxima, dtype=np.float64))


def _is_outside(x_BK: FloatArray, minima_K: _Bounds, maxima_K: _Bounds) -> npt.NDArray[np.bool_]:
    # Comparisons with NaN are false.
    return np.asarray((x_BK < minima_K) | (x_BK > maxima_K))


def _bounds_to_dict(step: NullOutside | FlagOutside) -> dict[str, object]:
    return {
        "step": step.kind,
        "width": step.width,
        "columns": list(step.columns),
        "minima": list(step.minima),
        "maxima": list(step.maxima),
    }


def _read_bounds(fields: JsonObject) -> tuple[int, tuple[int, ...], tuple[float, ...], tuple[float, ...]]:
    fields.reject_unknown_keys({"step", "width", "columns", "minima", "maxima"})
    return (
        fields.integer("width", minimum=1),
        fields.integers("columns"),
        fields.numbers("minima"),
        fields.numbers("maxima"),
    )
