"""Lines of text into rows: JSON lines and CSV. Lazy, and bounded in memory whatever the file holds."""

from __future__ import annotations

import csv
import io
import math
import os
import re
import select
from collections.abc import Callable, Collection, Iterator
from typing import BinaryIO, Final

import orjson

from stream.publish.row import BadRow, Row, Rows

MAX_LINE_BYTES: Final = 64 * 1024 * 1024
_READ_BYTES: Final = 1 << 16
NULLS: Final = ("", "NA", "NaN", "nan", "null")

_JSON_REMEDY: Final = (
    "one JSON object a line is expected; --skip-bad-lines leaves such lines out, --raw sends them as they are"
)
_CSV_REMEDY: Final = "mend the line; --skip-bad-lines leaves such lines out"
_NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_INTEGER: Final = re.compile(r"[+-]?\d{1,18}", re.ASCII)


Lines = Iterator[tuple[int, bytes | None] | None]
"""Lines without their ends, with their numbers from 1; instead of its bytes None for one that is too long to be held.

None in place of a line: nothing more is there at the moment.
"""


def json_rows(lines: Lines, name: str) -> Rows:
    """One row for each line that holds a JSON object; blank lines are passed over."""
    for found in lines:
        if found is None:
            yield None
            continue
        number, line = found
        place = f"{name}, line {number}"
        if line is None:
            yield _too_long(place)
            continue
        if not line.strip():
            continue
        try:
            values = orjson.loads(line)
        except ValueError as error:
            yield BadRow(place, f"not JSON: {error}", _JSON_REMEDY)
            continue
        if isinstance(values, dict):
            yield Row(number, values, line)
        else:
            kind = "an array" if isinstance(values, list) else "no object"
            hint = "; one large array becomes lines with: jq -c '.[]'" if isinstance(values, list) else ""
            yield BadRow(place, f"the line is {kind}, and an event is an object", _JSON_REMEDY + hint)


def raw_rows(lines: Lines, name: str) -> Rows:
    """Each line as it stands; even empty ones."""
    for found in lines:
        if found is None:
            yield None
        else:
            number, line = found
            yield _too_long(f"{name}, line {number}") if line is None else Row(number, None, line)


def read_lines(stream: BinaryIO) -> Lines:
    """The lines of a file."""
    number = 0
    while line := stream.readline(MAX_LINE_BYTES + 2):
        number += 1
        whole = _without_end(line)
        yield number, whole if len(whole) <= MAX_LINE_BYTES else None
        while not line.endswith(b"\n") and (line := stream.readline(MAX_LINE_BYTES)):
            pass  # the rest of a line that is too long


def follow_lines(descriptor: int) -> Lines:
    """The lines of a pipe, or of whatever the file descriptor is, without waiting for those that are not there yet."""
    number = 0
    rest = b""
    dropping = False
    while True:
        if not select.select([descriptor], [], [], 0)[0]:
            yield None
            continue
        data = os.read(descriptor, _READ_BYTES)
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            number += 1
            yield number, None if dropping or len(line) > MAX_LINE_BYTES else _without_end(line)
            dropping = False
        if len(rest) > MAX_LINE_BYTES:
            rest, dropping = b"", True
        if not data:
            if rest or dropping:
                yield number + 1, None if dropping else rest
            return


def csv_rows(
    stream: BinaryIO,
    name: str,
    *,
    text_columns: Collection[str] = (),
    nulls: Collection[str] = NULLS,
    delimiter: str = ",",
    check_columns: Callable[[Collection[str]], None] = lambda columns: None,
) -> Rows:
    """One row for each record below the header line, its values by column.

    What is in `nulls` becomes null, what reads as a number becomes one, but for `text_columns`, which stay text.
    `check_columns` gets the header's names and may raise.
    """
    # Bytes that are no UTF-8 must cost their own row, not the reader: they come through as surrogates.
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
    try:
        yield from _csv_rows(text, name, frozenset(text_columns), frozenset(nulls), delimiter, check_columns)
    finally:
        text.detach()  # or it would close the stream, which is the caller's


def _csv_rows(
    text: io.TextIOWrapper,
    name: str,
    text_columns: Collection[str],
    nulls: Collection[str],
    delimiter: str,
    check_columns: Callable[[Collection[str]], None],
) -> Rows:
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    records = _csv_records(reader)
    header = next(records, None)
    if header is None:
        return
    if isinstance(header, csv.Error):
        yield BadRow(f"{name}, line 1", f"the header is not CSV: {header}", "write the names of the columns there")
        return
    twice = {column for column in header if header.count(column) > 1}
    if twice or any(not column for column in header):
        wrong = f"the column {min(twice)!r} is there twice" if twice else "a column has no name"
        yield BadRow(f"{name}, line 1", f"the header cannot be used: {wrong}", "give each column a name of its own")
        return
    check_columns(header)
    readers = [_as_text if column in text_columns else read_value for column in header]
    number = 0
    for record in records:
        if not record:
            continue
        number += 1
        place = f"{name}, line {reader.line_num}"
        if isinstance(record, csv.Error):
            yield BadRow(place, f"not CSV: {record}", _CSV_REMEDY)
        elif len(record) != len(header):
            yield BadRow(place, f"{len(record)} values, but the header has {len(header)} columns", _CSV_REMEDY)
        elif not _is_utf8(record):
            yield BadRow(place, "the line is not UTF-8", "convert the file, for example with iconv -t UTF-8")
        else:
            values = {
                column: None if value in nulls else read(value)
                for column, value, read in zip(header, record, readers, strict=True)
            }
            yield Row(number, values, None)


def _csv_records(reader: Iterator[list[str]]) -> Iterator[list[str] | csv.Error]:
    while True:
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield error


def _without_end(line: bytes) -> bytes:
    return line.removesuffix(b"\n").removesuffix(b"\r")


def _too_long(place: str) -> BadRow:
    return BadRow(place, f"the line is longer than {MAX_LINE_BYTES} bytes", "write one event a line")


def _is_utf8(record: list[str]) -> bool:
    try:
        "".join(record).encode()
    except UnicodeEncodeError:
        return False
    return True


def _as_text(value: str) -> object:
    return value


def read_value(value: str) -> object:
    """A number where the text reads as one, else the text."""
    stripped = value.strip()
    if _INTEGER.fullmatch(stripped):
        return int(stripped)
    if _NUMBER.fullmatch(stripped):
        number = float(stripped)
        # Beyond float64 it stays text, so that whoever reads it sees what was written.
        return number if math.isfinite(number) else value
    return value
