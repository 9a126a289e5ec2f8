"""The table that `forebay describe` prints. Names and values come from files, so control characters are escaped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from rich.console import Group
from rich.table import Table
from rich.text import Text

from forebay.stream.core.quantities import quantity
from forebay.stream.terminal.console import DIM, YELLOW, plain_table, visible

_BARS: Final = "▁▂▃▄▅▆▇█"
_MAX_CHARS: Final = 24
_NUM_SHOWN: Final = 3
_NUM_PAIRS: Final = 20

Document = Mapping[str, Any]


def description(document: Document) -> Group:
    """Return the table of the columns, the strongest correlations and the notes on what the numbers mean."""
    columns = document["columns"]
    parts: list[Table | Text] = [_heading(document), _columns_table(columns)]
    if document["correlations"] is not None:
        parts.append(_correlations_table(document["correlations"]))
    parts.extend(Text(note, DIM) for note in _notes(columns))
    return Group(*parts)


def _heading(document: Document) -> Text:
    rows, columns = quantity(document["rows"], "row"), quantity(len(document["columns"]), "column")
    text = Text(f"{visible(document['name'])}: {rows}, {columns}")
    if not document["complete"]:
        text.append("  only the first rows were read (--max-rows)", YELLOW)
    if document["skipped"]:
        text.append(f"  {quantity(document['skipped'], 'bad line')} skipped", YELLOW)
    return text


def _columns_table(columns: list[Document]) -> Table:
    right = ("nulls", "distinct", "min", "25 %", "median", "75 %", "max", "mean", "std")
    table = plain_table("column", "type", *right, "distribution", right=right)
    for column in columns:
        table.add_row(*map(Text, _cells(column)))
    return table


def _cells(column: Document) -> list[str]:
    estimated = "≈" if column["rank_error"] else ""
    quartiles = column["quartiles"] or (None, None, None)
    nulls = column["nulls"]
    distinct = column["distinct"]
    return [
        _cut(column["name"], 40),
        _cut(column["type"], 30),
        f"{nulls:,} ({column['null_share']:.1%})" if nulls else "0",
        "" if distinct is None else f"{'≈' if column['distinct_error'] else ''}{distinct:,}",
        _value(column["min"]),
        *(estimated + _value(quartile) if quartile is not None else "" for quartile in quartiles),
        _value(column["max"]),
        _value(column["mean"]),
        _value(column["standard_deviation"]) + (" s" if column["kind"] == "timestamp" and column["mean"] else ""),
        _distribution(column),
    ]


def _distribution(column: Document) -> str:
    histogram, lengths = column["histogram"], column["lengths"]
    if histogram is not None and column["distinct"] > _NUM_SHOWN:
        largest = max(max(histogram["counts"]), 1)
        return "".join(
            _BARS[min(count * len(_BARS) // largest, len(_BARS) - 1)] if count else " " for count in histogram["counts"]
        )
    shown = [f"{_value(one['value'])} {one['share']:.1%}" for one in column["most_frequent"][:_NUM_SHOWN]]
    if lengths is not None and lengths["max"] is not None:
        least, most = lengths["min"], lengths["max"]
        shown.append(f"({least if least == most else f'{least} to {most}'} characters)")
    return ", ".join(shown).replace(", (", "  (")


def _correlations_table(correlations: Document) -> Table | Text:
    names, matrix = correlations["columns"], correlations["pearson"]
    pairs = [
        (matrix[first][second], names[first], names[second])
        for first in range(len(names))
        for second in range(first + 1, len(names))
        if matrix[first][second] is not None
    ]
    pairs.sort(key=lambda pair: -abs(pair[0]))
    if not pairs:
        return Text("no pair of columns can be correlated: numbers that vary are needed", YELLOW)
    table = plain_table("correlation", "of", "and", right=("correlation",))
    for value, first, second in pairs[:_NUM_PAIRS]:
        table.add_row(*map(Text, (f"{value:+.3f}", _cut(first, 40), _cut(second, 40))))
    if len(pairs) > _NUM_PAIRS:
        table.add_row("", Text(f"and {len(pairs) - _NUM_PAIRS:,} weaker pairs: --json, --html", DIM), "")
    return table


def _notes(columns: list[Document]) -> Iterator[str]:
    for column in columns:
        odd = {"NaN": "nan", "+inf": "positive_infinity", "-inf": "negative_infinity", "empty texts": "empty"}
        found = [f"{column[key]:,} {name}" for name, key in odd.items() if column[key]]
        if found:
            yield f"{_cut(column['name'], 40)}: {', '.join(found)}"
    yield "std: standard deviation of a sample (n - 1); minimum to histogram: of finite values"
    errors = [column["rank_error"] for column in columns if column["rank_error"]]
    distinct = [column["distinct_error"] for column in columns if column["distinct_error"]]
    if errors or distinct:
        ranks = f", ranks of quartiles ± {max(errors):.2%} of the rows" if errors else ""
        yield f"≈ estimated (more than 100,000 distinct values): distinct ± {max(distinct):.1%}{ranks}"


def _value(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.1f}" if abs(value) < 1e9 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else _cut(value, _MAX_CHARS) or '""'


def _cut(text: str, max_chars: int) -> str:
    line = visible(text.replace("\n", "\\n"))
    return line if len(line) <= max_chars else f"{line[: max_chars - 1]}…"
