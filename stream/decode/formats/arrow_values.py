"""Values of Arrow arrays: as columns of a poll, and as Python values of documents. Shapes: B rows, N elements of a list."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from typing import Any, Final
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.types as types
from numpy.typing import NDArray

from forebay.stream.decode.formats.payload import Column

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_PER_SECOND: Final = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


def column_of(array: Any) -> Column:
    """Return a column with the values of an array."""
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType) and kind.extension_name != "arrow.uuid":
        return column_of(array.storage)
    missing_B = np.asarray(array.is_null()) if array.null_count else None
    if types.is_null(kind):
        return Column(np.zeros(len(array)), np.ones(len(array), dtype=np.bool_))
    if types.is_boolean(kind):
        return Column(_filled(array, False).to_numpy(zero_copy_only=False), missing_B)
    if types.is_timestamp(kind):
        return Column(_filled(array.view(pa.int64()), 0).to_numpy(), missing_B, unit=kind.unit)
    if types.is_float32(kind) or types.is_float64(kind):
        return Column(_filled(array, 0.0).to_numpy(), missing_B)
    if types.is_float16(kind):
        return Column(array.to_numpy(zero_copy_only=False).astype(np.float64), missing_B)
    if types.is_integer(kind):
        return Column(_integers(_filled(array, 0).to_numpy()), missing_B)
    if not array.null_count:
        matrix_BN = _matrix(array)
        if matrix_BN is not None:
            return Column(matrix_BN)
    return Column(_object_array(objects(array)), missing_B)


def column_of_objects(values: Sequence[Any]) -> Column:
    """Return a column of Python values, where None is missing."""
    missing_B = np.fromiter((value is None for value in values), dtype=np.bool_, count=len(values))
    return Column(_object_array(values), missing_B if missing_B.any() else None)


def objects(array: Any) -> list[Any]:
    """Return the values as they are in documents: times aware, a time without a zone as UTC; what Python's types cannot hold
    as integers."""
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        stored = objects(array.storage)
        if kind.extension_name == "arrow.uuid":
            return [None if value is None else str(UUID(bytes=value)) for value in stored]
        return stored
    if types.is_timestamp(kind):
        return [_time(value, kind.unit) for value in array.view(pa.int64()).to_pylist()]
    if types.is_duration(kind):
        return [_duration(value, kind.unit) for value in array.view(pa.int64()).to_pylist()]
    if types.is_time(kind):
        return _python_values(array.cast(pa.time64("us"), safe=False))
    if types.is_dictionary(kind):
        values = [*objects(array.dictionary), None]
        return [values[-1 if index is None else index] for index in array.indices.to_pylist()]
    if types.is_struct(kind):
        names = [kind.field(index).name for index in range(kind.num_fields)]
        columns = [objects(field) for field in array.flatten()]
        rows: list[Any] = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
        return _with_nulls(rows, array)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind) or types.is_map(kind):
        return _lists(array)
    return _python_values(array)


def _lists(array: Any) -> list[Any]:
    kind = array.type
    if types.is_map(kind):
        # A map's entries are a struct of the key and the value; keys of documents are text.
        offsets = np.asarray(array.offsets).tolist()
        first, length = offsets[0], offsets[-1] - offsets[0]
        entries = zip(objects(array.keys.slice(first, length)), objects(array.items.slice(first, length)), strict=True)
        pairs = [list(islice(entries, end - start)) for start, end in pairwise(offsets)]
        is_text = types.is_string(kind.key_type) or types.is_large_string(kind.key_type)
        rows: list[Any] = [dict(row) if is_text else list(map(list, row)) for row in pairs]
        return _with_nulls(rows, array)
    elements = objects(array.flatten())
    if types.is_fixed_size_list(kind):
        lengths = [0 if missing else kind.list_size for missing in np.asarray(array.is_null()).tolist()]
    else:
        lengths = [length or 0 for length in array.value_lengths().to_pylist()]
    rows, start = [], 0
    for length in lengths:
        rows.append(elements[start : start + length])
        start += length
    return _with_nulls(rows, array)


def _with_nulls(rows: list[Any], array: Any) -> list[Any]:
    if not array.null_count:
        return rows
    return [None if missing else row for row, missing in zip(rows, np.asarray(array.is_null()).tolist(), strict=True)]


def _filled(array: Any, value: Any) -> Any:
    return array.fill_null(value) if array.null_count else array


def _integers(values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype == np.uint64 and len(values) and values.max() > np.iinfo(np.int64).max:
        return values.astype(object)
    return values.astype(np.int64, copy=False)


def _matrix(array: Any) -> NDArray[Any] | None:
    """Return lists of numbers of equal length as a matrix, [B, N]; None for all other values."""
    kind = array.type
    if not (types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)) or not len(array):
        return None
    inner = kind.value_type
    if not (types.is_float32(inner) or types.is_float64(inner) or types.is_integer(inner)):
        return None
    elements = array.flatten()
    length, rest = divmod(len(elements), len(array))
    if elements.null_count or rest or length == 0:
        return None
    if not types.is_fixed_size_list(kind) and not (np.asarray(array.value_lengths()) == length).all():
        return None
    values = elements.to_numpy()
    if types.is_integer(inner):
        values = _integers(values)
    return None if values.dtype == object else values.reshape(len(array), length)


def _object_array(values: Sequence[Any]) -> NDArray[Any]:
    return np.fromiter(values, dtype=object, count=len(values))


def _python_values(array: Any) -> list[Any]:
    """Return the values of an array as pyarrow converts them, and as text what it refuses, such as dates after 9999."""
    try:
        return array.to_pylist()  # type: ignore[no-any-return]
    except (ValueError, OverflowError, ArithmeticError):
        return [_python_value(scalar) for scalar in array]


def _python_value(scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except (ValueError, OverflowError, ArithmeticError):
        return f"{scalar.type} out of range"


def _time(value: int | None, unit: str) -> Any:
    if value is None:
        return None
    try:
        return _EPOCH + _timedelta(value, unit)
    except OverflowError:
        return value


def _duration(value: int | None, unit: str) -> Any:
    if value is None:
        return None
    try:
        return _timedelta(value, unit)
    except OverflowError:
        return value


def _timedelta(value: int, unit: str) -> timedelta:
    seconds, rest = divmod(value, _PER_SECOND[unit])
    return timedelta(seconds=seconds, microseconds=rest * 1_000_000 // _PER_SECOND[unit])
