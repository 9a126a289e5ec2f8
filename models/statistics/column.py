"""The statistics of one column, added batch by batch."""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from forebay.models.statistics.counted_values import count_values
from forebay.models.statistics.number_distribution import MAX_EXACT, NumberDistribution
from forebay.models.statistics.text_distribution import TextDistribution

ColumnKind = Literal["number", "boolean", "timestamp", "text", "other"]

_INT64: Final = np.dtype(np.int64)
_UINT64: Final = np.dtype(np.uint64)
_FLOAT64: Final = np.dtype(np.float64)


class ColumnStatistics:
    """What is known about a column after the rows that were added.

    kind: what the values are. Of a column of kind "other", such as a list, only rows and nulls are counted.
    type: the column's Arrow type.
    numbers: the finite values of numbers, truth values (0 and 1) and times (in units since 1970); None for other kinds.
    texts: None unless the kind is "text".
    """

    def __init__(self, name: str, data_type: Any, max_exact: int = MAX_EXACT) -> None:
        self.name = name
        self.type = data_type
        self._value_type = _value_type(data_type)
        self.kind: ColumnKind = _kind(self._value_type)
        self.rows = self.nulls = self.nans = self.empty_texts = 0
        self.positive_infinities = self.negative_infinities = 0
        self.texts = TextDistribution(max_exact) if self.kind == "text" else None
        self.numbers: NumberDistribution | None = None
        if self.kind in ("number", "boolean", "timestamp"):
            self.numbers = NumberDistribution(_dtype(self._value_type), max_exact)

    def add(self, array: Any) -> None:
        """Add the values of an Arrow array of the column's type."""
        self.rows += len(array)
        self.nulls += array.null_count
        if self.kind == "other":
            return
        if isinstance(array, pa.ExtensionArray):
            array = array.storage
        if pa.types.is_dictionary(array.type):
            array = array.cast(self._value_type)
        if pa.types.is_string_view(array.type):
            array = array.cast(pa.large_string())
        present = array.drop_null() if array.null_count else array
        if self.texts is not None:
            self._add_texts(self.texts, present)
        elif self.numbers is not None:
            self._add_numbers(self.numbers, present)

    def merge(self, other: ColumnStatistics) -> None:
        """Add the rows of the same column of another part of the table, which is not changed."""
        if (self.name, self.type) != (other.name, other.type):
            raise ValueError(f"{self.name!r} ({self.type}) cannot be merged with {other.name!r} ({other.type})")
        self.rows += other.rows
        self.nulls += other.nulls
        self.nans += other.nans
        self.empty_texts += other.empty_texts
        self.positive_infinities += other.positive_infinities
        self.negative_infinities += other.negative_infinities
        if self.texts is not None and other.texts is not None:
            self.texts.merge(other.texts)
        if self.numbers is not None and other.numbers is not None:
            self.numbers.merge(other.numbers)

    @property
    def num_distinct(self) -> int | None:
        """The number of distinct values, infinities included, nulls and NaN not; None if they are not counted."""
        if self.texts is not None:
            return self.texts.num_distinct
        if self.numbers is None:
            return None
        return self.numbers.num_distinct + (self.positive_infinities > 0) + (self.negative_infinities > 0)

    @property
    def time_unit(self) -> str | None:
        """The unit of the numbers of a timestamp: D, s, ms, us or ns; None for other kinds."""
        if self.kind != "timestamp":
            return None
        if pa.types.is_date32(self._value_type):
            return "D"
        return "ms" if pa.types.is_date64(self._value_type) else str(self._value_type.unit)

    def _add_texts(self, texts: TextDistribution, present: Any) -> None:
        counted = present.value_counts()
        values, counts = counted.field("values").to_pylist(), counted.field("counts").to_numpy()
        texts.add(values, counts)
        if "" in values:
            self.empty_texts += int(counts[values.index("")])

    def _add_numbers(self, numbers: NumberDistribution, present: Any) -> None:
        array = numbers_of(present, self._value_type)
        if array.dtype != _FLOAT64:
            numbers.add(array)
            return
        finite = np.isfinite(array)
        if not finite.all():
            self.nans += int(np.isnan(array).sum())
            self.positive_infinities += int((array == np.inf).sum())
            self.negative_infinities += int((array == -np.inf).sum())
            array = array[finite]
        numbers.add_counted(*count_values(array + 0.0))  # makes -0.0 and 0.0 the same


def numbers_of(present: Any, value_type: Any) -> NDArray[Any]:
    """Return the values of an Arrow array without nulls as int64, uint64 or float64."""
    types = pa.types
    if types.is_boolean(value_type):
        present = present.cast(pa.uint8())
    elif types.is_decimal(value_type):
        present = present.cast(pa.float64())
    elif types.is_date32(value_type) or types.is_time32(value_type):
        present = present.cast(pa.int32())
    elif _is_time(value_type):
        present = present.cast(pa.int64())
    array: NDArray[Any] = present.to_numpy(zero_copy_only=False).astype(_dtype(value_type), copy=False)
    return array


def as_floats(array: Any, data_type: Any) -> NDArray[np.float64]:
    """Return the values of a number or boolean column as float64, with NaN for nulls and infinities."""
    value_type = _value_type(data_type)
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if pa.types.is_dictionary(array.type):
        array = array.cast(value_type)
    numbers = np.full(len(array), np.nan)
    valid = array.is_valid().to_numpy(zero_copy_only=False)
    numbers[valid] = numbers_of(array.drop_null(), value_type)
    numbers[~np.isfinite(numbers)] = np.nan
    return numbers


def _value_type(data_type: Any) -> Any:
    """Return the type of the values behind extension types and dictionaries."""
    if isinstance(data_type, pa.BaseExtensionType):
        data_type = data_type.storage_type
    return data_type.value_type if pa.types.is_dictionary(data_type) else data_type


def _is_time(value_type: Any) -> bool:
    types = pa.types
    return bool(types.is_temporal(value_type) and not types.is_interval(value_type))


def _kind(value_type: Any) -> ColumnKind:
    types = pa.types
    if types.is_boolean(value_type):
        return "boolean"
    if types.is_timestamp(value_type) or types.is_date(value_type):
        return "timestamp"
    if types.is_integer(value_type) or types.is_floating(value_type) or types.is_decimal(value_type):
        return "number"
    if types.is_time(value_type) or types.is_duration(value_type):
        return "number"
    if types.is_string(value_type) or types.is_large_string(value_type) or types.is_string_view(value_type):
        return "text"
    return "other"


def _dtype(value_type: Any) -> np.dtype[Any]:
    if pa.types.is_floating(value_type) or pa.types.is_decimal(value_type):
        return _FLOAT64
    return _UINT64 if pa.types.is_uint64(value_type) else _INT64
