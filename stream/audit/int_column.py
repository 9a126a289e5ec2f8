"""Columns of integers in JSON: the first value, and the differences, as one number where all are equal.

[100, 101, 102]  {"first": 100, "steps": 1}
[100, 102, 105]  {"first": 100, "steps": [2, 3]}
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from forebay.schemas.errors import DataError

Ints = npt.NDArray[np.int64]


def encode_ints(values_N: Ints) -> dict[str, object]:
    """Return a column as JSON, for orjson with OPT_SERIALIZE_NUMPY. values_N: int64 [N], N >= 1."""
    first = int(values_N[0])
    if len(values_N) == 1:
        return {"first": first, "steps": 0}
    steps_N = np.diff(values_N)
    if (steps_N == steps_N[0]).all():
        return {"first": first, "steps": int(steps_N[0])}
    return {"first": first, "steps": steps_N}


def decode_ints(column: object, count: int) -> Ints:
    """Return the int64 [count] values of a column. Raises DataError."""
    try:
        if not isinstance(column, Mapping):
            raise TypeError
        first, steps = column["first"], column["steps"]
        if isinstance(steps, int):
            first_N: Ints = np.full(count, first, dtype=np.int64)
            return first_N + np.arange(count, dtype=np.int64) * steps
        if len(steps) != count - 1:
            raise ValueError
        values_N = np.empty(count, dtype=np.int64)
        values_N[0] = first
        values_N[1:] = steps
        return values_N.cumsum()
    except (KeyError, TypeError, ValueError, OverflowError):
        raise DataError(f"a column of an audit block does not have {count} integers") from None
