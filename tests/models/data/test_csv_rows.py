"""The CSV reader: numbers, text as written, and files with another format or encoding."""

from __future__ import annotations

import csv
import io

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.models.data.csv_rows import CsvOptions, csv_rows, read_value
from forebay.models.data.input_row import InputRow, InvalidRow
from forebay.models.data.values import Instant, Unreadable
from forebay.schemas.errors import DataError
from forebay.stream.publish.event_builder import EventBuilder


def csv_of(data: bytes, **options: object) -> list[InputRow | InvalidRow | None]:
    return list(csv_rows(io.BytesIO(data), "file", CsvOptions(**options)))  # type: ignore[arg-type]


def invalid_rows(rows: list[InputRow | InvalidRow | None]) -> list[InvalidRow]:
    return [row for row in rows if isinstance(row, InvalidRow)]


def good(rows: list[InputRow | InvalidRow | None]) -> list[InputRow]:
    return [row for row in rows if isinstance(row, InputRow)]


def test_csv_values_become_numbers_booleans_text_or_null() -> None:
    rows = csv_of(b'a,b,c,d\n1,-2.5e3,x,\n"1,5",NA, 7 ,nan\nTrue,FALSE,true,truth\n')
    assert [row.values for row in good(rows)] == [
        {"a": 1, "b": -2500.0, "c": "x", "d": None},
        {"a": "1,5", "b": None, "c": 7, "d": None},
        {"a": True, "b": False, "c": True, "d": "truth"},
    ]


def test_every_value_is_also_kept_as_written() -> None:
    (row,) = good(csv_of(b"a,b,c\n00123,1E5,NA\n"))
    assert row.values == {"a": 123, "b": 100_000.0, "c": None}
    assert row.written == {"a": "00123", "b": "1E5", "c": "NA"}


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("007", 7),
        ("+1", 1),
        (".5", 0.5),
        ("1.", 1.0),
        ("1e400", float("inf")),
        ("1_000", "1_000"),
        ("inf", float("inf")),
        ("-Infinity", -float("inf")),
        ("0x10", "0x10"),
        ("١", "١"),  # a digit, but not one that JSON knows
        ("99999999999999999999", 1e20),
    ],
)
def test_text_that_reads_as_a_number_becomes_one(written: str, value: object) -> None:
    assert read_value(written) == value
    assert type(read_value(written)) is type(value)


def test_a_text_column_stays_text_and_only_empty_fields_are_missing() -> None:
    rows = good(csv_of(b"zip,delay,note\n01234,NA,NA\n12E4,1,\n", text_columns=("zip", "note")))
    assert [row.values for row in rows] == [
        {"zip": "01234", "delay": None, "note": "NA"},
        {"zip": "12E4", "delay": 1, "note": None},
    ]


def test_a_column_of_categories_is_text_and_a_known_category_is_never_null() -> None:
    categories = {"country": ("NA", "DE"), "code": ("01", "1")}
    rows = good(csv_of(b"country,code\nNA,01\nnan,NA\nDE,1\n", categories=categories))
    assert [row.values for row in rows] == [
        {"country": "NA", "code": "01"},
        {"country": None, "code": None},
        {"country": "DE", "code": "1"},
    ]


def test_bad_csv_rows_are_reported_by_line_and_do_not_affect_others() -> None:
    rows = csv_of(b'a,b\n1,2\n3\n"x"y,4\n\xff,5\n"two\nlines",6\n7,8\n')
    assert [row.values for row in good(rows)] == [{"a": 1, "b": 2}, {"a": "two\nlines", "b": 6}, {"a": 7, "b": 8}]
    assert [row.number for row in good(rows)] == [1, 5, 6]
    assert [(row.place, row.reason.split(":")[0]) for row in invalid_rows(rows)] == [
        ("file, line 3", "the line has 1 value, the header 2 columns"),
        ("file, line 4", "not CSV"),
        ("file, line 5", "the line is not UTF-8"),
    ]


def test_an_unclosed_quote_is_reported_with_all_its_lines() -> None:
    (row,) = invalid_rows(csv_of(b'a,b\n1,2\n\n3,"4\n5,6\n7,8\n'))
    assert (row.place, row.reason) == ("file, lines 4 to 6", "not CSV: unexpected end of data")
    (row,) = invalid_rows(csv_of(b'a,b\n1,"2\n3"\n4,"5\n6",7\n8,9\n'))
    assert (row.place, row.reason) == ("file, lines 4 to 5", "the line has 3 values, the header 2 columns")


