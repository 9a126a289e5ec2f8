"""The statistics of a table as JSON values, from which tables, pages and scripts take what they show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from forebay.models.statistics.column import ColumnStatistics
from forebay.models.statistics.number_distribution import Frequency, NumberDistribution, histogram_of
from forebay.models.statistics.table import TableStatistics

VERSION: Final = 1
NUM_BINS: Final = 20
NUM_FREQUENT: Final = 10
_QUARTILES: Final = (0.25, 0.5, 0.75)
_SECONDS: Final = {"D": 86_400.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}

Document = dict[str, Any]
Show = Callable[[Any], Any]


def table_document(table: TableStatistics, name: str, *, skipped: int = 0, complete: bool = True) -> Document:
    """Return the statistics with the same keys for every table and every column; null where a key does not apply.

    name: of the source. skipped: the number of bad lines. complete: whether all rows of the source were read.
    """
    return {
        "version": VERSION,
        "name": name,
        "rows": table.rows,
        "complete": complete,
        "skipped": skipped,
        "columns": [column_document(column) for column in table.columns],
        "correlations": _correlations(table),
    }


def column_document(column: ColumnStatistics) -> Document:
    """Return the statistics of a column."""
    numbers, texts = column.numbers, column.texts
    document: Document = {
        "name": column.name,
        "kind": column.kind,
        "type": str(column.type),
        "rows": column.rows,
        "nulls": column.nulls,
        "null_share": _share(column.nulls, column.rows),
        "nan": column.nans,
        "positive_infinity": column.positive_infinities,
        "negative_infinity": column.negative_infinities,
        "empty": None if texts is None else column.empty_texts,
        "distinct": column.num_distinct,
        "distinct_error": None,
        "min": None,
        "max": None,
        "mean": None,
        "standard_deviation": None,
        "quartiles": None,
        "rank_error": None,
        "most_frequent": [],
        "count_error": None,
        "histogram": None,
        "lengths": None,
    }
    if numbers is not None:
        document |= _numbers(column, numbers)
    if texts is not None:
        document |= {
            "distinct_error": texts.distinct_error,
            "most_frequent": _frequent(texts.most_frequent(NUM_FREQUENT), column.rows, str),
            "count_error": texts.max_missed,
            "lengths": _range(texts.lengths, _same),
        }
    return document


def _numbers(column: ColumnStatistics, numbers: NumberDistribution) -> Document:
    known: Document = {
        "distinct_error": numbers.distinct_error,
        "most_frequent": _frequent(_with_infinities(column, numbers), column.rows, _show(column)),
        "count_error": numbers.max_missed,
    }
    if column.kind == "boolean":
        return known | {"mean": numbers.moments.mean, "standard_deviation": numbers.moments.standard_deviation}
    show = _show(column)
    known |= _range(numbers, show)
    histogram = histogram_of(numbers, NUM_BINS)
    if histogram is not None:
        known["histogram"] = {"edges": [show(edge) for edge in histogram.edges], "counts": list(histogram.counts)}
    if column.time_unit is not None and known["standard_deviation"] is not None:
        known["standard_deviation"] *= _SECONDS[column.time_unit]
    return known


def _range(numbers: NumberDistribution, show: Show) -> Document:
    quartiles, mean = numbers.quantiles(_QUARTILES), numbers.moments.mean
    return {
        "min": None if numbers.minimum is None else show(numbers.minimum),
        "max": None if numbers.maximum is None else show(numbers.maximum),
        "mean": None if mean is None else show(mean),
        "standard_deviation": numbers.moments.standard_deviation,
        "quartiles": None if quartiles is None else [show(quartile) for quartile in quartiles],
        "rank_error": numbers.rank_error,
    }


def _with_infinities(column: ColumnStatistics, numbers: NumberDistribution) -> list[Frequency]:
    infinite = [
        Frequency(value, count)
        for value, count in (
            (float("inf"), column.positive_infinities),
            (float("-inf"), column.negative_infinities),
        )
        if count
    ]
    found = [*numbers.most_frequent(NUM_FREQUENT), *infinite]
    return sorted(found, key=lambda one: -one.count)[:NUM_FREQUENT]


def _frequent(found: list[Frequency] | tuple[Frequency, ...], rows: int, show: Show) -> list[Document]:
    return [{"value": show(one.value), "count": one.count, "share": _share(one.count, rows)} for one in found]


def _show(column: ColumnStatistics) -> Show:
    """Return what makes a JSON value of a number of the column."""
    if column.kind == "boolean":
        return bool
    unit: Any = column.time_unit
    if unit is None:
        return _number
    zone = "Z" if getattr(column.type, "tz", None) else ""
    return lambda value: f"{np.datetime64(round(value), unit)}{zone}"


def _number(value: Any) -> Any:
    """Return a number, and infinity, which JSON does not have, as a text."""
    return value if value not in (float("inf"), float("-inf")) else f"{value:+}"


def _same(value: Any) -> Any:
    return value


def _correlations(table: TableStatistics) -> Document | None:
    if table.correlations is None:
        return None
    matrix = table.correlations.pearson()
    return {
        "columns": [column.name for column in table.correlated],
        "pearson": [[None if np.isnan(value) else value for value in row] for row in matrix.tolist()],
    }


def _share(count: int, rows: int) -> float | None:
    return count / rows if rows else None
