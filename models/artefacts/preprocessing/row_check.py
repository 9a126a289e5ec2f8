"""Reject rows with values outside the ranges that the model was prepared for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from forebay.models.artefacts.argument_checks import boolean, numbers, sequence, texts
from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.json_object import JsonObject
from forebay.models.artefacts.preprocessing.step import (
    SameWidth,
    check_columns,
    check_count,
    check_finite,
    error,
    make_plain,
    optional_numbers,
)


class RowsRejected(Exception):
    """Some rows of a batch are outside the ranges that the preparation allows.

    reasons: for each rejected row why, in the terms of the features. The values are not in it.
    """

    def __init__(self, reasons: Mapping[int, str]) -> None:
        super().__init__(f"{len(reasons)} rows are rejected by the preparation")
        self.reasons = dict(reasons)

    def renumbered(self, rows: npt.NDArray[np.intp]) -> RowsRejected:
        """Return the same for rows with other numbers: `rows[number]`. Of several with one number, the first reason counts."""
        reasons: dict[int, str] = {}
        for row, reason in self.reasons.items():
            reasons.setdefault(int(rows[row]), reason)
        return RowsRejected(reasons)


@dataclass(frozen=True, slots=True)
class RowCheck(SameWidth):
    """Rejects rows whose value in column `columns[i]` is below `minima[i]` or above `maxima[i]`. Values are unchanged.

    minima, maxima: compared in float64; None for no limit.
    allow_missing: whether a column may be NaN.
    names: of the columns, for the reason.
    """

    kind: ClassVar[str] = "row_check"
    width: int
    columns: tuple[int, ...]
    minima: tuple[float | None, ...]
    maxima: tuple[float | None, ...]
    allow_missing: tuple[bool, ...]
    names: tuple[str, ...]
    _picked: npt.NDArray[np.intp] = field(init=False, repr=False, compare=False)
    _minima_K: npt.NDArray[np.float64] = field(init=False, repr=False, compare=False)
    _maxima_K: npt.NDArray[np.float64] = field(init=False, repr=False, compare=False)
    _is_required_K: npt.NDArray[np.bool_] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        make_plain(self, (), numbers)
        make_plain(self, ("minima", "maxima"), optional_numbers)
        check_columns(self.kind, self.width, self.columns, {})
        flags = sequence(self.allow_missing, f"{self.kind}: allow_missing", "booleans", error)
        allowed = tuple(
            boolean(flag, f"{self.kind}: allow_missing[{index}]", error) for index, flag in enumerate(flags)
        )
        object.__setattr__(self, "allow_missing", allowed)
        object.__setattr__(self, "names", texts(self.names, f"{self.kind}: names", error))
        for name in ("minima", "maxima", "allow_missing", "names"):
            check_count(self.kind, name, getattr(self, name), self.columns)
        for low, high in zip(self.minima, self.maxima, strict=True):
            check_finite(self.kind, "minima and maxima", [limit for limit in (low, high) if limit is not None])
            if low is not None and high is not None and low > high:
                raise error("row_check: a minimum is above its maximum")
        object.__setattr__(self, "_picked", np.array(self.columns, dtype=np.intp))
        object.__setattr__(self, "_minima_K", np.array([-np.inf if low is None else low for low in self.minima]))
        object.__setattr__(self, "_maxima_K", np.array([np.inf if high is None else high for high in self.maxima]))
        object.__setattr__(self, "_is_required_K", ~np.array(self.allow_missing, dtype=np.bool_))

    def apply(self, x_BF: FloatArray) -> FloatArray:
        return x_BF.copy()

    def rejected(self, x_BF: FloatArray) -> npt.NDArray[np.bool_]:
        """Return which rows are rejected, bool [B]."""
        return np.asarray(self._is_outside(x_BF).any(axis=1))

    def check(self, x_BF: FloatArray) -> None:
        """Raise RowsRejected if any row is rejected."""
        is_outside_BK = self._is_outside(x_BF)
        if not is_outside_BK.any():
            return
        rows_R = np.flatnonzero(is_outside_BK.any(axis=1))
        index_R = is_outside_BK[rows_R].argmax(axis=1)
        is_missing_R = np.isnan(x_BF[rows_R, self._picked[index_R]])
        places = zip(rows_R.tolist(), index_R.tolist(), is_missing_R.tolist(), strict=True)
        raise RowsRejected({row: self._reason(index, is_missing) for row, index, is_missing in places})

    def _is_outside(self, x_BF: FloatArray) -> npt.NDArray[np.bool_]:
        x_BK = x_BF[:, self._picked].astype(np.float64)
        # Comparisons with NaN are false.
        is_outside_BK = (x_BK < self._minima_K) | (x_BK > self._maxima_K)
        return np.asarray(is_outside_BK | (np.isnan(x_BK) & self._is_required_K))

    def _reason(self, index: int, is_missing: bool) -> str:
        low, high = self.minima[index], self.maxima[index]
        limits = [f"{word} {limit:g}" for word, limit in (("from", low), ("to", high)) if limit is not None]
        if is_missing:
            return f"{self.names[index]!r} is missing, and the model's preparation requires it"
        return f"{self.names[index]!r} is outside the range that the model's preparation allows: {' '.join(limits)}"

    def to_dict(self) -> dict[str, object]:
        return {
            "step": self.kind,
            "width": self.width,
            "columns": list(self.columns),
            "minima": list(self.minima),
            "maxima": list(self.maxima),
            "allow_missing": list(self.allow_missing),
            "names": list(self.names),
        }

    @classmethod
    def read(cls, fields: JsonObject) -> RowCheck:
        """Return the step in one object of a file. Raises ModelError that names the file and the key."""
        fields.reject_unknown_keys({"step", "width", "columns", "minima", "maxima", "allow_missing", "names"})
        return cls(
            fields.integer("width", minimum=1),
            fields.integers("columns"),
            minima=optional_numbers(fields.array("minima"), "minima", error),
            maxima=optional_numbers(fields.array("maxima"), "maxima", error),
            allow_missing=tuple(fields.array("allow_missing")),  # type: ignore[arg-type]  # checked above
            names=fields.texts("names"),
        )
