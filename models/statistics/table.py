"""The statistics of all columns of a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np

from forebay.models.statistics.column import ColumnStatistics, as_floats
from forebay.models.statistics.correlations import Correlations
from forebay.models.statistics.number_distribution import MAX_EXACT
from forebay.schemas.errors import DataError


class TableStatistics:
    """What is known about a table after the record batches that were added.

    schema: the Arrow schema of the batches.
    columns: names of the columns to describe; all if omitted.
    correlations: whether to correlate the columns of numbers and truth values.
    """

    def __init__(
        self,
        schema: Any,
        columns: Sequence[str] = (),
        *,
        correlations: bool = False,
        max_exact: int = MAX_EXACT,
    ) -> None:
        names = list(schema.names)
        self._places = [_place(names, name) for name in dict.fromkeys(columns)] if columns else range(len(names))
        self.columns = [ColumnStatistics(names[place], schema.field(place).type, max_exact) for place in self._places]
        self.rows = 0
        self.correlated = [column for column in self.columns if column.kind in ("number", "boolean")]
        self.correlations = Correlations(len(self.correlated)) if correlations else None

    def add(self, batch: Any) -> None:
        """Add the rows of a record batch."""
        self.rows += batch.num_rows
        arrays = [batch.column(place) for place in self._places]
        for column, array in zip(self.columns, arrays, strict=True):
            column.add(array)
        if self.correlations is not None and self.correlated and batch.num_rows:
            matched = zip(self.columns, arrays, strict=True)
            numbers = [as_floats(array, column.type) for column, array in matched if column in self.correlated]
            self.correlations.add(np.stack(numbers, axis=1))

    def merge(self, other: TableStatistics) -> None:
        """Add the rows of another part of the same table, which is not changed."""
        if len(self.columns) != len(other.columns):
            raise ValueError("the tables have different columns")
        self.rows += other.rows
        for column, added in zip(self.columns, other.columns, strict=True):
            column.merge(added)
        if self.correlations is not None and other.correlations is not None:
            self.correlations.merge(other.correlations)


def describe(
    batches: Iterable[Any],
    columns: Sequence[str] = (),
    *,
    correlations: bool = False,
    on_rows: Callable[[int], None] = lambda rows: None,
) -> TableStatistics | None:
    """Return the statistics of record batches, read once; None if there is no batch.

    columns, correlations: as for TableStatistics. Raises DataError for a column that does not exist.
    on_rows: called after each batch with the number of rows so far.
    """
    table: TableStatistics | None = None
    for batch in batches:
        if table is None:
            table = TableStatistics(batch.schema, columns, correlations=correlations)
        table.add(batch)
        on_rows(table.rows)
    return table


def _place(names: Sequence[str], name: str) -> int:
    if names.count(name) == 1:
        return names.index(name)
    if name in names:
        raise DataError(
            f"the column {name!r} occurs {names.count(name)} times",
            kind="column",
            remedy="rename the columns so that each name occurs once",
        )
    near = get_close_matches(name, names, n=1)
    shown = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    raise DataError(
        f"there is no column {name!r}; the columns are {shown}",
        kind="column",
        remedy=f"did you mean {near[0]!r}?" if near else "name columns as the file does",
    )
