"""Map numbers through a line between given points."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from forebay.models.artefacts.argument_checks import numbers, text
from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.json_object import JsonObject
from forebay.models.artefacts.preprocessing.normal_quantile import normal_quantiles
from forebay.models.artefacts.preprocessing.step import (
    SameWidth,
    check_columns,
    check_count,
    check_finite,
    error,
    make_plain,
    number_lists,
    picked,
)


@dataclass(frozen=True, slots=True)
class Interpolate(SameWidth):
    """Maps column `columns[i]` from `points[i]` to `levels`, on straight lines between them and constant beyond them.

    points: ascending, not strictly: equal points get the middle of the highest and the lowest of their levels, but the first
        point always gets the first level, and the last point the last level.
    levels: ascending, one for each point of a column.
    distribution: `normal`: the result is a probability, and its quantile of the normal distribution is given instead.

    NaN is unchanged. Computed in float64.
    """

    kind: ClassVar[str] = "interpolate"
    width: int
    columns: tuple[int, ...]
    points: tuple[tuple[float, ...], ...]
    levels: tuple[float, ...]
    distribution: str = "uniform"
    _picked: slice | npt.NDArray[np.intp] = field(init=False, repr=False, compare=False)
    _is_strict: tuple[bool, ...] = field(init=False, repr=False, compare=False)
    _points: tuple[npt.NDArray[np.float64], ...] = field(init=False, repr=False, compare=False)
    _levels: npt.NDArray[np.float64] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        make_plain(self, ("points",), number_lists)
        make_plain(self, ("levels",), numbers)
        object.__setattr__(self, "distribution", text(self.distribution, "interpolate: distribution", error))
        if self.distribution not in ("uniform", "normal"):
            raise error(f"interpolate: distribution is {self.distribution!r}; allowed is uniform or normal")
        check_columns(self.kind, self.width, self.columns, {})
        check_count(self.kind, "lists of points", self.points, self.columns)
        for values in (self.levels, *self.points):
            check_finite(self.kind, "points and levels", values)
            if len(values) != len(self.levels) or len(values) < 1:
                raise error(f"interpolate: there are {len(values)} points for {len(self.levels)} levels")
            if any(low > high for low, high in pairwise(values)):
                raise error("interpolate: points and levels must be ascending")
        is_strict = tuple(all(low < high for low, high in pairwise(points)) for points in self.points)
        object.__setattr__(self, "_is_strict", is_strict)
        object.__setattr__(self, "_picked", picked(self.columns))
        object.__setattr__(self, "_points", tuple(np.array(points, dtype=np.float64) for points in self.points))
        object.__setattr__(self, "_levels", np.array(self.levels, dtype=np.float64))

    def apply(self, x_BF: FloatArray) -> FloatArray:
        out_BF = x_BF.copy()
        levels = self._levels
        x_KB = np.ascontiguousarray(x_BF[:, self._picked].T, dtype=np.float64)
        y_KB = np.empty_like(x_KB)
        for index, points in enumerate(self._points):
            x_B = x_KB[index]
            if self._is_strict[index]:
                y_KB[index] = np.interp(x_B, points, levels)
                continue
            rising_B = np.interp(x_B, points, levels)
            falling_B = -np.interp(-x_B, -points[::-1], -levels[::-1])
            y_B = 0.5 * (rising_B + falling_B)
            y_B[x_B == points[-1]] = levels[-1]
            y_B[x_B == points[0]] = levels[0]
            y_KB[index] = y_B
        out_BF[:, self._picked] = (y_KB if self.distribution == "uniform" else normal_quantiles(y_KB)).T
        return out_BF

    def to_dict(self) -> dict[str, object]:
        document: dict[str, object] = {
            "step": self.kind,
            "width": self.width,
            "columns": list(self.columns),
            "points": [list(points) for points in self.points],
            "levels": list(self.levels),
        }
        # Only where it is used, so that other models can be read by earlier versions.
        if self.distribution != "uniform":
            document["distribution"] = self.distribution
        return document

    @classmethod
    def read(cls, fields: JsonObject) -> Interpolate:
        """Return the step in one object of a file. Raises ModelError that names the file and the key."""
        fields.reject_unknown_keys({"step", "width", "columns", "points", "levels", "distribution"})
        points = number_lists(fields.array("points"), "points", error)
        return cls(
            fields.integer("width", minimum=1),
            fields.integers("columns"),
            points=points,
            levels=fields.numbers("levels"),
            distribution=fields.text("distribution") if fields.has("distribution") else "uniform",
        )
