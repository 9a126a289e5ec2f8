"""Code a table's rows as a worker codes events, once, into files that are mapped into memory.

Shapes: N usable rows, F features, b rows of a batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.date_parts import parts_of
from forebay.models.artefacts.signature import Feature, Signature
from forebay.models.artefacts.text_codes import code_table
from forebay.models.training.column_scan import as_float64, as_text
from forebay.models.training.recipe_sections import DataSection
from forebay.models.training.row_files import RowFile
from forebay.models.training.table_dates import dates_of
from forebay.schemas.errors import DataError

NO_TIME: Final = np.iinfo(np.int64).min


@dataclass(frozen=True, slots=True, eq=False)
class CodedTable:
    """The usable rows, in the order of the source.

    x_NF: as a worker codes the features. y_N: classes from 0, or values; float32.
    keys_N, ids_N: 64-bit digests; None without such a column. times_N: ms since 1970; None without.
    dropped: how many rows are not used, by reason.
    """

    signature: Signature
    x_NF: FloatArray
    y_N: FloatArray
    keys_N: npt.NDArray[np.uint64] | None
    ids_N: npt.NDArray[np.uint64] | None
    times_N: npt.NDArray[np.int64] | None
    dropped: dict[str, int]

    def __len__(self) -> int:
        return len(self.x_NF)


def code_table_rows(
    name: str, batches: Iterable[pa.RecordBatch], signature: Signature, data: DataSection, folder: Path
) -> CodedTable:
    """Return the coded rows in files of `folder`. Rows without a label, and rows that a worker would reject, are dropped.

    Raises DataError if no row remains or a time cannot be read.
    """
    roles = {"keys": data.key, "ids": data.id, "times": data.time}
    x_file, y_file = RowFile(folder / "x.f32", signature.num_features), RowFile(folder / "y.f32", 1)
    parts: dict[str, list[npt.NDArray[Any]]] = {role: [] for role, column in roles.items() if column is not None}
    dropped = {"no label": 0, "infinite or beyond float32": 0, "no time": 0}
    with x_file, y_file:
        for batch in batches:
            x_bF = np.empty((len(batch), signature.num_features), dtype=np.float32)
            place = 0
            for feature in signature.features:
                end = place + len(feature.columns)
                x_bF[:, place:end] = _coded(batch.column(feature.name), feature)
                place = end
            y_b = _labels(batch.column(data.label), signature)
            has_label_b = ~np.isnan(y_b)
            is_finite_b = ~np.isinf(x_bF).any(axis=1) & ~np.isinf(y_b)
            columns = {role: _role(name, role, batch, roles[role]) for role in parts}
            has_time_b = columns["times"] != NO_TIME if "times" in columns else np.ones(len(batch), dtype=np.bool_)
            dropped["no label"] += int((~has_label_b).sum())
            dropped["infinite or beyond float32"] += int((has_label_b & ~is_finite_b).sum())
            dropped["no time"] += int((has_label_b & is_finite_b & ~has_time_b).sum())
            keep_b = has_label_b & is_finite_b & has_time_b
            x_file.append(x_bF[keep_b])
            y_file.append(y_b[keep_b, None])
            for role, column in columns.items():
                parts[role].append(column[keep_b])
    x_NF = x_file.rows()
    if not len(x_NF):
        raise DataError(
            f"{name}: no row can be used: {_list(dropped)}", kind="empty", remedy="check the label and the columns"
        )
    joined = {role: np.concatenate(columns) for role, columns in parts.items()}
    return CodedTable(
        signature,
        x_NF,
        y_file.rows()[:, 0],
        keys_N=joined.get("keys"),
        ids_N=joined.get("ids"),
        times_N=joined.get("times"),
        dropped={reason: count for reason, count in dropped.items() if count},
    )


def _list(dropped: dict[str, int]) -> str:
    return ", ".join(f"{count:,} rows with {reason}" for reason, count in dropped.items() if count)


def _coded(column: pa.Array, feature: Feature) -> FloatArray:
    """Return the columns of a feature [b, 1] or, for the parts of a time, [b, P]."""
    if not feature.parts:
        return _codes(column, feature)[:, None]
    return parts_of(dates_of(column, feature.time_format), feature.parts, feature.reference_time)


def _codes(column: pa.Array, feature: Feature) -> FloatArray:
    if not feature.is_text:
        with np.errstate(over="ignore", invalid="ignore"):
            codes: FloatArray = as_float64(column).astype(np.float32)
            return codes
    return _mapped(as_text(column), code_table(feature))


def _labels(column: pa.Array, signature: Signature) -> FloatArray:
    """Return classes from 0 or values, float32 [b]; NaN for a missing label."""
    if signature.task == "regression":
        with np.errstate(over="ignore", invalid="ignore"):
            labels: FloatArray = as_float64(column).astype(np.float32)
            return labels
    codes = {label: float(code) for code, label in enumerate(signature.labels)}
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_decimal(column.type):
        values = as_float64(column)
        distinct, place_b = np.unique(values, return_inverse=True)
        table = [codes.get(f"{value:.0f}", np.nan) for value in distinct.tolist()]
        classes: FloatArray = np.array(table, dtype=np.float32)[place_b]
        return classes
    return _mapped(column.cast(pa.string()), codes)


def _mapped(column: pa.Array, codes: Mapping[str, float]) -> FloatArray:
    """Return the code of each text [b]: one look-up for each distinct text. A text without a code is missing."""
    encoded = pc.dictionary_encode(column, null_encoding="encode")
    table = []
    for text in encoded.dictionary.to_pylist():
        try:
            table.append(np.nan if text is None else codes[text])
        except KeyError:
            table.append(np.nan)
    if not table:
        return np.empty(0, dtype=np.float32)
    found: FloatArray = np.array(table, dtype=np.float32)[encoded.indices.to_numpy(zero_copy_only=False)]
    return found


def _role(name: str, role: str, batch: pa.RecordBatch, column: str | None) -> npt.NDArray[Any]:
    assert column is not None
    values = batch.column(column)
    return _times(name, column, values) if role == "times" else _digests(values)


def _digests(values: pa.Array) -> npt.NDArray[np.uint64]:
    """Return a 64-bit digest of each value's text; all missing values are one."""
    encoded = pc.dictionary_encode(values.cast(pa.string()), null_encoding="encode")
    table = [
        0 if text is None else xxhash.xxh3_64_intdigest(text.encode()) or 1 for text in encoded.dictionary.to_pylist()
    ]
    if not table:
        return np.empty(0, dtype=np.uint64)
    digests: npt.NDArray[np.uint64] = np.array(table, dtype=np.uint64)[encoded.indices.to_numpy(zero_copy_only=False)]
    return digests


def _times(name: str, column: str, values: pa.Array) -> npt.NDArray[np.int64]:
    """Return ms since 1970; `NO_TIME` where there is none. Whole numbers are taken as they are."""
    kind = values.type
    try:
        if pa.types.is_floating(kind):
            values = pc.floor(values).cast(pa.int64())
        elif not pa.types.is_integer(kind):
            if pa.types.is_string(kind) or pa.types.is_large_string(kind):
                # Text with an offset, or without: then in UTC, for order alone.
                values = pc.cast(pc.replace_substring_regex(values, r"(Z|[+-]\d\d:?\d\d)$", ""), pa.timestamp("ms"))
            values = values.cast(pa.timestamp("ms", tz=getattr(values.type, "tz", None)), safe=False).cast(pa.int64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(
            f"{name}: the time column {column!r} is {kind}: {str(error).splitlines()[0]}",
            kind="time",
            remedy="give timestamps, RFC 3339 texts, or whole numbers that grow with time",
        ) from None
    times: npt.NDArray[np.int64] = values.cast(pa.int64()).fill_null(NO_TIME).to_numpy(zero_copy_only=False)
    return times
