"""Sums of quality for models that predict a number."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from forebay.schemas.errors import DataError
from forebay.stream.quality.counts import Counts, CountsDocument
from forebay.stream.quality.exact_sum import ExactSum
from forebay.stream.quality.grids import SIGNED_BUCKETS, signed_buckets

_LARGEST: Final = 1e100
"""Values beyond this are refused: their squares, and the sum of many, must stay finite."""


class RegressionDocument(msgspec.Struct, kw_only=True):
    """The sums as JSON. All but the last are hexadecimal floating-point numbers."""

    error: str
    absolute_error: str
    squared_error: str
    actual: str
    squared_actual: str
    errors: CountsDocument


_SUMS: Final = ("error", "absolute_error", "squared_error", "actual", "squared_actual")


class RegressionSums:
    """Sums over pairs, of a model's first output. An error is the prediction - the actual value.

    errors: pairs by the bucket of their error.
    rows: number of pairs.
    """

    def __init__(self) -> None:
        self.error = ExactSum()
        self.absolute_error = ExactSum()
        self.squared_error = ExactSum()
        self.actual = ExactSum()
        self.squared_actual = ExactSum()
        self.errors = Counts(SIGNED_BUCKETS)

    def add_predictions(self, scores_BO: npt.NDArray[np.float32]) -> int:
        """Return how many predictions are not usable numbers. There is nothing to sum before the actual value is known."""
        return int(np.count_nonzero(~_valid(scores_BO[:, 0])))

    def add_pairs(
        self, scores_BO: npt.NDArray[np.float32], actual_B: npt.NDArray[np.float64], *, sign: int
    ) -> npt.NDArray[np.bool_]:
        """Add pairs, or take them back with sign -1; return which are possible, the others are left out."""
        valid_B = _valid(scores_BO[:, 0]) & _valid(actual_B)
        actual = actual_B[valid_B]
        errors = scores_BO[valid_B, 0].astype(np.float64) - actual
        self.error.add(errors, sign)
        self.absolute_error.add(np.abs(errors), sign)
        self.squared_error.add(np.square(errors), sign)
        self.actual.add(actual, sign)
        squares, remainders = _exact_squares(actual)
        self.squared_actual.add(squares, sign)
        self.squared_actual.add(remainders, sign)
        self.errors.add(signed_buckets(errors), sign)
        return valid_B

    @property
    def rows(self) -> int:
        """Number of pairs in the sums."""
        return self.errors.total()

    @property
    def is_empty(self) -> bool:
        """Whether every sum is zero."""
        return not (self.errors or any(getattr(self, name) for name in _SUMS))

    def merge(self, other: RegressionSums) -> None:
        """Add the sums of another part."""
        for name in _SUMS:
            getattr(self, name).merge(getattr(other, name))
        self.errors.merge(other.errors)

    def to_dict(self) -> dict[str, Any]:
        """Return the sums as JSON values."""
        return {**{name: getattr(self, name).to_text() for name in _SUMS}, "errors": self.errors.to_dict()}

    @classmethod
    def read(cls, document: RegressionDocument, place: str) -> RegressionSums:
        """Return the sums of a document. Raises DataError; place: what they are, for the message."""
        found = cls()
        for name in _SUMS:
            total = ExactSum.read(getattr(document, name), f"{place}: {name}")
            if total.is_large:
                raise DataError(f"{place}: {name}: more than the sum of any errors and values that are not refused")
            setattr(found, name, total)
        found.errors = Counts.read(document.errors, SIGNED_BUCKETS, f"{place}: errors")
        return found


def _valid(values_B: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    valid_B: npt.NDArray[np.bool_] = np.abs(values_B.astype(np.float64)) <= _LARGEST  # False for NaN
    return valid_B


def _exact_squares(values: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the squares, rounded, and the remainders of the rounding (Dekker's product).

    R² subtracts the squared mean from the mean square. Of values such as 1e7 ± 1, rounded squares would leave few digits.
    """
    squares = np.square(values)
    scaled = 134_217_729.0 * values  # 2**27 + 1 divides the digits into two halves
    high = scaled - (scaled - values)
    low = values - high
    return squares, ((np.square(high) - squares) + 2 * high * low) + np.square(low)
