"""Values of labels as columns, and their meaning for a model version."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from forebay.stream.core.model_ref import ModelRef
from forebay.stream.evaluate.columns import LabelValue
from forebay.stream.evaluate.interning import Codes, Interner
from forebay.stream.evaluate.pairing import Floats
from forebay.stream.quality.keys import Task

Resolve = Callable[[ModelRef, LabelValue], float | None]
"""Returns the index of the class that a label names, or the value of a regression; None if it is not possible.

Raises an error if that is unknown now: what was read must then be dropped and read again."""

_NUMBER: Final = 0
_FALSE: Final = 1
_TRUE: Final = 2
_FIRST_TEXT: Final = np.uint32(3)

MAX_TEXTS: Final = 1 << 18
"""Different texts that are kept, more than a model can have classes. All others are not possible labels."""

_OTHER_TEXT: Final = ""


class Values(NamedTuple):
    """Values of labels. codes_B: 0 for a number, else of false, true or a text; numbers_B: 0 if it is not a number."""

    codes_B: Codes
    numbers_B: Floats

    def take(self, rows: npt.NDArray[np.intp]) -> Values:
        """Return the values of rows."""
        return Values(self.codes_B[rows], self.numbers_B[rows])


class ValueTable:
    """Writes values of labels as columns, and resolves them.

    Raw values are kept, because the model may be unknown when a label arrives.
    """

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve
        self._texts: Interner[str] = Interner([_OTHER_TEXT], max_values=MAX_TEXTS)

    def columns(self, values: Sequence[LabelValue]) -> Values:
        """Return values as columns."""
        kinds = set(map(type, values))
        if kinds <= {int, float}:
            return Values(np.zeros(len(values), np.uint32), np.array(values, np.float64))
        if kinds == {str}:
            texts = cast(Sequence[str], values)
            return Values(self._texts.codes(texts, len(texts)) + _FIRST_TEXT, np.zeros(len(texts)))
        codes = np.fromiter(map(self._code, values), np.uint32, len(values))
        numbers = (float(v) if c == _NUMBER else 0.0 for v, c in zip(values, codes.tolist(), strict=True))
        return Values(codes, np.fromiter(numbers, np.float64, len(values)))

    def _code(self, value: LabelValue) -> int:
        if isinstance(value, bool):
            return _TRUE if value else _FALSE
        return int(_FIRST_TEXT) + self._texts.code(value) if isinstance(value, str) else _NUMBER

    def resolve(self, ref: ModelRef, values: Values, *, task: Task, num_classes: int) -> Floats:
        """Return the class or number of each value for a version; NaN where it is not possible."""
        codes, numbers = values
        if task is Task.REGRESSION and not codes.any():
            return np.where(np.isfinite(numbers), numbers, np.nan)
        order = np.lexsort((numbers, codes))
        differs = np.ones(len(order), bool)
        codes, numbers = codes[order], numbers[order]
        differs[1:] = (codes[1:] != codes[:-1]) | (numbers[1:] != numbers[:-1])
        found = [
            self._one(ref, code, number, task)
            for code, number in zip(codes[differs].tolist(), numbers[differs].tolist(), strict=True)
        ]
        distinct = np.array(found, np.float64)
        if task is not Task.REGRESSION:
            distinct[~((distinct >= 0) & (distinct < num_classes) & (distinct == np.floor(distinct)))] = np.nan
        distinct[~np.isfinite(distinct)] = np.nan
        resolved = np.empty(len(order))
        resolved[order] = distinct[np.cumsum(differs) - 1]
        return resolved

    def _one(self, ref: ModelRef, code: int, number: float, task: Task) -> float:
        value: LabelValue
        if task is Task.REGRESSION and code >= _FIRST_TEXT:
            return float("nan")
        if code == _NUMBER:
            value = int(number) if number.is_integer() else number
        elif code < _FIRST_TEXT:
            value = code == _TRUE
        else:
            value = self._texts.values[code - int(_FIRST_TEXT)]
        found = self._resolve(ref, value)
        return float("nan") if found is None else float(found)
