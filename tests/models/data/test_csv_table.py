"""CSV as columns: equal to the row reader, to pandas and to Arrow, whatever the file holds."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.models.data import csv_table, line_readers, text_lines
from forebay.models.data.blocks import ParsedBlock
from forebay.models.data.csv_rows import CsvOptions, csv_rows
from forebay.models.data.csv_table import CsvTable, end_of_records, infer_type
from forebay.models.data.input_row import InputRow, InvalidRow
from forebay.models.data.table_options import TableOptions
from forebay.schemas.errors import DataError

BLOCK = 40


def read(data: bytes, options: TableOptions | None = None) -> tuple[pa.Table, list[InvalidRow]]:
    table = CsvTable(io.BytesIO(data), "file", options or TableOptions(), None)
    blocks: list[ParsedBlock] = [task() for task in table.tasks()]
    batches = [block.batch for block in blocks]
    return pa.Table.from_batches(batches, table.schema), [row for block in blocks for row in block.invalid]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a few lines be a block, except for the types: those come from the first block."""
    monkeypatch.setattr(csv_table, "BLOCK_BYTES", BLOCK)
    monkeypatch.setattr(text_lines, "_READ_BYTES", 8)


ODD = ("9" * 18, "9" * 25, " 7", "1_000", "x\0y", '5" pipe', '"', "-Infinity", "+5", "-0", "1e5", ".5", "5.", "0x10")
CELLS = st.text(st.sampled_from('a,"\n\r 0é\t;'), max_size=5) | st.sampled_from(
    ["", "NA", "null", "nan", "1", "007", "1.5", "inf", "true", "False", *ODD]
)
TEXT = TableOptions(types=dict.fromkeys("abc", "text"), csv=CsvOptions(text_columns=("a", "b", "c")))


def as_csv(rows: Sequence[Sequence[str]], line_end: str = "\n", quote_all: bool = False) -> bytes:
    def cell(text: str) -> str:
        # Python's own writer leaves a carriage return unquoted.
        return '"' + text.replace('"', '""') + '"' if quote_all or set(text) & set(',"\r\n') else text

    return "".join(",".join(map(cell, row)) + line_end for row in [["a", "b", "c"], *rows]).encode()


@given(
    st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=12),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
def test_text_is_read_as_it_was_written(rows: list[tuple[str, str, str]], line_end: str, quote_all: bool) -> None:
    table, invalid = read(as_csv(rows, line_end, quote_all), TEXT)
    expected = [tuple(cell or None for cell in row) for row in rows]
    assert invalid == []
    assert [tuple(row.values()) for row in table.to_pylist()] == expected


LINES = st.lists(
    st.lists(CELLS, min_size=1, max_size=4).map(",".join) | st.text(st.sampled_from('a1,"\r'), max_size=9), max_size=14
)


@given(LINES, st.sampled_from(["\n", "\r\n", "\r"]))
@settings(max_examples=100)
def test_any_file_is_read_as_the_row_reader_reads_it(lines: list[str], line_end: str) -> None:
    data = line_end.join(["a,b,c", *lines]).encode()
    table, invalid = read(data, TEXT)
    rows = list(csv_rows(io.BytesIO(data), "file", TEXT.csv))
    assert table.to_pylist() == [row.values for row in rows if isinstance(row, InputRow)]
    assert invalid == [row for row in rows if isinstance(row, InvalidRow)]


VALUES = st.lists(
    st.sampled_from(
        ["", "NA", "1", "007", "+5", "-0", "1.5", "1e5", ".5", "5.", "0x10", "inf", "true", "False", " 7", "x"]
    )
    | st.integers(-(10**17), 10**17).map(str)
    | st.floats(allow_nan=False).map(repr),
    min_size=1,
    max_size=12,
)


@given(VALUES, st.sampled_from(["int64", "float64", "bool"]))
def test_typed_values_are_those_of_the_row_reader_or_are_reported(values: list[str], kind: str) -> None:
    data = "\n".join(["a,n", *(f"{value},{number}" for number, value in enumerate(values))]).encode()
    table, invalid = read(data, TableOptions(types={"a": kind, "n": "int64"}))  # type: ignore[dict-item]
    fits = {"int64": (int,), "float64": (int, float), "bool": (bool,)}[kind]
    expected, wrong = [], []
    for row in csv_rows(io.BytesIO(data), "file"):
        assert isinstance(row, InputRow) and row.values is not None
        value = row.values["a"]
        if value is None or type(value) in fits:
            expected.append(float(value) if kind == "float64" and value is not None else value)  # type: ignore[arg-type]
        else:
            wrong.append(f"file, line {row.line_number}")
    assert table["a"].to_pylist() == expected
    assert [row.place for row in invalid] == wrong


