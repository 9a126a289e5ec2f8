"""Lines of text into rows: JSON lines, and lines as they are. Lazy, and bounded in memory whatever the file holds."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from typing import BinaryIO, Final

import orjson

from forebay.stream.publish.encoding import BOM, check_encoding
from forebay.stream.publish.input_row import InputRow, InputRows, InvalidRow

MAX_LINE_BYTES: Final = 64 * 1024 * 1024
_READ_BYTES: Final = 1 << 16

_JSON_REMEDY: Final = (
    "one JSON object a line is expected; --skip-bad-lines leaves such lines out, --raw sends them as they are"
)

Lines = Iterator[tuple[int, bytes | None] | None]
"""Lines without their ends, with their numbers from 1; instead of its bytes None for one that is too long to be held.

None in place of a line: nothing more is there at the moment.
"""


def json_rows(lines: Lines, name: str) -> InputRows:
    """One row for each line that holds a JSON object; blank lines are passed over. Raises DataError for UTF-16."""
    for found in lines:
        if found is None:
            yield None
            continue
        number, line = found
        place = f"{name}, line {number}"
        if line is None:
            yield _too_long(place)
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
            kind = "an array" if isinstance(values, list) else "no object"
            hint = "; one large array becomes lines with: jq -c '.[]'" if isinstance(values, list) else ""
            yield InvalidRow(place, f"the line is {kind}, and an event is an object", _JSON_REMEDY + hint)


def _within_line(error: ValueError) -> str:
    """Return the parser's message with the column alone: its "line 1" is always this line, whatever its number."""
    if isinstance(error, orjson.JSONDecodeError):
        return f"{error.msg}, column {error.colno}"
    return str(error)


def raw_rows(lines: Lines, name: str) -> InputRows:
    """Each line as it stands; even empty ones."""
    for found in lines:
        if found is None:
            yield None
        else:
            number, line = found
            yield _too_long(f"{name}, line {number}") if line is None else InputRow(number, None, line)


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


def _without_end(line: bytes) -> bytes:
    return line.removesuffix(b"\n").removesuffix(b"\r")


def _too_long(place: str) -> InvalidRow:
    return InvalidRow(place, f"the line is longer than {MAX_LINE_BYTES} bytes", "write one event a line")
