"""A sample of the data, from which features are read: a CSV file or a table.

Numbers become float32 features, texts become categories, or hashed if there are many; a column with empty cells is nullable.
The rows become golden rows.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.signature import Feature, Signature
from forebay.models.artefacts.text_codes import code_table
from forebay.schemas.errors import ModelError

MAX_ROWS: Final = 100_000
MAX_CATEGORIES: Final = 1000
"""A column with more distinct texts is hashed."""
BUCKETS: Final = 4096

_TABLE: Final = "the signature's table"

Cell = float | str | None
"""A number, a text, or None for a missing value."""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """The columns of a sample without the target. All columns have the same length.

    place: names the sample in messages.
    target: the column with the labels or values that the model predicts; empty if there is none.
    """

    place: str
    columns: Mapping[str, Sequence[Cell]]
    target: Sequence[Cell] = ()

    def split(self, target: str) -> Sample:
        """Return the sample with one of its columns as the target. Raises ModelError if there is no such column."""
        if target not in self.columns:
            shown = ", ".join(list(self.columns)[:20])
            raise _error(f"{self.place}: there is no column {target!r}", f"choose one of {shown}")
        others = {name: cells for name, cells in self.columns.items() if name != target}
        return Sample(self.place, others, self.columns[target])

    def features(self) -> tuple[Feature, ...]:
        """Return a feature for each column. Raises ModelError for a column without values."""
        return tuple(self._feature(name, cells) for name, cells in self.columns.items())

    def labels(self) -> tuple[str, ...]:
        """Return the distinct values of the target in order, as texts: numbers by size, texts by character."""
        values = {cell for cell in self.target if cell is not None}
        numbers = sorted(value for value in values if isinstance(value, float))
        texts = sorted(value for value in values if isinstance(value, str))
        return tuple(f"{value:g}" for value in numbers) + tuple(texts)

    def has_text_target(self) -> bool:
        """Return whether a value of the target is a text, so that the model is a classifier."""
        return any(isinstance(cell, str) for cell in self.target)

    def rows(self, signature: Signature) -> FloatArray | None:
        """Return the rows as a worker encodes events, float32 [N, F], without those that it would reject.

        None if there are none, or the sample lacks a feature of the signature, or the signature has times.
        """
        features = signature.features
        if (
            signature.has_times
            or signature.window is not None
            or not features
            or any(one.name not in self.columns for one in features)
        ):
            return None
        x_NF = np.column_stack([_encoded(feature, self.columns[feature.name]) for feature in features])
        is_valid_N = ~np.isinf(x_NF).any(axis=1)
        for column, feature in enumerate(features):
            if not feature.nullable:
                is_valid_N &= ~np.isnan(x_NF[:, column])
        rows_NF = np.ascontiguousarray(x_NF[is_valid_N])
        return rows_NF if len(rows_NF) else None

    def _feature(self, name: str, cells: Sequence[Cell]) -> Feature:
        present = [cell for cell in cells if cell is not None]
        if not present:
            raise _error(
                f"{self.place}: column {name!r} has no value", "leave the column out, or give rows that have values"
            )
        nullable = len(present) < len(cells)
        if all(isinstance(cell, float) for cell in present):
            return Feature(name, nullable=nullable)
        texts = sorted({_as_text(cell) for cell in present})
        if len(texts) > MAX_CATEGORIES:
            return Feature(name, "hashed", nullable=nullable, buckets=BUCKETS)
        return Feature(name, "category", tuple(texts), nullable=nullable)


def read_sample(source: object, target: str | None = None, *, argument: str = "signature") -> Sample:
    """Return the sample in a CSV file with a header (a path) or in a table; at most 100,000 rows are read.

    source: a path, a DataFrame of pandas or polars, or a Table or RecordBatch of pyarrow.

    target: the name of the column to leave out of the features.
    argument: what messages call the source.

    Raises ModelError that names the file, the line or column, and the remedy.
    """
    columns: Mapping[str, Sequence[Cell]]
    if isinstance(source, str | Path):
        place, columns = str(source), _read_csv(Path(source))
    elif _library(source) == "pandas" and hasattr(source, "columns"):
        place, columns = _TABLE, _read_table(source)
    elif _library(source) in ("polars", "pyarrow") and hasattr(source, "slice"):
        place, columns = _TABLE, _read_arrow_or_polars(source, argument)
    else:
        raise _error(
            f"{argument} is a {type(source).__name__}",
            "give a forebay.Signature, a DataFrame, a table of pyarrow, or the path of a CSV file with a header",
        )
    sample = Sample(place, columns)
    return sample if target is None else sample.split(target)


def sample_of_columns(place: str, names: Sequence[str], columns: Sequence[Sequence[object]]) -> Sample:
    """Return the sample of columns in memory, at most 100,000 rows of them. Raises ModelError like `read_sample`."""
    _check_header(place, names)
    if not columns or not len(columns[0]):
        raise _error(f"{place} has no rows", "give a few rows of the data")
    pairs = zip(names, columns, strict=True)
    return Sample(place, {name: _cells(place, name, islice(values, MAX_ROWS)) for name, values in pairs})


def _read_csv(path: Path) -> dict[str, Sequence[Cell]]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            lines = csv.reader(file)
            header = next(lines, [])
            _check_header(str(path), header)
            rows = list(islice(_csv_rows(path, lines, len(header)), MAX_ROWS))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise _error(f"{path}: cannot be read: {reason}", "give a CSV file in UTF-8 with a header") from None
    if not rows:
        raise _error(f"{path}: there is no row below the header", "give a CSV file with a few rows of the data")
    return {name: _typed([row[column] for row in rows]) for column, name in enumerate(header)}


def _csv_rows(path: Path, lines: Iterator[list[str]], width: int) -> Iterator[list[str]]:
    for number, line in enumerate(lines, start=2):
        if not line:
            continue
        if len(line) != width:
            raise _error(
                f"{path}: row {number} has {len(line)} cells; the header has {width}",
                "correct the file: one cell for each column",
            )
        yield line


def _check_header(place: str, header: Sequence[str]) -> None:
    for name in header:
        if not name or header.count(name) > 1:
            what = f"the column {name!r} occurs {header.count(name)} times" if name else "a column has no name"
            raise _error(f"{place}: {what}", "give each column a name of its own")
    if not header:
        raise _error(f"{place}: there is no header", "give a CSV file whose first line names the columns")


def _typed(cells: Sequence[str]) -> list[Cell]:
    """Return numbers if all cells that are not empty are numbers, else texts."""
    try:
        return [_number(float(cell)) if cell else None for cell in cells]
    except ValueError:
        return [cell or None for cell in cells]


def _number(value: float) -> Cell:
    return None if math.isnan(value) else value


def _library(source: object) -> str:
    return type(source).__module__.split(".")[0]


def _read_arrow_or_polars(source: Any, argument: str) -> Mapping[str, Sequence[Cell]]:
    head = source.slice(0, MAX_ROWS)
    if hasattr(head, "to_pydict"):
        names = list(head.schema.names)
        columns = [head.column(number).to_pylist() for number in range(len(names))]
    elif hasattr(head, "get_columns"):
        names, columns = list(head.columns), [column.to_list() for column in head.get_columns()]
    else:
        raise _error(f"{argument} is a {type(source).__name__}", "give a DataFrame, or a table of pyarrow")
    return sample_of_columns(_TABLE, names, columns).columns


def _cells(place: str, name: str, values: Iterable[object]) -> list[Cell]:
    cells: list[Cell] = []
    for value in values:
        if value is None or isinstance(value, str):
            cells.append(value or None)
        elif isinstance(value, bool | int | float | Decimal):
            cells.append(_number(float(value)))
        else:
            raise _error(
                f"{place}: column {name!r} holds a {type(value).__name__}; allowed are numbers and texts",
                "convert the column to numbers or texts, or leave it out",
            )
    return cells


def _read_table(table: Any) -> dict[str, Sequence[Cell]]:
    names = [str(name) for name in table.columns]
    _check_header(_TABLE, names)
    if not len(table):
        raise _error(f"{_TABLE} has no rows", "give a few rows of the data")
    head = table.iloc[:MAX_ROWS]
    return {name: _column(name, head.iloc[:, number]) for number, name in enumerate(names)}


def _column(name: str, column: Any) -> list[Cell]:
    pairs = zip(column.tolist(), column.isna().tolist(), strict=True)
    return _cells(_TABLE, name, (None if is_missing else value for value, is_missing in pairs))


def _encoded(feature: Feature, cells: Sequence[Cell]) -> FloatArray:
    if feature.dtype == "float32":
        with np.errstate(over="ignore"):
            return np.array([cell if isinstance(cell, float) else math.nan for cell in cells], dtype=np.float64).astype(
                np.float32
            )
    codes = code_table(feature)
    return np.array([_code(codes, cell) for cell in cells], dtype=np.float32)


def _code(codes: Mapping[str, float], cell: Cell) -> float:
    try:
        return math.nan if cell is None else codes[_as_text(cell)]
    except KeyError:
        return math.nan


def _as_text(cell: Cell) -> str:
    return f"{cell:g}" if isinstance(cell, float) else str(cell)


def _error(message: str, remedy: str) -> ModelError:
    return ModelError(message, kind="signature", remedy=remedy)