@given(
    st.lists(
        st.tuples(st.none() | st.integers(-(2**53), 2**53), st.none() | st.floats(allow_nan=False, width=32)),
        min_size=1,
    )
)
def test_numbers_are_those_of_pandas_and_arrow(rows: list[tuple[int | None, float | None]]) -> None:
    frame = pd.DataFrame(
        {"i": pd.array([i for i, _ in rows], "Int64"), "f": [f for _, f in rows], "n": range(len(rows))}
    )
    data = frame.to_csv(index=False).encode()
    table, invalid = read(data, TableOptions(types={"i": "int64", "f": "float64"}))
    assert invalid == []
    assert table["i"].to_pylist() == [i for i, _ in rows]
    assert table["f"].to_pylist() == [f for _, f in rows]
    again = pacsv.read_csv(
        io.BytesIO(data),
        convert_options=pacsv.ConvertOptions(column_types=dict(zip("if", table.schema.types, strict=False))),
    )
    assert again.select(["i", "f"]).to_pydict() == table.select(["i", "f"]).to_pydict()


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (["", "NA"], pa.null()),
        (["true", "", "FALSE"], pa.bool_()),
        (["1", " 007 ", "-5"], pa.int64()),
        (["1", "1.5"], pa.float64()),
        (["9" * 19], pa.float64()),
        (["inf", "1"], pa.float64()),
        (["1", "x"], pa.string()),
        (["1", "true"], pa.string()),
        (["0x10"], pa.string()),
        (["2026-01-01"], pa.string()),
        (["1\n2"], pa.string()),
    ],
)
def test_the_narrowest_type_is_found(texts: list[str], kind: pa.DataType) -> None:
    assert infer_type(pa.array(texts), ("", "NA")) == kind


def test_a_value_that_does_not_fit_later_is_reported_by_line() -> None:
    data = b"a,b\n" + b"1,x\n" * 20 + b'2,"y\nz"\n3.5,x\n' + b"4,x\n" * 20
    table, (row,) = read(data)
    assert table["a"].to_pylist() == [1] * 20 + [2] + [4] * 20
    assert (row.place, row.reason) == ("file, line 24", "column a is '3.5', but the column holds whole numbers (int64)")
    assert "a=float64" in row.remedy


@pytest.mark.parametrize("size", [1, 7, 30, 31, 39])
def test_a_record_longer_than_a_block_is_read(size: int) -> None:
    long = "line\n" * 40
    data = f'a,b,c\n{"x" * size},1,1\n"{long}",2,2\n3,3,3\n'.encode()
    table, invalid = read(data, TEXT)
    assert table["a"].to_pylist() == ["x" * size, long, "3"] and invalid == []


def test_a_line_that_is_too_long_is_reported_and_the_next_ones_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_readers, "MAX_LINE_BYTES", 100)
    table, (row,) = read(b"a,b\n1,2\n" + b"x" * 1000 + b"\n3,4\n")
    assert table.to_pydict() == {"a": [1, 3], "b": [2, 4]}
    assert row.place == "file, line 3" and "longer than 100 bytes" in row.reason


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "file: the file is empty"),
        (b"a,a\n1,2\n", "several columns have the name 'a'"),
        (b"a,\n1,2\n", "a column has no name"),
        ("a,b\n1,2\n".encode("utf-16"), "UTF-16"),
        (b"abc\0d,c\n", "zero bytes"),
        (b"a;b\n1;2\n", "separated by semicolons"),
        (b'"a\n', "the header is not CSV"),
    ],
)
def test_an_unusable_file_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(data)


def test_a_header_alone_is_a_table_without_rows() -> None:
    table, invalid = read(b"\xef\xbb\xbfa,b")
    assert table.schema == pa.schema([("a", pa.null()), ("b", pa.null())]) and len(table) == 0 and invalid == []


@given(st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=9), st.integers(0, 200))
def test_a_block_ends_between_two_records(rows: list[tuple[str, str, str]], cut: int) -> None:
    data = as_csv(rows)
    end = end_of_records(data[:cut], ord(","), False)
    if end:
        whole = list(csv.reader(io.StringIO(data.decode(), newline="")))
        parts = [data[:end], data[end:]]
        assert [row for part in parts for row in csv.reader(io.StringIO(part.decode(), newline=""))] == whole


TIMES = TableOptions(types={"when": "timestamp"})


@pytest.mark.parametrize("quote", ["", '"'], ids=["by Arrow", "by the row reader"])
def test_a_column_that_is_stated_to_be_times_is_read_as_an_event_s_times(quote: str) -> None:
    texts = ["2013-07-01", "2013-07-01T23:30:00.5-05:00", "1372636800000", "", "NA", " 2013-07-01 05:00Z "]
    # A quote within a value is for the row reader.
    table, invalid = read("".join(["n,when\n", *(f"a{quote},{text}\n" for text in texts)]).encode(), TIMES)
    assert table.schema.field("when").type == pa.timestamp("us", tz="UTC") and not invalid
    wanted = ["2013-07-01T00:00", "2013-07-02T04:30:00.500", "2013-07-01T00:00", None, None, "2013-07-01T05:00"]
    assert table["when"].to_pylist() == [None if text is None else pd.Timestamp(text, tz="UTC") for text in wanted]


def test_a_value_that_is_not_a_time_is_reported_with_its_line() -> None:
    table, (row,) = read(b"when,n\n2013-07-01,1\n01.07.2013,2\n2013-07-02,3\n", TIMES)
    assert table["n"].to_pylist() == [1, 3]
    wanted = "column when is '01.07.2013', but the column holds times (ISO 8601, or milliseconds since 1970)"
    assert (row.place, row.reason) == ("file, line 3", wanted)