def test_a_header_with_very_many_columns_is_read() -> None:
    # Comparing every pair of names would take minutes.
    (row,) = csv_of(",".join(f"c{at}" for at in range(100_000)).encode() + b"\n" + b"," * 99_999 + b"\n")
    assert len(good([row])[0].values or ()) == 100_000


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"a,b,a\n1,2,3\n", "several columns have the name 'a'"),
        (b"a,,b\n1,2,3\n", "a column has no name"),
        (b"a,\xff\n1,2\n", "the header is not UTF-8"),
        (b'a,"b"x\n1,2\n', "the header is not CSV"),
        (b"a;b;c\n1;2;3\n", "separated by semicolons, not by commas"),
        (b"a\tb\n1\t2\n", "separated by tabs, not by commas"),
    ],
)
def test_a_header_that_cannot_be_used_ends_the_file(data: bytes, reason: str) -> None:
    with pytest.raises(DataError, match=f"^file, line 1: .*{reason}") as caught:
        csv_of(data)
    assert caught.value.remedy


@pytest.mark.parametrize("header", [b",a,b", b"Unnamed: 0,,b"])
def test_an_unnamed_first_column_is_explained_as_the_index_of_pandas(header: bytes) -> None:
    with pytest.raises(DataError, match="a column has no name") as caught:
        csv_of(header + b"\n0,1,2\n")
    assert ("index=False" in str(caught.value.remedy)) == header.startswith(b",")


def test_a_delimiter_that_is_set_is_not_questioned() -> None:
    assert good(csv_of(b"a;b\n1;2\n", delimiter=";"))[0].values == {"a": 1, "b": 2}
    assert good(csv_of(b"a;b\n1\n", delimiter=","))[0].values == {"a;b": 1}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_another_encoding_is_reported_once(encoding: str) -> None:
    with pytest.raises(DataError, match=r"the file is UTF-(16|32)") as caught:
        csv_of("a,b\n1,2\n".encode(encoding))
    assert "iconv" in str(caught.value.remedy)


def test_a_binary_file_is_reported() -> None:
    with pytest.raises(DataError, match="the file is not text"):
        csv_of(b"PAR1\0\0\0")


def test_an_empty_file_has_no_rows() -> None:
    assert csv_of(b"") == []


def test_a_byte_order_mark_is_not_part_of_the_first_column() -> None:
    (row,) = good(csv_of("\ufeffa\n1\n".encode()))
    assert row.values == {"a": 1}


def test_the_delimiter_can_be_a_tab_and_columns_are_checked_first() -> None:
    seen: list[object] = []
    options = CsvOptions(usual_delimiter="\t")
    rows = list(csv_rows(io.BytesIO(b"a\tb\n1\t2\n"), "file", options, seen.extend))
    assert good(rows)[0].values == {"a": 1, "b": 2}
    assert seen == ["a", "b"]


WRITTEN = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6) | st.sampled_from(
    ["00123", "123", "1E5", "12E4", "NA", "nan", "null", "true", "inf", "1.0", " 7", "99999999999999999999"]
)


@given(st.lists(st.tuples(WRITTEN, WRITTEN, WRITTEN), min_size=1, max_size=5))
def test_ids_keys_and_text_columns_keep_the_text_as_written(rows: list[tuple[str, str, str]]) -> None:
    file = io.StringIO(newline="")
    csv.writer(file).writerows([("id", "key", "text"), *rows])
    builder = EventBuilder("file", now_ms=lambda: 0)
    read = list(csv_rows(io.BytesIO(file.getvalue().encode()), "file", CsvOptions(text_columns=("text",))))
    for row, (event_id, key, text) in zip(good(read), rows, strict=True):
        event = builder.build(row._replace(values={**(row.values or {}), "key": None}))
        assert event.key == (key.encode() if key else None)
        sent = orjson.loads(event.value)
        assert sent["id"] == (event_id or f"file:{row.number}")
        assert sent["features"]["text"] == (text or None)


def test_columns_whose_types_are_stated_hold_nothing_else() -> None:
    types = {"amount": "float64", "count": "int64", "paid": "bool", "when": "timestamp"}
    rows = good(csv_of(b"amount,count,paid,when\n1,2,true,2013-07-01\n,NA,,\nx,1.5,1,soon\n", types=types))
    assert rows[0].values == {"amount": 1, "count": 2, "paid": True, "when": Instant(1372636800000)}
    assert rows[1].values == dict.fromkeys(types)
    reasons = [value.reason for value in rows[2].values.values() if isinstance(value, Unreadable)]
    assert reasons == [
        "'x', not a number",
        "'1.5', not a whole number",
        "'1', not true or false",
        "'soon', not a time (ISO 8601, or milliseconds since 1970)",
    ]
