"""Exact sums of floating-point numbers of any size."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Final

import numpy as np
import numpy.typing as npt

from forebay.schemas.errors import DataError

_UNIT_EXPONENT: Final = -1074
"""The smallest float64 is 2**-1074, and every other is a multiple of it."""

_MAX_ROWS: Final = 1 << 25
_LOW_BITS: Final = 26
_PATTERN: Final = re.compile(r"(-?)0x([0-9a-f]{1,600})p(-?[0-9]{1,4})")


class ExactSum:
    """The exact sum of finite float64 numbers, as a whole number of units of 2**-1074.

    A sum of floating-point numbers depends on the order of its terms, and does not return to zero when all of them are
    subtracted. This one does, so that it is the same for every division of the work, after restarts, and after corrections.
    """

    __slots__ = ("_units",)

    def __init__(self, units: int = 0) -> None:
        self._units = units

    def __bool__(self) -> bool:
        return self._units != 0

    def __eq__(self, other: object) -> bool:
        return self._units == other._units if isinstance(other, ExactSum) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._units)

    def __float__(self) -> float:
        return self._units / (1 << -_UNIT_EXPONENT)

    @property
    def fraction(self) -> Fraction:
        """The exact value."""
        return Fraction(self._units, 1 << -_UNIT_EXPONENT)

    @property
    def is_large(self) -> bool:
        """Whether it is beyond 2**800 (1e240), so that the sum of many such sums may be no finite float64."""
        return self._units.bit_length() > 800 - _UNIT_EXPONENT

    def add(self, values: npt.NDArray[np.float64], sign: int = 1) -> None:
        """Add all values; subtract them with sign -1."""
        for start in range(0, len(values), _MAX_ROWS):
            self._units += sign * _sum_units(values[start : start + _MAX_ROWS])

    def merge(self, other: ExactSum) -> None:
        """Add another sum."""
        self._units += other._units

    def to_text(self) -> str:
        """Return the sum as a hexadecimal floating-point number, which `float.fromhex` reads. It has all digits."""
        units = abs(self._units)
        if not units:
            return "0x0p0"
        zeros = (units & -units).bit_length() - 1
        return f"{'-' if self._units < 0 else ''}{units >> zeros:#x}p{_UNIT_EXPONENT + zeros}"

    @classmethod
    def read(cls, text: str, place: str) -> ExactSum:
        """Return the sum of a text. Raises DataError; place: what it is, for the message."""
        found = _PATTERN.fullmatch(text)
        if found is None or not _UNIT_EXPONENT <= int(found[3]) <= -_UNIT_EXPONENT:
            raise DataError(f"{place}: {text[:40]!r} is not a hexadecimal number such as 0x1fp-3")
        units = int(found[2], 16) << (int(found[3]) - _UNIT_EXPONENT)
        return cls(-units if found[1] else units)


def _sum_units(values: npt.NDArray[np.float64]) -> int:
    bits = np.ascontiguousarray(values, dtype=np.float64).view(np.int64)
    exponents = (bits >> 52) & 0x7FF
    mantissas = bits & ((1 << 52) - 1)
    mantissas += np.where(exponents > 0, np.int64(1 << 52), np.int64(0))
    mantissas = np.where(bits < 0, -mantissas, mantissas)
    # Sums of whole numbers below 2**53 are exact in float64, so each mantissa is divided into two short ones.
    high = np.bincount(exponents, weights=mantissas >> _LOW_BITS)
    low = np.bincount(exponents, weights=mantissas & ((1 << _LOW_BITS) - 1))
    total = 0
    for exponent in np.flatnonzero((high != 0) | (low != 0)).tolist():
        total += ((int(high[exponent]) << _LOW_BITS) + int(low[exponent])) << max(0, exponent - 1)
    return total
