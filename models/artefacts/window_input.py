"""Turn windows of events into rows of a model, as sequences or as aggregates. Training and serving use the same code.

Shapes: N events of all windows, F features of an event, B windows, T steps of a sequence, A aggregates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from types import MappingProxyType
from typing import Final, Literal, cast

import numpy as np
import numpy.typing as npt

from forebay.models.artefacts.argument_checks import describe, integer, sequence
from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.json_object import JsonObject
from forebay.schemas.errors import ModelError, TensorError

Function = Literal["count", "sum", "mean", "min", "max", "std", "first", "last", "distinct", "rate"]
FUNCTIONS: Final = ("count", "sum", "mean", "min", "max", "std", "first", "last", "distinct", "rate")
OF_ANY_TYPE: Final = frozenset({"count", "first", "last", "distinct"})
"""Functions that are also allowed for a category, whose values are codes."""

MAX_STEPS: Final = 65_536
MAX_AGGREGATES: Final = 65_536

_Floats = npt.NDArray[np.float64]
_Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One column of a window's row: a function of the feature at `column`, without its missing values.

    `count` without a column is the number of events; with a column it is the number of its values. `rate` has no column: it
    is the number of events per second of the window's length. `std` is the standard deviation of the population. `first` and
    `last` are the values of the first and last event by event time, and may be missing. If there is no value, `sum`, `count`
    and `distinct` are 0 and the others NaN.
    """

    function: Function
    column: int | None = None

    def __post_init__(self) -> None:
        if self.column is not None:
            object.__setattr__(self, "column", integer(self.column, "an aggregate's column", _error))
        if self.function not in FUNCTIONS:
            raise _error(f"there is no aggregate {self.function!r}; allowed is {', '.join(FUNCTIONS)}")
        if self.column is None and self.function not in ("count", "rate"):
            raise _error(f"the aggregate {self.function} needs a column")
        if self.column is not None and self.function == "rate":
            raise _error("the aggregate rate counts events and takes no column")


@dataclass(frozen=True, slots=True)
class WindowInput:
    """How a window becomes one row: the last `sequence_length` events, or `aggregates`. Raises ModelError(kind="signature").

    The row of a sequence is [T, F + 1], flattened: the events by event time, oldest first, then zeros. The last value of each
    step is 1 for an event and 0 for padding.
    """

    sequence_length: int = 0
    aggregates: tuple[Aggregate, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "sequence_length", integer(self.sequence_length, "sequence_length", _error))
        aggregates = sequence(self.aggregates, "aggregates", "forebay.Aggregate", _error)
        for index, aggregate in enumerate(aggregates):
            if not isinstance(aggregate, Aggregate):
                raise _error(f"aggregates[{index}] is {describe(aggregate)}; give a forebay.Aggregate")
        object.__setattr__(self, "aggregates", aggregates)
        if bool(self.sequence_length) == bool(self.aggregates):
            raise _error("a window becomes either a sequence or aggregates: set one of the two")
        if not 0 <= self.sequence_length <= MAX_STEPS:
            raise _error(f"sequence_length is {self.sequence_length}; allowed is from 1 to {MAX_STEPS}")
        if len(self.aggregates) > MAX_AGGREGATES:
            raise _error(f"there are {len(self.aggregates)} aggregates; allowed are at most {MAX_AGGREGATES}")

    def row_shape(self, num_features: int) -> tuple[int, ...]:
        """Return the shape of a window's row: (T, F + 1) or (A,)."""
        return (self.sequence_length, num_features + 1) if self.sequence_length else (len(self.aggregates),)

    def row_width(self, num_features: int) -> int:
        """Return the number of values in a window's row."""
        return prod(self.row_shape(num_features))

    def rows(self, x_NF: FloatArray, t_N: _Ints, lengths_B: _Ints, spans_B: _Ints) -> FloatArray:
        """Return the rows of B windows, float32 [B, row_width].

        x_NF: the events of all windows, one window after the other, in each window in the order in which they came.
        t_N: their event times in ms.
        lengths_B: number of events in each window, at least one.
        spans_B: the windows' lengths in ms.

        Raises TensorError if these do not fit together.
        """
        if len(x_NF) != len(t_N) or lengths_B.sum() != len(t_N) or len(spans_B) != len(lengths_B):
            raise TensorError(
                f"there are {len(x_NF)} events and {len(t_N)} times, but the windows have {lengths_B.sum()} events in total"
            )
        if not len(lengths_B):
            return np.zeros((0, self.row_width(x_NF.shape[1])), dtype=np.float32)
        if lengths_B.min() < 1:
            raise TensorError("a window without an event has no row")
        window_N = np.repeat(np.arange(len(lengths_B)), lengths_B)
        # Stable: events with the same time stay in the order in which they came.
        order_N = np.lexsort((t_N, window_N))
        x_NF = x_NF[order_N]
        if self.sequence_length:
            return self._sequences(x_NF, window_N, lengths_B)
        return self._aggregates(x_NF, window_N, lengths_B, spans_B)

    def _sequences(self, x_NF: FloatArray, window_N: _Ints, lengths_B: _Ints) -> FloatArray:
        steps, width = self.row_shape(x_NF.shape[1])
        ends_B = np.cumsum(lengths_B)
        first_kept_B = ends_B - np.minimum(lengths_B, steps)
        place_N = np.arange(len(x_NF))
        kept_N = place_N >= first_kept_B[window_N]
        step_N = place_N - first_kept_B[window_N]
        x_BTW = np.zeros((len(lengths_B), steps, width), dtype=np.float32)
        x_BTW[window_N[kept_N], step_N[kept_N], :-1] = x_NF[kept_N]
        x_BTW[window_N[kept_N], step_N[kept_N], -1] = 1.0
        return x_BTW.reshape(len(lengths_B), -1)

    def _aggregates(self, x_NF: FloatArray, window_N: _Ints, lengths_B: _Ints, spans_B: _Ints) -> FloatArray:
        x_BA = np.empty((len(lengths_B), len(self.aggregates)), dtype=np.float32)
        columns: dict[int, _Column] = {}
        with np.errstate(over="ignore"):  # a sum beyond float32 is infinite; the check of the outputs reports it
            for index, aggregate in enumerate(self.aggregates):
                if aggregate.column is None:
                    x_BA[:, index] = lengths_B if aggregate.function == "count" else lengths_B * 1000.0 / spans_B
                    continue
                column = columns.get(aggregate.column)
                if column is None:
                    values_N = x_NF[:, aggregate.column].astype(np.float64)
                    column = columns[aggregate.column] = _Column(values_N, window_N, np.cumsum(lengths_B) - lengths_B)
                x_BA[:, index] = _OF_COLUMN[aggregate.function](column)
        return x_BA

    def to_dict(self) -> dict[str, object]:
        """Return the window input as JSON values."""
        if self.sequence_length:
            return {"sequence_length": self.sequence_length}
        return {
            "aggregates": [
                {"function": aggregate.function, "column": aggregate.column} for aggregate in self.aggregates
            ]
        }

    @classmethod
    def read(cls, fields: JsonObject) -> WindowInput:
        """Return the window input in one object of a file. Raises ModelError that names the file and the key."""
        fields.reject_unknown_keys({"sequence_length", "aggregates"})
        try:
            if fields.has("sequence_length"):
                return cls(fields.integer("sequence_length", minimum=1), ())
            return cls(0, tuple(_read_aggregate(item) for item in fields.children("aggregates")))
        except ModelError as error:
            if error.kind != "signature":
                raise
            raise fields.error(f"{fields.path}: {error.message}") from None


