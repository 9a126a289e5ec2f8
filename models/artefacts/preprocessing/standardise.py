"""Shift and scale columns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from forebay.models.artefacts.argument_checks import numbers
from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.json_object import JsonObject
from forebay.models.artefacts.preprocessing.step import SameWidth, check_columns, error, make_plain, spread


@dataclass(frozen=True, slots=True)
class Standardise(SameWidth):
    """Subtracts `means[i]` from column `columns[i]` and divides the result by `scales[i]`.

    Other columns and NaN are unchanged. A result beyond the range of float32 becomes infinite.
    """

    kind: ClassVar[str] = "standardise"
    width: int
    columns: tuple[int, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]
    _mean_F: npt.NDArray[np.float64] = field(init=False, repr=False, compare=False)
    _factor_F: npt.NDArray[np.float64] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        make_plain(self, ("means", "scales"), numbers)
        check_columns(self.kind, self.width, self.columns, {"means": self.means, "scales": self.scales})
        if any(scale <= 0 or not np.isfinite(1 / scale) for scale in self.scales):
            raise error("standardise: every scale must be positive, and not so small that 1 / scale is infinite")
        scale_F = spread(self.width, self.columns, self.scales, elsewhere=1.0)
        object.__setattr__(self, "_mean_F", spread(self.width, self.columns, self.means, elsewhere=0.0))
        object.__setattr__(self, "_factor_F", 1.0 / scale_F)

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

    @classmethod
    def read(cls, fields: JsonObject) -> Standardise:
        """Return the step in one object of a file. Raises ModelError that names the file and the key."""
        fields.reject_unknown_keys({"step", "width", "columns", "means", "scales"})
        return cls(
            fields.integer("width", minimum=1),
            fields.integers("columns"),
            means=fields.numbers("means"),
            scales=fields.numbers("scales"),
        )
