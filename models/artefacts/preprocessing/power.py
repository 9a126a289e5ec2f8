"""Make columns more like a normal distribution, by powers of their values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Final

import numpy as np
import numpy.typing as npt

from forebay.models.artefacts.argument_checks import numbers, text
from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.json_object import JsonObject
from forebay.models.artefacts.preprocessing.step import (
    SameWidth,
    check_columns,
    check_count,
    error,
    make_plain,
    picked,
)

METHODS: Final = ("yeo-johnson", "box-cox")
_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PowerTransform(SameWidth):
    """Applies the transformation of Yeo and Johnson, or of Box and Cox, with `lambdas[i]` to column `columns[i]`.

    means, scales: the result minus `means[i]`, divided by `scales[i]`; both may be empty. Here and not in a later step because
        the transformed values may be close to each other and far from zero, where float32 cannot separate them.

    Computed in float64. NaN is unchanged; Box and Cox give NaN or infinity for values that are not positive.
    """

    kind: ClassVar[str] = "power_transform"
    width: int
    columns: tuple[int, ...]
    lambdas: tuple[float, ...]
    method: str = "yeo-johnson"
    means: tuple[float, ...] = ()
    scales: tuple[float, ...] = ()
    _picked: slice | npt.NDArray[np.intp] = field(init=False, repr=False, compare=False)
    _lambdas_K: _Floats = field(init=False, repr=False, compare=False)
    _means_K: _Floats = field(init=False, repr=False, compare=False)
    _scales_K: _Floats = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        make_plain(self, ("lambdas", "means", "scales"), numbers)
        object.__setattr__(self, "method", text(self.method, "power_transform: method", error))
        if self.method not in METHODS:
            raise error(f"power_transform: method is {self.method!r}; allowed is {' or '.join(METHODS)}")
        check_columns(self.kind, self.width, self.columns, {"lambdas": self.lambdas})
        object.__setattr__(self, "_picked", picked(self.columns))
        object.__setattr__(self, "_lambdas_K", np.array(self.lambdas, dtype=np.float64))
        if self.means or self.scales:
            # Any float64: a power may leave the range of float32 before the result is shifted and scaled back.
            check_count(self.kind, "means", self.means, self.columns)
            check_count(self.kind, "scales", self.scales, self.columns)
            if not np.isfinite((*self.means, *self.scales)).all():
                raise error("power_transform: means and scales must be finite")
            if any(scale <= 0 or not np.isfinite(1 / scale) for scale in self.scales):
                raise error(
                    "power_transform: every scale must be positive, and not so small that 1 / scale is infinite"
                )
        count = len(self.columns)
        object.__setattr__(self, "_means_K", np.array(self.means or [0.0] * count, dtype=np.float64))
        object.__setattr__(self, "_scales_K", np.array(self.scales or [1.0] * count, dtype=np.float64))

    def apply(self, x_BF: FloatArray) -> FloatArray:
        out_BF = x_BF.copy()
        x_BK = x_BF[:, self._picked].astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            if self.method == "box-cox":
                y_BK = _power(np.log(x_BK), self._lambdas_K)
            else:
                is_negative_BK = x_BK < 0
                log_BK = np.log1p(np.abs(x_BK))
                y_BK = _power(log_BK, self._lambdas_K)
                if is_negative_BK.any():
                    y_BK = np.where(is_negative_BK, -_power(log_BK, 2.0 - self._lambdas_K), y_BK)
            out_BF[:, self._picked] = (y_BK - self._means_K) / self._scales_K
        return out_BF

    def to_dict(self) -> dict[str, object]:
        document: dict[str, object] = {
            "step": self.kind,
            "width": self.width,
            "columns": list(self.columns),
            "lambdas": list(self.lambdas),
            "method": self.method,
        }
        # Only where they are used, so that other models can be read by earlier versions.
        if self.means:
            document |= {"means": list(self.means), "scales": list(self.scales)}
        return document

    @classmethod
    def read(cls, fields: JsonObject) -> PowerTransform:
        """Return the step in one object of a file. Raises ModelError that names the file and the key."""
        fields.reject_unknown_keys({"step", "width", "columns", "lambdas", "method", "means", "scales"})
        return cls(
            fields.integer("width", minimum=1),
            fields.integers("columns"),
            lambdas=fields.numbers("lambdas"),
            method=fields.text("method"),
            means=fields.numbers("means") if fields.has("means") else (),
            scales=fields.numbers("scales") if fields.has("scales") else (),
        )


def _power(log_BK: _Floats, lambdas_K: _Floats) -> _Floats:
    """Return `(exp(log) ** lambda - 1) / lambda`, which is `log` for lambda 0."""
    is_zero_K = lambdas_K == 0
    divisor_K = np.where(is_zero_K, 1.0, lambdas_K)
    powers_BK: _Floats = np.where(is_zero_K, log_BK, np.expm1(divisor_K * log_BK) / divisor_K)
    return powers_BK
