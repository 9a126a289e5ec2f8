"""What the readers give: rows, and rows that cannot be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple


class InputRow(NamedTuple):
    """One row of a source.

    number: counts from 1: lines of text, data rows of CSV and Parquet.
    values: the parsed fields; None for a source that is sent as it stands, whose `line` is sent.
    line: the line that the values were parsed from; None for a source that does not have one event a line.
    written: for CSV the text of each field; what identifies is taken from here, for it must not go through numbers.
    line_number: for CSV the line of the file that the row ends in.
    """

    number: int
    values: Mapping[str, object] | None
    line: bytes | None
    written: Mapping[str, str] | None = None
    line_number: int | None = None


@dataclass(frozen=True, slots=True)
class InvalidRow:
    """A row that cannot be published. `place` is what people look for: the file and the line."""

    place: str
    reason: str
    remedy: str


class RowFault(Exception):
    """Why a row cannot become an event."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy


InputRows = Iterator[InputRow | InvalidRow | None]
"""None: nothing more is there at the moment (of a pipe that is still open)."""
