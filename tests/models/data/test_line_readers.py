"""The readers of lines: valid and invalid lines, read lazily."""

from __future__ import annotations

import io
import os
from collections.abc import Callable

import pytest

from forebay.models.data import line_readers
from forebay.models.data.input_row import InputRow, InvalidRow
from forebay.models.data.line_readers import follow_lines, json_rows, raw_rows, read_lines
from forebay.schemas.errors import DataError


def json_of(data: bytes) -> list[InputRow | InvalidRow | None]:
    return list(json_rows(read_lines(io.BytesIO(data)), "file"))


def invalid_rows(rows: list[InputRow | InvalidRow | None]) -> list[InvalidRow]:
    return [row for row in rows if isinstance(row, InvalidRow)]


def good(rows: list[InputRow | InvalidRow | None]) -> list[InputRow]:
    return [row for row in rows if isinstance(row, InputRow)]


def test_json_lines_have_the_editor_s_line_numbers_and_blank_lines_are_skipped() -> None:
    assert json_of(b'{"a":1}\n\n  \r\n{"b":2}\r\n{"c":3}') == [
        InputRow(1, {"a": 1}, b'{"a":1}'),
        InputRow(4, {"b": 2}, b'{"b":2}'),
        InputRow(5, {"c": 3}, b'{"c":3}'),
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "not JSON"),
        (b'{"a": NaN}', "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[1, 2]", "a JSON array"),
        (b"3", "a JSON value that is not an object"),
    ],
)
def test_a_bad_json_line_is_reported_and_does_not_affect_others(line: bytes, reason: str) -> None:
    rows = json_of(b'{"a":1}\n' + line + b'\n{"b":2}\n')
    assert [row.number for row in good(rows)] == [1, 3]
    (row,) = invalid_rows(rows)
    assert row.place == "file, line 2" and reason in row.reason and row.remedy


def test_raw_lines_are_unchanged() -> None:
    rows = list(raw_rows(read_lines(io.BytesIO(b"{bad\n\n\xff\r\n")), "file"))
    assert rows == [InputRow(1, None, b"{bad"), InputRow(2, None, b""), InputRow(3, None, b"\xff")]


def pieces(data: bytes) -> list[tuple[int, bytes | None] | None]:
    read_end, write_end = os.pipe()
    os.write(write_end, data)
    os.close(write_end)
    try:
        return list(follow_lines(read_end))
    finally:
        os.close(read_end)


@pytest.mark.parametrize("lines_of", [lambda data: list(read_lines(io.BytesIO(data))), pieces], ids=["file", "pipe"])
def test_a_line_that_is_too_long_is_skipped_entirely(
    lines_of: Callable[[bytes], list[object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_readers, "MAX_LINE_BYTES", 10)
    data = b"a" * 10 + b"\n" + b"b" * 11 + b"\n" + b"c" * 95 + b"\nd\n" + b"e" * 50
    assert lines_of(data) == [(1, b"a" * 10), (2, None), (3, None), (4, b"d"), (5, None)]


def test_an_open_pipe_yields_available_lines_without_waiting() -> None:
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


def test_a_byte_order_mark_is_not_part_of_the_first_line() -> None:
    assert json_of(b'\xef\xbb\xbf{"a":1}\n{"b":2}') == [
        InputRow(1, {"a": 1}, b'{"a":1}'),
        InputRow(2, {"b": 2}, b'{"b":2}'),
    ]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_another_encoding_is_reported_once(encoding: str) -> None:
    with pytest.raises(DataError, match=r"the file is UTF-(16|32)") as caught:
        json_of('{"a":1}\n{"a":2}\n'.encode(encoding))
    assert "iconv" in str(caught.value.remedy)


def test_a_file_is_read_lazily() -> None:
    stream = io.BufferedReader(io.BytesIO(b'{"a":1}\n' * 100_000), 1024)  # type: ignore[arg-type]
    rows = json_rows(read_lines(stream), "file")
    assert isinstance(next(rows), InputRow)
    assert stream.tell() < 10_000


def test_a_parser_error_names_the_line_once_and_the_column() -> None:
    (row,) = invalid_rows(json_of(b'{"a":1}\n{"a":NaN}\n'))
    assert (row.place, row.reason) == (
        "file, line 2",
        "not JSON: unexpected character, expected a JSON value, column 6",
    )
