"""Lines of text into rows: what is read, what is refused, and that it is lazy."""

from __future__ import annotations

import io
import os
from collections.abc import Callable

import pytest

from stream.publish import text
from stream.publish.row import BadRow, Row
from stream.publish.text import csv_rows, follow_lines, json_rows, raw_rows, read_lines, read_value


def json_of(data: bytes) -> list[Row | BadRow | None]:
    return list(json_rows(read_lines(io.BytesIO(data)), "file"))


def csv_of(data: bytes, **options: object) -> list[Row | BadRow | None]:
    return list(csv_rows(io.BytesIO(data), "file", **options))  # type: ignore[arg-type]


def bad(rows: list[Row | BadRow | None]) -> list[BadRow]:
    return [row for row in rows if isinstance(row, BadRow)]


def good(rows: list[Row | BadRow | None]) -> list[Row]:
    return [row for row in rows if isinstance(row, Row)]


def test_json_lines_are_numbered_as_an_editor_does_and_blank_ones_passed_over() -> None:
    assert json_of(b'{"a":1}\n\n  \r\n{"b":2}\r\n{"c":3}') == [
        Row(1, {"a": 1}, b'{"a":1}'),
        Row(4, {"b": 2}, b'{"b":2}'),
        Row(5, {"c": 3}, b'{"c":3}'),
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "not JSON"),
        (b'{"a": NaN}', "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[1, 2]", "an array"),
        (b"3", "no object"),
    ],
)
def test_a_bad_json_line_is_told_and_costs_no_other(line: bytes, reason: str) -> None:
    rows = json_of(b'{"a":1}\n' + line + b'\n{"b":2}\n')
    assert [row.number for row in good(rows)] == [1, 3]
    (told,) = bad(rows)
    assert told.place == "file, line 2" and reason in told.reason and told.remedy


def test_raw_lines_stand_as_they_are() -> None:
    rows = list(raw_rows(read_lines(io.BytesIO(b"{bad\n\n\xff\r\n")), "file"))
    assert rows == [Row(1, None, b"{bad"), Row(2, None, b""), Row(3, None, b"\xff")]


def pieces(data: bytes) -> list[tuple[int, bytes | None] | None]:
    read_end, write_end = os.pipe()
    os.write(write_end, data)
    os.close(write_end)
    try:
        return list(follow_lines(read_end))
    finally:
        os.close(read_end)


@pytest.mark.parametrize("lines_of", [lambda data: list(read_lines(io.BytesIO(data))), pieces], ids=["file", "pipe"])
def test_a_line_that_is_too_long_is_dropped_whole(
    lines_of: Callable[[bytes], list[object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "MAX_LINE_BYTES", 10)
    data = b"a" * 10 + b"\n" + b"b" * 11 + b"\n" + b"c" * 95 + b"\nd\n" + b"e" * 50
    assert lines_of(data) == [(1, b"a" * 10), (2, None), (3, None), (4, b"d"), (5, None)]


def test_a_pipe_that_is_open_gives_what_is_there_and_does_not_wait_for_more() -> None:
    read_end, write_end = os.pipe()
    lines = follow_lines(read_end)
    try:
        assert next(lines) is None
        os.write(write_end, b"one\ntw")
        assert next(lines) == (1, b"one")
        assert next(lines) is None
        os.write(write_end, b"o\r\nthree")
        assert next(lines) == (2, b"two")
        os.close(write_end)
        assert list(lines) == [(3, b"three")]
    finally:
        os.close(read_end)


def test_csv_values_are_numbers_texts_or_nothing() -> None:
    rows = csv_of(b'a,b,c,d\n1,-2.5e3,x,\n"1,5",NA, 7 ,nan\n')
    assert [row.values for row in good(rows)] == [
        {"a": 1, "b": -2500.0, "c": "x", "d": None},
        {"a": "1,5", "b": None, "c": 7, "d": None},
    ]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("007", 7),
        ("+1", 1),
        (".5", 0.5),
        ("1.", 1.0),
        ("1e400", "1e400"),
        ("1_000", "1_000"),
        ("inf", "inf"),
        ("0x10", "0x10"),
        ("١", "١"),  # a digit, but not one that JSON knows
        ("99999999999999999999", 1e20),
    ],
)
def test_what_reads_as_a_number(written: str, value: object) -> None:
    assert read_value(written) == value
    assert type(read_value(written)) is type(value)


def test_a_text_column_stays_text_and_nulls_can_be_chosen() -> None:
    (row,) = good(csv_of(b"zip,delay,note\n01234,-1,NA\n", text_columns=("zip", "note"), nulls=("-1",)))
    assert row.values == {"zip": "01234", "delay": None, "note": "NA"}


def test_bad_csv_rows_are_told_by_their_line_and_cost_no_other() -> None:
    rows = csv_of(b'a,b\n1,2\n3\n"x"y,4\n\xff,5\n"two\nlines",6\n7,8\n')
    assert [row.values for row in good(rows)] == [{"a": 1, "b": 2}, {"a": "two\nlines", "b": 6}, {"a": 7, "b": 8}]
    assert [row.number for row in good(rows)] == [1, 5, 6]
    assert [(row.place, row.reason.split(":")[0]) for row in bad(rows)] == [
        ("file, line 3", "1 values, but the header has 2 columns"),
        ("file, line 4", "not CSV"),
        ("file, line 5", "the line is not UTF-8"),
    ]


def test_a_header_that_cannot_be_used_is_told_once() -> None:
    assert [row.reason for row in bad(csv_of(b"a,b,a\n1,2,3\n"))] == [
        "the header cannot be used: the column 'a' is there twice"
    ]
    assert [row.reason for row in bad(csv_of(b"a,,b\n1,2,3\n"))] == ["the header cannot be used: a column has no name"]
    assert csv_of(b"") == []


def test_a_byte_order_mark_is_no_part_of_the_first_column() -> None:
    (row,) = good(csv_of("\ufeffa\n1\n".encode()))
    assert row.values == {"a": 1}


def test_tabs_and_columns_that_are_looked_at_first() -> None:
    seen: list[object] = []
    rows = csv_of(b"a\tb\n1\t2\n", delimiter="\t", check_columns=seen.extend)
    assert good(rows)[0].values == {"a": 1, "b": 2}
    assert seen == ["a", "b"]


def test_a_file_is_read_as_it_is_asked_for() -> None:
    stream = io.BufferedReader(io.BytesIO(b'{"a":1}\n' * 100_000), 1024)  # type: ignore[arg-type]
    rows = json_rows(read_lines(stream), "file")
    assert isinstance(next(rows), Row)
    assert stream.tell() < 10_000
