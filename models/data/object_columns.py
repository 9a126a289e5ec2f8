"""Columns of objects: the types of the values of JSON, and record batches of rows that fit them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from forebay.models.data.columns import ARROW_TYPES, describe_type, misfit_remedy, selected_columns
from forebay.models.data.input_row import InvalidRow
from forebay.models.data.table_options import TableOptions
from forebay.models.data.time_columns import TIMESTAMP
from forebay.models.data.times import time_of

Values = Mapping[str, object]


class ObjectColumns:
    """The columns of objects. ignores_others: whether objects may have other names too."""

    def __init__(self, schema: pa.Schema, ignores_others: bool) -> None:
        self.schema = schema
        self._ignores_others = ignores_others
        self._types = dict(zip(schema.names, schema.types, strict=True))

    def misfit(self, place: str, values: Values) -> InvalidRow | None:
        """Return why an object is not a row of these columns; None if it is one."""
        for name, value in values.items():
            kind = self._types.get(name)
            if kind is None:
                if self._ignores_others:
                    continue
                return InvalidRow(
                    place,
                    f"column {name!r} is not in the first lines",
                    f"state its type, such as {name}=float64, or choose the columns to read; "
                    "--skip-bad-lines skips such lines",
                )
            if not fits(value, kind):
                shown = repr(value)
                shown = shown if len(shown) <= 60 else shown[:59] + "…"
                reason = f"column {name} is {shown}, but the column holds {describe_type(kind)}"
                return InvalidRow(place, reason, misfit_remedy(name, value))
        return None

    def batch(self, rows: Sequence[Values]) -> pa.RecordBatch:
        """Return rows that fit as a record batch."""
        arrays = [
            pa.array(_converted([row.get(name) for row in rows], kind), kind) for name, kind in self._types.items()
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)


def infer_schema(rows: Sequence[Values], place: str, options: TableOptions) -> pa.Schema:
    """Return the columns of the first rows, in the order in which they occur, with their types.

    Raises ConfigError for a chosen column that none of the rows has, and DataError.
    """
    found: dict[str, list[object]] = {}
    for row in rows:
        for name, value in row.items():
            found.setdefault(name, []).append(value)
    stated = {name: ARROW_TYPES[kind] for name, kind in options.types.items()}
    for name in stated:
        found.setdefault(name, [])
    names = selected_columns(place, list(found), options.columns)
    return pa.schema([(name, stated.get(name) or infer_type(found[name])) for name in names])


def infer_type(values: Sequence[object]) -> pa.DataType:
    """Return the type of the values of a column, up to the first one that has another type than those before."""
    try:
        return pa.infer_type(values)
    except (pa.ArrowException, OverflowError):
        pass
    first = next((_kind(value) for value in values if value is not None), None)
    end = next((index for index, value in enumerate(values) if value is not None and _kind(value) != first), 0)
    try:
        return pa.infer_type(values[:end])
    except (pa.ArrowException, OverflowError):
        return pa.string()


def _kind(value: object) -> str:
    return "number" if type(value) in (int, float) else type(value).__name__


def _converted(values: Sequence[Any], kind: pa.DataType) -> Sequence[Any]:
    """Return values that fit with floating-point numbers for whole ones: Arrow refuses some that are not exact."""
    of = pa.types
    if kind == TIMESTAMP:
        return [None if value is None else time_of(value) for value in values]
    if of.is_floating(kind):
        return [None if value is None else float(value) for value in values]
    if of.is_list(kind):
        return [None if value is None else _converted(value, kind.value_type) for value in values]
    if of.is_struct(kind):
        fields = {field.name: field.type for field in kind}
        return [
            None if value is None else {name: _converted([inner], fields[name])[0] for name, inner in value.items()}
            for value in values
        ]
    return values


def fits(value: object, kind: pa.DataType) -> bool:
    """Return whether a value of JSON is one of a type, or null."""
    of = pa.types
    if value is None:
        return True
    if kind == TIMESTAMP:
        return time_of(value) is not None
    if of.is_boolean(kind):
        return isinstance(value, bool)
    if of.is_integer(kind):
        low = 0 if of.is_unsigned_integer(kind) else -(2 ** (kind.bit_width - 1))
        return type(value) is int and low <= value < low + 2**kind.bit_width
    if of.is_floating(kind):
        return type(value) in (int, float)
    if of.is_string(kind):
        return isinstance(value, str)
    if of.is_list(kind):
        return isinstance(value, list) and all(fits(element, kind.value_type) for element in value)
    if of.is_struct(kind) and isinstance(value, dict):
        fields: dict[str, Any] = {field.name: field.type for field in kind}
        return all(name in fields and fits(inner, fields[name]) for name, inner in value.items())
    return False
