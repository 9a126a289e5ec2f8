"""A reader of Parquet: every Arrow type becomes an exact Python value, or the reason why it cannot be read.

Arrow's own conversion to Python fails for a whole batch because of one value (nanoseconds, the year 10000, an unknown time
zone, text that is not UTF-8). Therefore times are read as integers, and other columns value by value if the batch fails.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from itertools import pairwise
from typing import BinaryIO, Final

import pyarrow as pa
import pyarrow.parquet as pq

from forebay.models.data.arrow_files import arrow_batches, open_arrow
from forebay.models.data.input_row import InputRow, InputRows
from forebay.models.data.values import Instant, LocalTime, Unreadable
from forebay.schemas.errors import DataError

_BATCH_ROWS: Final = 1024
_PER_MS: Final = {"ms": 1, "us": 1_000, "ns": 1_000_000}
_DAY_MS: Final = 86_400_000
_NOT_UTF8: Final = Unreadable("text that is not UTF-8")
_READ_ERRORS: Final = (
    pa.ArrowException,
    OSError,
    ValueError,
    TypeError,
    LookupError,
    OverflowError,
    NotImplementedError,
)


def arrow_rows(stream: BinaryIO, name: str, check_columns: Callable[[Collection[str]], None]) -> InputRows:
    """Yield the rows of an Arrow file or stream. See `parquet_rows`."""
    try:
        file = open_arrow(stream)
        _check_names(name, file.schema)
    except _READ_ERRORS as error:
        raise DataError(
            f"{name}: the file cannot be read as Arrow: {error}",
            kind="unreadable",
            remedy="check the file, or set its format with --format",
        ) from error
    check_columns(file.schema.names)
    yield from _rows(arrow_batches(file), name, file.schema.names, "Arrow")


def parquet_rows(stream: BinaryIO, name: str, check_columns: Callable[[Collection[str]], None]) -> InputRows:
    """Yield the rows of a file. check_columns: receives the column names and can raise. Raises DataError."""
    try:
        file = pq.ParquetFile(stream)
        schema = file.schema_arrow
    except _READ_ERRORS as error:
        raise DataError(
            f"{name}: the file cannot be read as Parquet: {error}",
            kind="unreadable",
            remedy="check the file, or set its format with --format",
        ) from error
    _check_names(name, schema)
    check_columns(schema.names)
    yield from _rows(file.iter_batches(batch_size=_BATCH_ROWS), name, schema.names, "Parquet")


def _rows(batches: Iterator[pa.RecordBatch], name: str, columns: list[str], file_format: str) -> InputRows:
    number = 0
    try:
        for batch in batches:
            for row in zip(*map(python_values, batch.columns), strict=True):
                number += 1
                yield InputRow(number, dict(zip(columns, row, strict=True)), None)
    except _READ_ERRORS as error:
        raise DataError(
            f"{name}, after row {number}: the file cannot be read as {file_format}: {error}",
            kind="unreadable",
            remedy="write the file again, or convert it to CSV or JSON lines",
        ) from error


def _check_names(name: str, schema: pa.Schema) -> None:
    for path, names in _names("", schema):
        repeated = [column for column, count in Counter(names).items() if count > 1]
        if repeated:
            columns = f"fields of {path}" if path else "columns"
            raise DataError(
                f"{name}: several {columns} have the name {repeated[0]!r}",
                kind="header",
                remedy="give each a different name",
            )


def _names(path: str, fields: pa.Schema | pa.StructType) -> Iterator[tuple[str, list[str]]]:
    """Yield the column names, and the field names of each nested struct, each with the path that leads to them."""
    inner = list(fields)
    yield path, [field.name for field in inner]
    for field in inner:
        kind = field.type
        while (element := _element_type(kind)) is not None:
            kind = element
        if pa.types.is_struct(kind):
            yield from _names(f"{path}.{field.name}".lstrip("."), kind)


def _element_type(kind: pa.DataType) -> pa.DataType | None:
    if pa.types.is_map(kind):
        return kind.item_type
    return kind.value_type if _is_list(kind) or pa.types.is_dictionary(kind) else None


def _is_list(kind: pa.DataType) -> bool:
    of = pa.types
    return bool(
        of.is_list(kind)
        or of.is_large_list(kind)
        or of.is_fixed_size_list(kind)
        or of.is_list_view(kind)
        or of.is_large_list_view(kind)
    )


def python_values(array: pa.Array) -> list[object]:
    """Return the values of an array: times as Instant or LocalTime, maps as dict, values that cannot be read as Unreadable."""
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return _extension_values(array)
    if pa.types.is_dictionary(kind):
        values = python_values(array.dictionary)
        return [None if index is None else values[index] for index in array.indices.to_pylist()]
    if pa.types.is_run_end_encoded(kind):
        return python_values(array.cast(kind.value_type))
    if pa.types.is_map(kind):
        return [_as_dict(value) for value in _list_values(array.cast(_list_of_pairs(kind)))]
    if _is_list(kind):
        return _list_values(array)
    if pa.types.is_struct(kind):
        return _struct_values(array)
    if pa.types.is_temporal(kind):
        return _temporal_values(array)
    try:
        return array.to_pylist()  # type: ignore[no-any-return]
    except _READ_ERRORS:
        return [_scalar(value) for value in array]


def _scalar(value: pa.Scalar) -> object:
    try:
        return value.as_py()
    except UnicodeDecodeError:
        return _NOT_UTF8
    except _READ_ERRORS as error:
        return Unreadable(f"a value of the type {value.type} that cannot be read ({error})")


def _temporal_values(array: pa.Array) -> list[object]:
    kind = array.type
    if pa.types.is_date(kind):
        unit_ms, storage = (1, pa.int64()) if pa.types.is_date64(kind) else (_DAY_MS, pa.int32())
        return [None if day is None else LocalTime(day * unit_ms) for day in array.cast(storage).to_pylist()]
    if not pa.types.is_timestamp(kind):
        type_name = "a time of day" if pa.types.is_time(kind) else "a duration"
        return [
            None if missing else Unreadable(f"{type_name}, which is not supported")
            for missing in array.is_null().to_pylist()
        ]
    # Arrow stores times with a zone as UTC, so the name of the zone does not matter.
    time_type = LocalTime if kind.tz is None else Instant
    ticks = array.cast(pa.int64()).to_pylist()
    if kind.unit == "s":
        return [None if tick is None else time_type(tick * 1000) for tick in ticks]
    per_ms = _PER_MS[kind.unit]
    return [None if tick is None else time_type((tick + per_ms // 2) // per_ms) for tick in ticks]


def _list_values(array: pa.Array) -> list[object]:
    """Return the values of an array of lists of any kind: convert all elements at once, then slice them."""
    if pa.types.is_fixed_size_list(array.type):
        size = array.type.list_size
        elements = python_values(array.values.slice(array.offset * size, len(array) * size))
        slices = [(index * size, size) for index in range(len(array))]
    elif pa.types.is_list_view(array.type) or pa.types.is_large_list_view(array.type):
        elements = python_values(array.values)
        slices = list(zip(array.offsets.to_pylist(), array.sizes.to_pylist(), strict=True))
    else:
        ends = array.offsets.to_pylist()
        first = ends[0] if ends else 0
        elements = python_values(array.values.slice(first, ends[-1] - first if ends else 0))
        slices = [(start - first, end - start) for start, end in pairwise(ends)]
    missing = array.is_null().to_pylist()
    return [
        None if absent else elements[start : start + size]
        for absent, (start, size) in zip(missing, slices, strict=True)
    ]


def _struct_values(array: pa.Array) -> list[object]:
    names = [array.type.field(index).name for index in range(array.type.num_fields)]
    columns = [python_values(column) for column in array.flatten()]
    rows: Iterator[tuple[object, ...]] = zip(*columns, strict=True) if columns else iter([()] * len(array))
    missing = array.is_null().to_pylist()
    return [None if absent else dict(zip(names, row, strict=True)) for absent, row in zip(missing, rows, strict=True)]


def _list_of_pairs(kind: pa.MapType) -> pa.DataType:
    return pa.list_(pa.struct([pa.field("key", kind.key_type), pa.field("value", kind.item_type)]))


def _as_dict(pairs: object) -> object:
    """Convert the pairs of a map to a dict; its keys must be text and distinct, as in a JSON object."""
    if not isinstance(pairs, list):
        return pairs
    keys = [pair["key"] for pair in pairs]
    if not all(isinstance(key, str) for key in keys):
        return Unreadable("a map whose keys are not text")
    if len(set(keys)) != len(keys):
        return Unreadable("a map with a repeated key")
    return {pair["key"]: pair["value"] for pair in pairs}


def _extension_values(array: pa.Array) -> list[object]:
    """Return the values of an extension type by its storage type; UUIDs as they are."""
    if array.type.extension_name != "arrow.uuid":
        return python_values(array.storage)
    return [_scalar(value) for value in array]
