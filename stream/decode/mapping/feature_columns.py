"""The fast path for features: columns of a format become the float32 matrix of a model.

The result equals that of the exact path; values that are not plainly valid make their row unsure, and the exact path decides.

Shapes: B events, F columns of the model, N features of an array.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from forebay.models.artefacts.date_parts import MAX_TIME, MIN_TIME, MISSING, parts_of
from forebay.models.artefacts.signature import Feature
from forebay.stream.core.records import FloatMatrix
from forebay.stream.decode.formats.base64_f32 import decode_base64_f32
from forebay.stream.decode.formats.document_columns import column_of_values
from forebay.stream.decode.formats.payload import Column, Path
from forebay.stream.decode.mapping.documents import plain_value
from forebay.stream.decode.mapping.sources import EventSources
from forebay.stream.decode.models import RowFormat

FeatureShape = Literal["names", "array", "packed"]
Bools = NDArray[np.bool_]

_MICROSECONDS: Final = {"s": 1_000_000, "ms": 1_000, "us": 1}
_SCALES: Final = {"milliseconds": 1_000, "seconds": 1_000_000}
_UNSURE: Final = object()  # a value that no feature takes


class FeatureColumns:
    """The columns that the features of one model are read from, where the events of a topic have them.

    shape: whether the features are fields, an array of numbers, or packed float32.
    """

    def __init__(self, row_format: RowFormat, sources: EventSources, shape: FeatureShape) -> None:
        self._format = row_format
        self._shape = shape
        self._at = sources.features
        packer = row_format.packer
        self._features: list[tuple[Feature, int, tuple[Path, ...]]] = []
        column = 0
        for feature in packer.features if shape == "names" else ():
            paths = sources.fields.get(feature.name) or ((*sources.features, feature.name),)
            self._features.append((feature, column, paths))
            column += len(feature.columns)
        # Where others apply to events without `features`, at least one feature has to be present.
        self._inner: list[Path] = [
            paths[0]
            for feature, _, paths in self._features
            if sources.is_conditional and feature.name not in sources.fields
        ]
        are_numbers = all(
            len(paths) == 1 and not feature.parts and not feature.is_text for feature, _, paths in self._features
        )
        # Where each feature is one number, the columns become the matrix together.
        self._numbers: list[Path] = [paths[0] for *_, paths in self._features] if are_numbers else []
        self.paths: list[Path] = [path for *_, paths in self._features for path in paths] or [sources.features]

    def matrix(self, columns: Mapping[Path, Column], num_rows: int) -> tuple[FloatMatrix, Bools]:
        """Return x_BF, and which rows the exact path has to decide."""
        if self._shape == "names":
            x_BF, unsure_B = self._of_fields(columns, num_rows)
        else:
            x_BF, unsure_B = self._of_rows(columns[self._at], num_rows)
        if self._shape != "packed":
            x_BF[np.isnan(x_BF)] = np.nan  # of all bit patterns that mean NaN, the one of the exact path
        return x_BF, unsure_B | self._format.invalid_rows(x_BF)

    def _of_fields(self, columns: Mapping[Path, Column], num_rows: int) -> tuple[FloatMatrix, Bools]:
        unsure_B = np.zeros(num_rows, dtype=np.bool_)
        joined = _joined([columns[path] for path in self._numbers]) if self._numbers else None
        if joined is not None:
            return joined, unsure_B | self._all_missing(columns, num_rows) if self._inner else unsure_B
        x_BF = np.empty((num_rows, self._format.packer.num_features), dtype=np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            for index, (feature, start, paths) in enumerate(self._features):
                column = columns[paths[0]] if len(paths) == 1 else _first_present([columns[path] for path in paths])
                if feature.parts:
                    time_B = _times(column, feature, unsure_B)
                    x_BF[:, start : start + len(feature.parts)] = parts_of(
                        time_B, feature.parts, feature.reference_time
                    )
                elif feature.is_text:
                    x_BF[:, start] = _codes(column, self._format.packer.codes[index], feature, unsure_B)
                else:
                    x_BF[:, start] = _numbers(column, unsure_B)
        if self._inner:
            unsure_B |= self._all_missing(columns, num_rows)
        return x_BF, unsure_B

    def _all_missing(self, columns: Mapping[Path, Column], num_rows: int) -> Bools:
        """Return which events have none of the features."""
        absent_B = np.ones(num_rows, dtype=np.bool_)
        for path in self._inner:
            missing_B = columns[path].missing_B
            if missing_B is None:
                return np.zeros(num_rows, dtype=np.bool_)
            absent_B &= missing_B
        return absent_B

    def _of_rows(self, column: Column, num_rows: int) -> tuple[FloatMatrix, Bools]:
        packer, values = self._format.packer, column.values
        unsure_B = np.zeros(num_rows, dtype=np.bool_) if column.missing_B is None else column.missing_B.copy()
        if values.ndim == 2:
            if values.dtype.kind in "fiub" and values.shape[1] == packer.num_features and not packer.has_texts:
                with np.errstate(over="ignore", invalid="ignore"):
                    return _as_doubles(values).astype(np.float32), unsure_B
            unsure_B[:] = True
        empty = bytes(packer.packed_bytes)
        rows = []
        for index, value in enumerate(values.tolist() if values.dtype == object else [None] * num_rows):
            try:
                row = self._packed(value)
            except Exception:  # the exact path finds the reason
                unsure_B[index], row = True, empty
            rows.append(row)
        return self._format.matrix(rows), unsure_B

    def _packed(self, value: Any) -> bytes:
        """Return the packed row of one event. Raises any exception if it is not plainly valid."""
        packer = self._format.packer
        if (type(value) is list) != (self._shape == "array"):
            raise ValueError("the features have another shape than those of the other events")
        if type(value) is list:
            return packer.pack(*packer.arrange(value))
        if packer.has_texts:
            raise ValueError("codes are validated one by one")
        row = decode_base64_f32(value) if type(value) is str else value
        if type(row) is not bytes or len(row) != packer.row_bytes:
            raise ValueError("not a row")
        return row


def feature_shape(features: object, sources: EventSources, row_format: RowFormat) -> FeatureShape | None:
    """Return the shape of features like these; None if only the exact path reads them."""
    if sources.fields or isinstance(features, dict):
        return "names" if row_format.packer.has_names else None
    if isinstance(features, list):
        return "array"
    return "packed" if isinstance(features, str | bytes) else None


def _joined(columns: Sequence[Column]) -> FloatMatrix | None:
    """Return columns of floats as a matrix, with NaN for missing values; None if there are others."""
    for column in columns:
        if column.values.dtype.kind != "f" or column.values.ndim > 1 or column.unit is not None:
            return None
    with np.errstate(over="ignore", invalid="ignore"):
        x_BF: FloatMatrix = np.stack(
            [column.values for column in columns], axis=1, dtype=np.float32, casting="same_kind"
        )
    for number, column in enumerate(columns):
        if column.missing_B is not None:
            x_BF[column.missing_B, number] = np.nan
    return x_BF


def _as_doubles(values: NDArray[Any]) -> NDArray[Any]:
    """Return numbers as float64, from which they are rounded to float32 as `struct.pack` does."""
    return values if values.dtype.kind == "f" else values.astype(np.float64)


def _numbers(column: Column, unsure_B: Bools) -> NDArray[Any]:
    values = column.values
    if values.dtype.kind in "fiub" and values.ndim == 1 and column.unit is None:
        numbers_B = _as_doubles(values)
        return numbers_B if column.missing_B is None else np.where(column.missing_B, np.nan, numbers_B)
    numbers_B = np.full(len(values), np.nan)
    if column.unit is not None or values.dtype != object:
        unsure_B |= True if column.missing_B is None else ~column.missing_B
        return numbers_B
    for index, value in enumerate(values.tolist()):
        if value is None or (column.missing_B is not None and column.missing_B[index]):
            continue
        if type(value) is Decimal:
            value = float(value) if value.is_finite() else math.nan
        try:
            if type(value) not in (float, int, bool):
                raise TypeError
            numbers_B[index] = value
        except (TypeError, OverflowError):
            unsure_B[index] = True
    return numbers_B


def _codes(column: Column, codes: Any, feature: Feature, unsure_B: Bools) -> NDArray[Any]:
    values = column.values
    codes_B = np.full(len(values), np.nan)
    if values.dtype != object:
        unsure_B |= True if column.missing_B is None else ~column.missing_B
        return codes_B
    texts = values.tolist()
    present_B = slice(None) if column.missing_B is None else ~column.missing_B
    present = values[present_B].tolist()
    if set(map(type, present)) <= {str}:
        try:
            codes_B[present_B] = list(map(codes.__getitem__, present))
            return codes_B
        except KeyError:
            pass
    for index, text in enumerate(texts):
        if text is None or (column.missing_B is not None and column.missing_B[index]):
            continue
        try:
            if type(text) is not str:
                raise TypeError
            codes_B[index] = codes[text]
        except (KeyError, TypeError, ValueError):
            unsure_B[index] = True
    return codes_B


def _times(column: Column, feature: Feature, unsure_B: Bools) -> NDArray[np.int64]:
    values, missing_B = column.values, column.missing_B
    time_format = feature.time_format
    if values.dtype == np.int64 and values.ndim == 1:
        if column.unit == "ns":
            unsure_B |= values % 1000 != 0  # a document has whole microseconds
            time_B = values // 1000
        else:
            scale = _MICROSECONDS[column.unit] if column.unit else _SCALES[time_format.unit]
            is_far_B = (values > MAX_TIME // scale) | (values < MIN_TIME // scale)
            unsure_B |= is_far_B if missing_B is None else is_far_B & ~missing_B
            time_B = np.where(is_far_B, 0, values) * scale
        is_out_B = (time_B < MIN_TIME) | (time_B > MAX_TIME)
        unsure_B |= is_out_B if missing_B is None else is_out_B & ~missing_B
        time_B = np.where(is_out_B, 0, time_B)
        return time_B if missing_B is None else np.where(missing_B, MISSING, time_B)
    time_B = np.full(len(values), MISSING, dtype=np.int64)
    for index, value in enumerate(values.tolist()):
        if value is None or (missing_B is not None and missing_B[index]):
            continue
        try:
            time_B[index] = time_format[plain_value(value)]
        except (ValueError, TypeError):
            unsure_B[index] = True
    return time_B


def _first_present(columns: Sequence[Column]) -> Column:
    """Return a column with the first value that each event has."""
    first = columns[0]
    if first.missing_B is None or not first.missing_B.any():
        return first
    if any(column.unit is not None or column.values.ndim > 1 for column in columns):
        return Column(np.full(len(first.values), _UNSURE))
    values: list[Any] = [None] * len(first.values)
    for column in reversed(columns):
        listed = column.values.tolist()
        for index, value in enumerate(listed):
            if column.missing_B is None or not column.missing_B[index]:
                values[index] = value
    return column_of_values(values)
