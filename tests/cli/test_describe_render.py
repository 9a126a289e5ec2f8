"""The table of `forebay describe`."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import Console

from forebay.models.statistics.document import table_document
from forebay.models.statistics.table import describe
from forebay.stream.cli.describe_render import description


def rendered(table: pa.Table, **options: Any) -> str:
    statistics = describe(table.to_batches(), correlations=options.pop("correlations", False))
    assert statistics is not None
    console = Console(file=io.StringIO(), width=300, highlight=False)
    console.print(description(table_document(statistics, "flights.csv", **options)))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_each_column_has_a_line() -> None:
    lines = rendered(
        pa.table(
            {
                "delay": pa.array([1.0, 2.0, 3.0, 4.0, None]),
                "carrier": ["UA", "UA", "B6", "\x1b[31m", ""],
                "late": [True, False, True, True, True],
            }
        )
    ).splitlines()
    assert lines[0].rstrip() == "flights.csv: 5 rows, 3 columns"
    assert " ".join(lines[1].split()) == "column type nulls distinct min 25 % median 75 % max mean std distribution"
    assert " ".join(lines[3].split()).startswith("delay double 1 (20.0%) 4 1 1.75 2.5 3.25 4 2.5 1.291 █")
    assert " ".join(lines[4].split()) == 'carrier string 0 4 UA 40.0%, "" 20.0%, \\x1b[31m 20.0% (0 to 5 characters)'
    assert " ".join(lines[5].split()) == "late bool 0 2 0.8 0.4472 true 80.0%, false 20.0%"
    assert "carrier: 1 empty texts" in lines[6]
    assert "standard deviation of a sample (n - 1)" in lines[7] and len(lines) == 8


def test_what_was_left_out_is_said() -> None:
    text = rendered(pa.table({"x": [1]}), skipped=1, complete=False)
    assert "only the first rows were read (--max-rows)" in text and "1 bad line skipped" in text


def test_estimates_are_marked() -> None:
    values = np.random.default_rng(3).standard_normal(120_000)
    text = rendered(pa.table({"x": values}))
    assert "≈ estimated (more than 100,000 distinct values): distinct ± 2.0%, ranks of quartiles ± 0." in text
    assert text.splitlines()[3].count("≈") == 4


def test_the_strongest_correlations_come_first() -> None:
    x = np.arange(50.0)
    text = rendered(pa.table({"a": x, "b": -x, "c": x % 7, "d": [1.0] * 50}), correlations=True)
    pairs = [
        line.split()
        for line in text.splitlines()
        if line.strip()[:1] in "+-" and line.split()[1:] and len(line.split()) == 3
    ]
    assert pairs[0] == ["-1.000", "a", "b"] and len(pairs) == 3
