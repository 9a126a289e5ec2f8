"""Readers of JSON lines and of raw lines. They are lazy, and their memory is bounded whatever the file holds."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from typing import BinaryIO, Final

import orjson

from forebay.models.data.encoding import BOM, check_encoding
from forebay.models.data.input_row import InputRow, InputRows, InvalidRow

MAX_LINE_BYTES: Final = 64 * 1024 * 1024
_READ_BYTES: Final = 1 << 16

_JSON_REMEDY: Final = "write one JSON object per line; --skip-bad-lines skips such lines, --raw sends them unchanged"

Lines = Iterator[tuple[int, bytes | None] | None]
"""Lines without line endings, with their numbers from 1; None instead of the bytes of a line that is too long.

None instead of a line: a pipe has no more data at the moment.
"""


def json_rows(lines: Lines, name: str) -> InputRows:
    """Yield one row per line that holds a JSON object; skip blank lines. Raises DataError for UTF-16."""
    for numbered in lines:
        if numbered is None:
            yield None
            continue
        number, line = numbered
        place = f"{name}, line {number}"
        if line is None:
            yield too_long(place)
            continue
        if number == 1:
            check_encoding(line, name)
            line = line.removeprefix(BOM)
        if not line.strip():
            continue
        try:
            values = orjson.loads(line)
        except ValueError as error:
            yield InvalidRow(place, f"not JSON: {_within_line(error)}", _JSON_REMEDY)
            continue
        if isinstance(values, dict):
            yield InputRow(number, values, line)
        else:
            kind = "a JSON array" if isinstance(values, list) else "a JSON value that is not an object"
            hint = "; `jq -c '.[]'` writes the elements of a large array as lines" if isinstance(values, list) else ""
            yield InvalidRow(place, f"the line is {kind}, but an event is an object", _JSON_REMEDY + hint)


def _within_line(error: ValueError) -> str:
    """Return the parser's message with only the column: its "line 1" is always the current line."""
    if isinstance(error, orjson.JSONDecodeError):
        return f"{error.msg}, column {error.colno}"
    return str(error)


def raw_rows(lines: Lines, name: str) -> InputRows:
    """Yield every line unchanged, also empty ones."""
    for numbered in lines:
        if numbered is None:
            yield None
        else:
            number, line = numbered
            yield too_long(f"{name}, line {number}") if line is None else InputRow(number, None, line)


def read_lines(stream: BinaryIO) -> Lines:
    """Yield the lines of a file."""
    number = 0
    while line := stream.readline(MAX_LINE_BYTES + 2):
        number += 1
        content = _without_end(line)
        yield number, content if len(content) <= MAX_LINE_BYTES else None
        while not line.endswith(b"\n") and (line := stream.readline(MAX_LINE_BYTES)):
            pass  # the rest of a line that is too long


def follow_lines(descriptor: int) -> Lines:
    """Yield the lines of a pipe (or another file descriptor) without waiting: None when no data is available."""
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


def _without_end(line: bytes) -> bytes:
    return line.removesuffix(b"\n").removesuffix(b"\r")


def too_long(place: str) -> InvalidRow:
    return InvalidRow(place, f"the line is longer than {MAX_LINE_BYTES:,} bytes", "write one event per line")
