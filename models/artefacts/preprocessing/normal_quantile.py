"""The quantile function of the normal distribution."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

_Floats = npt.NDArray[np.float64]

LIMIT: Final = 5.199337582605575
"""The largest result, and with a minus sign the smallest: the quantile of 1 - 1e-7, as in QuantileTransformer."""

# Wichura (1988), algorithm AS 241, PPND16: coefficients from the highest power to the lowest; relative accuracy 1e-16.
_CENTRAL: Final = (
    (
        2509.0809287301227,
        33430.57558358813,
        67265.7709270087,
        45921.95393154987,
        13731.69376550946,
        1971.5909503065513,
        133.14166789178438,
        3.3871328727963665,
    ),
    (
        5226.495278852854,
        28729.085735721943,
        39307.89580009271,
        21213.794301586597,
        5394.196021424751,
        687.1870074920579,
        42.31333070160091,
        1.0,
    ),
)
_MIDDLE: Final = (
    (
        0.0007745450142783414,
        0.022723844989269184,
        0.2417807251774506,
        1.2704582524523684,
        3.6478483247632045,
        5.769497221460691,
        4.630337846156546,
        1.4234371107496835,
    ),
    (
        1.0507500716444169e-09,
        0.0005475938084995345,
        0.015198666563616457,
        0.14810397642748008,
        0.6897673349851,
        1.6763848301838038,
        2.053191626637759,
        1.0,
    ),
)
_TAIL: Final = (
    (
        2.0103343992922881e-07,
        2.7115555687434876e-05,
        0.0012426609473880784,
        0.026532189526576124,
        0.29656057182850487,
        1.7848265399172913,
        5.463784911164114,
        6.657904643501103,
    ),
    (
        2.0442631033899397e-15,
        1.421511758316446e-07,
        1.8463183175100548e-05,
        0.0007868691311456133,
        0.014875361290850615,
        0.1369298809227358,
        0.599832206555888,
        1.0,
    ),
)


def normal_quantiles(p: _Floats) -> _Floats:
    """Return the quantiles of probabilities, from `-LIMIT` to `LIMIT`. NaN is unchanged."""
    q = p - 0.5
    with np.errstate(all="ignore"):
        central = q * _ratio(_CENTRAL, 0.180625 - q * q)
        r = np.sqrt(-np.log(np.minimum(p, 1.0 - p)))
        tail = np.where(r <= 5.0, _ratio(_MIDDLE, r - 1.6), _ratio(_TAIL, r - 5.0))
        result = np.where(np.abs(q) <= 0.425, central, np.sign(q) * tail)
    # At 0 and 1, r is infinite.
    result = np.where(p <= 0, -LIMIT, np.where(p >= 1, LIMIT, result))
    return np.asarray(np.clip(result, -LIMIT, LIMIT))


def _ratio(polynomials: tuple[tuple[float, ...], tuple[float, ...]], x: _Floats) -> _Floats:
    numerator, denominator = polynomials
    return _horner(numerator, x) / _horner(denominator, x)


def _horner(coefficients: tuple[float, ...], x: _Floats) -> _Floats:
    result = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        result *= x
        result += coefficient
    return result
