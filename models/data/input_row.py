"""The rows that the file readers yield, valid and invalid."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple


class InputRow(NamedTuple):
    """One row of a source.

    number: counted from 1: the line of a text file, the data row of CSV and Parquet.
    values: the parsed fields; None if `line` is sent unchanged (--raw).
    line: the line from which the values were parsed; None if the format does not have one event per line.
    written: for CSV, the original text of each field; ids and keys are taken from it, because numbers would change them.
    line_number: for CSV, the line of the file in which the row ends.
    file: the name of its file, if the source has several.
    """

    number: int
    values: Mapping[str, object] | None
    line: bytes | None
    written: Mapping[str, str] | None = None
    line_number: int | None = None
    file: str | None = None


@dataclass(frozen=True, slots=True)
class InvalidRow:
    """A row that cannot be published. place: the file and line, as messages show it."""

    place: str
    reason: str
    remedy: str


InputRows = Iterator[InputRow | InvalidRow | None]
"""None: an open pipe has no more data at the moment."""