class _Column:
    """One feature of the events of all windows, in event-time order within each. starts_B: each window's first event."""

    def __init__(self, values_N: _Floats, window_N: _Ints, starts_B: _Ints) -> None:
        self.values_N = values_N
        self.window_N = window_N
        self.starts_B = starts_B
        self.there_N = ~np.isnan(values_N)
        self.count_B: _Ints = np.add.reduceat(self.there_N.astype(np.int64), starts_B)

    def total(self, values_N: _Floats) -> _Floats:
        """Return the sum by window, without missing values."""
        totals_B: _Floats = np.add.reduceat(np.where(self.there_N, values_N, 0.0), self.starts_B)
        return totals_B

    def mean(self) -> _Floats:
        with np.errstate(invalid="ignore"):
            return self.total(self.values_N) / self.count_B

    def std(self) -> _Floats:
        # From the deviations, not from the sum of squares, which loses all precision if the mean is large.
        deviations_N = self.values_N - self.mean()[self.window_N]
        with np.errstate(invalid="ignore"):
            return np.sqrt(self.total(deviations_N**2) / self.count_B)

    def extreme(self, function: np.ufunc, nothing: float) -> _Floats:
        extremes_B: _Floats = function.reduceat(np.where(self.there_N, self.values_N, nothing), self.starts_B)
        return np.where(self.count_B > 0, extremes_B, np.nan)

    def distinct(self) -> _Floats:
        order_N = np.lexsort((self.values_N, self.window_N))  # NaN comes last
        values_N, there_N = self.values_N[order_N], self.there_N[order_N]
        new_N = there_N.copy()
        new_N[1:] &= (values_N[1:] != values_N[:-1]) | (self.window_N[1:] != self.window_N[:-1])
        distinct_B: _Floats = np.add.reduceat(new_N.astype(np.float64), self.starts_B)
        return distinct_B

    def last(self) -> _Floats:
        ends_B = np.append(self.starts_B[1:], len(self.values_N)) - 1
        last_B: _Floats = self.values_N[ends_B]
        return last_B


_OF_COLUMN: Final[MappingProxyType[str, Callable[[_Column], npt.NDArray[np.generic]]]] = MappingProxyType(
    {
        "count": lambda column: column.count_B,
        "sum": lambda column: column.total(column.values_N),
        "mean": _Column.mean,
        "min": lambda column: column.extreme(np.minimum, np.inf),
        "max": lambda column: column.extreme(np.maximum, -np.inf),
        "std": _Column.std,
        "first": lambda column: column.values_N[column.starts_B],
        "last": _Column.last,
        "distinct": _Column.distinct,
    }
)


def _read_aggregate(fields: JsonObject) -> Aggregate:
    fields.reject_unknown_keys({"function", "column"})
    function = cast("Function", fields.text("function", FUNCTIONS))
    column = None if fields.value("column") is None else fields.integer("column")
    return Aggregate(function, column)


def _error(message: str) -> ModelError:
    return ModelError(
        message, kind="signature", remedy="correct the window input of the signature, and publish the model again"
    )
