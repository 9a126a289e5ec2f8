"""The statistics of a table as a web page: one file without scripts, images or fonts from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any, Final

Document = Mapping[str, Any]

_STYLE: Final = """
:root { color-scheme: light dark; }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h2 { font-size: 1.1rem; margin: 2.2rem 0 .4rem; overflow-wrap: anywhere; }
h2 small, .note { color: GrayText; font-weight: normal; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .15rem .9rem .15rem 0; vertical-align: top; overflow-wrap: anywhere; }
th { font-weight: normal; color: GrayText; }
td.n, th.n { text-align: right; }
.scroll { overflow-x: auto; }
.column { display: flex; flex-wrap: wrap; gap: 1rem 2.5rem; }
svg { display: block; max-width: 100%; height: auto; }
rect { fill: #4a7ebb; }
text { font: 11px system-ui, sans-serif; fill: GrayText; }
"""
_WIDTH: Final = 420
_HEIGHT: Final = 120
_MAX_CORRELATED: Final = 60

_ROWS: Final = (
    ("rows", "rows"),
    ("nulls", "nulls"),
    ("nan", "NaN"),
    ("positive_infinity", "+infinity"),
    ("negative_infinity", "-infinity"),
    ("empty", "empty texts"),
    ("distinct", "distinct"),
    ("min", "minimum"),
    ("quartiles", "quartiles"),
    ("max", "maximum"),
    ("mean", "mean"),
    ("standard_deviation", "standard deviation"),
    ("lengths", "length in characters"),
)
_SHOWN_IF_ZERO: Final = ("rows", "nulls", "distinct", "min", "max", "mean", "standard_deviation")


def html_page(document: Document) -> str:
    """Return the page for a document as `table_document` makes it. Every name and value is escaped."""
    name = _text(document["name"])
    return "".join(
        (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n",
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
            f"<title>{name}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{name}</h1>\n",
            f"<p>{_summary(document)}</p>\n",
            *map(_column, document["columns"]),
            "" if document["correlations"] is None else _correlations(document["correlations"]),
            f'<p class="note">{_NOTE}</p>\n</body>\n</html>\n',
        )
    )


_NOTE: Final = (
    "Minimum, maximum, mean, standard deviation (of a sample, n - 1), quartiles and histogram are of finite values. "
    "± is the largest error of an estimate; quartiles and histograms without it are exact."
)


def _summary(document: Document) -> str:
    parts = [f"{document['rows']:,} rows, {len(document['columns']):,} columns"]
    if not document["complete"]:
        parts.append("only the first rows were read")
    if document["skipped"]:
        parts.append(f"{document['skipped']:,} bad lines were skipped")
    return "; ".join(parts)


def _column(column: Document) -> str:
    rows = "".join(
        f"<tr><th>{label}</th><td>{_property(column, key)}</td></tr>"
        for key, label in _ROWS
        if column[key] not in ((None,) if key in _SHOWN_IF_ZERO else (None, 0))
    )
    plot = "" if column["histogram"] is None else _histogram(column["histogram"], column["rank_error"])
    return (
        f"<h2>{_text(column['name'])} <small>{_text(column['type'])}</small></h2>\n"
        f'<div class="column"><table>{rows}</table>{plot}{_frequent(column)}</div>\n'
    )


def _property(column: Document, key: str) -> str:
    value = column[key]
    if key == "nulls":
        return f"{value:,}" + (f" ({column['null_share']:.2%})" if value else "")
    if key == "distinct":
        return f"{value:,}" + (f" ± {column['distinct_error']:.1%}" if column["distinct_error"] else "")
    if key == "quartiles":
        error = column["rank_error"]
        return " · ".join(map(_value, value)) + (f" (± {error:.2%} of the rows)" if error else "")
    if key == "standard_deviation":
        return _value(value) + (" s" if column["kind"] == "timestamp" else "")
    if key == "lengths":
        return (
            ""
            if value["min"] is None
            else f"{_value(value['min'])} to {_value(value['max'])}, mean {_value(value['mean'])}"
        )
    return _value(value)


def _histogram(histogram: Document, rank_error: float) -> str:
    edges, counts = histogram["edges"], histogram["counts"]
    largest, width = max(max(counts), 1), _WIDTH / len(counts)
    bars = "".join(
        f'<rect x="{index * width:.2f}" y="{_HEIGHT * (1 - count / largest):.2f}" width="{max(width - 1, 1):.2f}" '
        f'height="{_HEIGHT * count / largest:.2f}"><title>{_value(edges[index])} to {_value(edges[index + 1])}: '
        f"{count:,}</title></rect>"
        for index, count in enumerate(counts)
    )
    error = f", ± {rank_error:.2%} of the rows" if rank_error else ""
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT + 18}" viewBox="0 0 {_WIDTH} {_HEIGHT + 18}" role="img" '
        f'aria-label="histogram">{bars}<text x="0" y="{_HEIGHT + 13}">{_value(edges[0])}</text>'
        f'<text x="{_WIDTH // 2}" y="{_HEIGHT + 13}" text-anchor="middle">at most {largest:,} in a bin{error}</text>'
        f'<text x="{_WIDTH}" y="{_HEIGHT + 13}" text-anchor="end">{_value(edges[-1])}</text></svg>'
    )


def _frequent(column: Document) -> str:
    if not column["most_frequent"]:
        return ""
    rows = "".join(
        f'<tr><td>{_value(one["value"])}</td><td class="n">{one["count"]:,}</td><td class="n">{one["share"]:.2%}</td></tr>'
        for one in column["most_frequent"]
    )
    error = f" (counts up to {column['count_error']:,} too small)" if column["count_error"] else ""
    return (
        f'<table><tr><th>most frequent{error}</th><th class="n">count</th><th class="n">share</th></tr>{rows}</table>'
    )


def _correlations(correlations: Document) -> str:
    names = correlations["columns"][:_MAX_CORRELATED]
    more = len(correlations["columns"]) - len(names)
    head = "".join(f"<th>{_text(name)}</th>" for name in names)
    rows = "".join(
        f"<tr><th>{_text(name)}</th>{''.join(_cells(line[: len(names)]))}</tr>"
        for name, line in zip(names, correlations["pearson"], strict=False)
    )
    note = f'<p class="note">and {more:,} more columns, which --json prints</p>' if more > 0 else ""
    return f'<h2>Correlations (Pearson)</h2>\n<div class="scroll"><table><tr><th></th>{head}</tr>{rows}</table></div>{note}\n'


def _cells(line: Sequence[float | None]) -> Iterator[str]:
    for value in line:
        if value is None:
            yield "<td></td>"
        else:
            colour = "74, 126, 187" if value > 0 else "200, 90, 60"
            yield f'<td class="n" style="background: rgba({colour}, {abs(value) * 0.6:.2f})">{value:+.2f}</td>'


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.6g}" if abs(value) < 1e6 else f"{value:.6g}"
    return _text(value)


def _text(value: object) -> str:
    """Return a text for the page: markup is escaped, and characters that cannot be printed are shown by their number."""
    return escape("".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in str(value)))
