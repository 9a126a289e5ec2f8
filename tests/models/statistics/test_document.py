"""The statistics as JSON values and as a page."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from forebay.models.statistics.document import Document, table_document
from forebay.models.statistics.html_page import html_page
from forebay.models.statistics.table import describe

NASTY = "<script>alert('1')</script>&\"\x1b[31m"
START = datetime(2026, 11, 1, tzinfo=UTC)


def make_table() -> pa.Table:
    return pa.table(
        {
            "age": pa.array([1.5, None, 3.0, float("nan"), float("inf"), 3.0]),
            "count": pa.array([2**60, 1, 1, 4, 5, 6]),
            "city": pa.array(["Basel", "", "Bern", "Basel", None, NASTY]),
            "late": pa.array([True, False, None, True, True, True]),
            "at": pa.array([START.replace(day=day) for day in range(1, 7)], pa.timestamp("ms", "UTC")),
            "nothing": pa.nulls(6),
            "empty": pa.array([None] * 6, pa.float64()),
            "list": pa.array([[1], None, [], [2], [3], [4]]),
            NASTY: pa.array([0, 0, 0, 0, 0, 1]),
        }
    )


@pytest.fixture(scope="module")
def document() -> Document:
    table = describe(make_table().to_batches(4), correlations=True)
    assert table is not None
    return table_document(table, NASTY, skipped=2, complete=False)


def column(document: Document, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in document["columns"] if one["name"] == name)
    return found


def test_every_column_has_the_same_keys_and_is_json(document: Document) -> None:
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert len({tuple(one) for one in document["columns"]}) == 1
    assert (document["rows"], document["skipped"], document["complete"]) == (6, 2, False)


def test_numbers_are_described(document: Document) -> None:
    age = column(document, "age")
    assert (age["kind"], age["type"], age["nulls"], age["null_share"]) == ("number", "double", 1, 1 / 6)
    assert (age["nan"], age["positive_infinity"], age["negative_infinity"], age["distinct"]) == (1, 1, 0, 3)
    assert (age["min"], age["max"], age["mean"]) == (1.5, 3.0, 2.5)
    assert age["standard_deviation"] == pytest.approx(np.std([1.5, 3, 3], ddof=1))
    assert age["quartiles"] == [2.25, 3.0, 3.0]
    assert age["most_frequent"] == [
        {"value": 3.0, "count": 2, "share": 2 / 6},
        {"value": 1.5, "count": 1, "share": 1 / 6},
        {"value": "+inf", "count": 1, "share": 1 / 6},
    ]
    assert sum(age["histogram"]["counts"]) == 3
    assert (age["rank_error"], age["distinct_error"], age["count_error"]) == (0, 0, 0)
    assert column(document, "count")["max"] == 2**60


def test_texts_truth_values_and_times_are_described(document: Document) -> None:
    city, late, at = (column(document, name) for name in ("city", "late", "at"))
    assert (city["distinct"], city["empty"], city["nulls"], city["min"]) == (4, 1, 1, None)
    assert city["most_frequent"][0] == {"value": "Basel", "count": 2, "share": 2 / 6}
    assert (city["lengths"]["min"], city["lengths"]["max"]) == (0, len(NASTY))
    assert (late["kind"], late["mean"], late["min"], late["histogram"]) == ("boolean", 0.8, None, None)
    assert [one["value"] for one in late["most_frequent"]] == [True, False]
    assert (at["min"], at["max"]) == ("2026-11-01T00:00:00.000Z", "2026-11-06T00:00:00.000Z")
    assert at["mean"] == at["quartiles"][1] == "2026-11-03T12:00:00.000Z"
    assert at["standard_deviation"] == pytest.approx(86_400 * np.std(range(6), ddof=1))
    assert at["histogram"]["edges"][0] == at["min"] and sum(at["histogram"]["counts"]) == 6


def test_columns_without_values_are_described(document: Document) -> None:
    nothing, empty, items = (column(document, name) for name in ("nothing", "empty", "list"))
    assert (nothing["kind"], nothing["nulls"], nothing["distinct"]) == ("other", 6, None)
    assert (empty["kind"], empty["distinct"], empty["mean"], empty["histogram"]) == ("number", 0, None, None)
    assert (items["type"], items["nulls"]) == ("list<item: int64>", 1)


def test_correlations_are_a_matrix(document: Document) -> None:
    correlations = document["correlations"]
    assert correlations["columns"] == ["age", "count", "late", "empty", NASTY]
    assert correlations["pearson"][1][1] == 1.0 and correlations["pearson"][3][3] is None
    assert correlations["pearson"][0][1] == correlations["pearson"][1][0]


def test_the_page_is_well_formed_and_everything_in_it_is_escaped(document: Document) -> None:
    page = html_page(document)
    assert "<script" not in page and "\x1b" not in page and "\\x1b[31m" in page
    assert "&lt;script&gt;" in page
    for part in ("http://", "https://", "src=", "@import", "url("):
        assert part not in page
    # As XML, apart from the elements of HTML that have no end.
    body = page[page.index("<body>") : page.index("</html>")]
    root = ET.fromstring(body)
    assert [heading.text for heading in root.iter("h1")] == ["<script>alert('1')</script>&\"\\x1b[31m"]
    assert len(list(root.iter("h2"))) == len(document["columns"]) + 1
    bars = [bar for plot in root.iter("svg") for bar in plot.iter("rect")]
    assert len(bars) == sum(len(one["histogram"]["counts"]) for one in document["columns"] if one["histogram"])
    assert "only the first rows were read; 2 bad lines were skipped" in "".join(root.itertext())


def test_estimates_are_named_in_the_page() -> None:
    values = np.random.default_rng(1).standard_normal(150_000)
    values[:9_000] = 0.5
    table = describe(pa.table({"x": values, "t": [f"u{number}" for number in range(150_000)]}).to_batches())
    assert table is not None
    document = table_document(table, "x")
    page = html_page(document)
    assert "± 2.0%" in page and "of the rows)" in page and "too small)" in page
    assert column(document, "t")["distinct"] == pytest.approx(150_000, rel=0.02)


def test_a_table_without_rows_is_described() -> None:
    table = describe(
        pa.table({"x": pa.array([], pa.int64()), "t": pa.array([], pa.string())}).to_batches()
        or [pa.record_batch({"x": pa.array([], pa.int64()), "t": pa.array([], pa.string())})],
        correlations=True,
    )
    assert table is not None
    document = table_document(table, "empty.csv")
    assert [one["null_share"] for one in document["columns"]] == [None, None]
    assert document["correlations"] == {"columns": ["x"], "pearson": [[None]]}
    assert "0 rows, 2 columns" in html_page(document)
