"""Columns of tables: their names in the files, and their types."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

import pyarrow as pa

from forebay.models.data.table_options import ColumnType
from forebay.models.data.time_columns import TIMESTAMP
from forebay.schemas.errors import ConfigError, DataError

ARROW_TYPES: Final[dict[ColumnType, pa.DataType]] = {
    "int64": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "text": pa.string(),
    "timestamp": TIMESTAMP,
}
_DESCRIPTIONS: Final = {
    pa.int64(): "whole numbers (int64)",
    pa.float64(): "numbers (float64)",
    pa.bool_(): "true and false (bool)",
    pa.string(): "text",
    TIMESTAMP: "times (ISO 8601, or milliseconds since 1970)",
    pa.null(): "no values in the first rows",
}


def describe_type(kind: pa.DataType) -> str:
    """Return what a column of a type holds, for messages."""
    return _DESCRIPTIONS.get(kind, f"values of the type {kind}")


def misfit_remedy(column: str, found: object) -> str:
    """Return what to do about a value that does not fit into its column."""
    kind: ColumnType = "float64" if isinstance(found, int | float) and not isinstance(found, bool) else "text"
    return f"fix the value, or state the column's type, such as {column}={kind}; --skip-bad-lines skips such lines"


def selected_columns(place: str, found: Sequence[str], wanted: Sequence[str] | None) -> tuple[str, ...]:
    """Return the columns to read. Raises ConfigError for one that does not exist, DataError for a repeated name."""
    repeated = [name for name, count in Counter(found).items() if count > 1]
    if repeated:
        raise DataError(
            f"{place}: several columns have the name {repeated[0]!r}",
            kind="header",
            remedy="give each a different name",
        )
    if wanted is None:
        return tuple(found)
    for name in wanted:
        if name not in found:
            near = get_close_matches(name, found, n=1)
            raise ConfigError(
                f"{place}: there is no column {name!r}",
                kind="no_such_column",
                remedy=f"did you mean {near[0]!r}?" if near else f"the columns are {', '.join(list(found)[:20])}",
            )
    return tuple(wanted)


def check_types(place: str, found: Collection[str], stated: Collection[str]) -> None:
    """Raise ConfigError if a type is stated for a column that does not exist."""
    for name in stated:
        if name not in found:
            selected_columns(place, list(found), [name])


@dataclass(frozen=True, slots=True)
class Expected:
    """The columns and types of the first file, which the others must have too. place: of the first file."""

    schema: pa.Schema
    place: str

    def check(self, place: str, found: Collection[str], *, chosen: bool) -> None:
        """Raise DataError unless a file has these columns; their order may differ.

        chosen: whether the columns were chosen, so that a file may have others too.
        """
        names = self.schema.names
        missing = [name for name in names if name not in found]
        more = [] if chosen else [name for name in found if name not in names]
        if missing or more:
            parts = [f"lacks {', '.join(map(repr, missing[:5]))}"] if missing else []
            parts += [f"also has {', '.join(map(repr, more[:5]))}"] if more else []
            raise DataError(
                f"{place}: the columns are not those of {self.place}: the file {' and '.join(parts)}",
                kind="columns",
                remedy="read only files with the same columns, or choose columns that all of them have",
            )
