"""How to read tables, and the record of rows that were skipped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal

from forebay.models.data.csv_rows import CsvOptions
from forebay.models.data.input_row import InvalidRow
from forebay.schemas.errors import ConfigError

TableFormat = Literal["jsonl", "csv", "tsv", "parquet", "arrow"]
TABLE_FORMATS: Final[tuple[TableFormat, ...]] = ("jsonl", "csv", "tsv", "parquet", "arrow")

ColumnType = Literal["int64", "float64", "bool", "text", "timestamp"]
COLUMN_TYPES: Final[tuple[ColumnType, ...]] = ("int64", "float64", "bool", "text", "timestamp")
OTHER_NAMES: Final[Mapping[str, ColumnType]] = MappingProxyType(
    {"integer": "int64", "number": "float64", "boolean": "bool", "time": "timestamp"}
)
"""Names that people give to types."""

_MAX_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class TableOptions:
    """How to read a table.

    format: None to infer it from the file name.
    columns: the columns to read, in this order; None for all.
    types: types of columns of text formats; the others are found from the first rows. The values of a timestamp are ISO 8601
        texts, in UTC if they have no offset, or milliseconds since 1970.
    csv: how to read CSV and TSV.
    skip_invalid: whether to skip and count rows that cannot be read; otherwise the first one is an error.
    workers: the number of threads that parse. prefetch: the number of batches that are read in advance; 0 for none.
    """

    format: TableFormat | None = None
    columns: tuple[str, ...] | None = None
    types: Mapping[str, ColumnType] = field(default_factory=dict)
    csv: CsvOptions = field(default_factory=CsvOptions)
    skip_invalid: bool = False
    workers: int = 1
    prefetch: int = 2

    def __post_init__(self) -> None:
        for column, kind in self.types.items():
            if kind not in COLUMN_TYPES:
                raise ConfigError(
                    f"the type of the column {column} is {kind!r}; allowed is {', '.join(COLUMN_TYPES)}",
                    kind="column_type",
                )
        if self.workers < 1 or self.prefetch < 0:
            raise ConfigError("a table needs at least one worker, and no negative number of batches in advance")


def column_type(column: str, name: str) -> ColumnType:
    """Return the type with this name. Raises ConfigError that names the column and the allowed names."""
    kind = OTHER_NAMES.get(name, name)
    for known in COLUMN_TYPES:
        if kind == known:
            return known
    raise ConfigError(
        f"the type of the column {column} is {name!r}",
        kind="column_type",
        remedy=f"allowed is {', '.join((*OTHER_NAMES, 'text'))} (or {', '.join(COLUMN_TYPES)})",
    )


@dataclass(slots=True)
class SkippedRows:
    """The rows that were skipped: their number by file, and the first few of them."""

    by_file: dict[str, int] = field(default_factory=dict)
    first: list[InvalidRow] = field(default_factory=list)

    @property
    def count(self) -> int:
        """The number of all rows that were skipped."""
        return sum(self.by_file.values())

    def add(self, file: str, row: InvalidRow) -> None:
        """Count a row of a file."""
        self.by_file[file] = self.by_file.get(file, 0) + 1
        if len(self.first) < _MAX_SHOWN:
            self.first.append(row)

    def clear(self) -> None:
        """Forget all rows, because the source is read again."""
        self.by_file.clear()
        self.first.clear()
