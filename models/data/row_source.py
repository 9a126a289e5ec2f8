"""Files, URLs and standard input as sources of rows, with their reading progress."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import BinaryIO

from forebay.models.data.csv_rows import CheckColumns, CsvOptions, csv_rows
from forebay.models.data.input_row import InputRow, InputRows, InvalidRow
from forebay.models.data.line_readers import follow_lines, json_rows, raw_rows, read_lines
from forebay.models.data.locations import STDIN, DataFile, find_files
from forebay.models.data.streams import (
    READ_ERRORS,
    compression_of,
    format_of,
    open_stream,
    pyarrow_missing,
    read_failure,
    stored_position,
)
from forebay.models.data.table_options import TableFormat
from forebay.schemas.errors import ConfigError

_STDIN_FILE = DataFile("stdin", "standard input", lambda: sys.stdin.buffer, is_pipe=True)


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How to read a source.

    format: None to infer it from the file name. raw: whether to read every line unchanged. csv: how to read CSV and TSV.
    """

    format: TableFormat | None = None
    raw: bool = False
    csv: CsvOptions = field(default_factory=CsvOptions)


class RowSource:
    """The rows of one or several files, or of standard input. total_bytes: the size of all files, None if unknown."""

    def __init__(self, name: str, rows: InputRows, position: Callable[[], int], total_bytes: int | None) -> None:
        self.name = name
        self.rows = rows
        self.total_bytes = total_bytes
        self._position = position

    def fraction(self) -> float | None:
        """Return the part that was read, from 0 to 1; None if the size is not known."""
        if not self.total_bytes:
            return None
        return min(1.0, self._position() / self.total_bytes)


@contextlib.contextmanager
def open_rows(
    location: str, options: ReadOptions, check_columns: CheckColumns = lambda columns: None
) -> Iterator[RowSource]:
    """Open the files at a location as rows: a path, a pattern such as `data/*.csv`, a URL, or `-` for standard input.

    check_columns: receives the column names of each CSV, Parquet and Arrow file, and can raise.
    Raises DataError for a file that cannot be read (also later, from the rows); ConfigError for a format that cannot be
    inferred or needs a package that is not installed.
    """
    if location == STDIN:
        with contextlib.closing(_guarded(_stdin_rows(options, check_columns), _STDIN_FILE)) as rows:
            yield RowSource("stdin", rows, lambda: 0, None)
        return
    files = find_files(location)
    formats = [_format(file, options) for file in files]
    reading = _Reading(files, formats, options, check_columns)
    # The readers must be closed before the files: they use them.
    with contextlib.closing(reading.rows()) as rows:
        yield RowSource(files[0].name if len(files) == 1 else location, rows, reading.position, reading.total_bytes)


def _stdin_rows(options: ReadOptions, check_columns: CheckColumns) -> InputRows:
    file_format = options.format or "jsonl"
    if file_format in ("parquet", "arrow"):
        raise ConfigError(
            f"{file_format.capitalize()} cannot be read from standard input",
            kind="format",
            remedy="write it to a file first",
        )
    # A pipe can stay open for a long time: return the rows that have arrived while waiting for more.
    if options.raw or file_format == "jsonl":
        lines = follow_lines(sys.stdin.fileno())
        return raw_rows(lines, "stdin") if options.raw else json_rows(lines, "stdin")
    return _csv(sys.stdin.buffer, "stdin", file_format=file_format, options=options, check_columns=check_columns)


def _format(file: DataFile, options: ReadOptions) -> TableFormat:
    file_format = options.format or format_of(file.name)
    if file_format in ("parquet", "arrow"):
        if options.raw:
            raise ConfigError(
                f"--raw reads lines of text, not {file_format.capitalize()}", kind="format", remedy="remove --raw"
            )
        if compression_of(file.name) is not None:
            raise ConfigError(
                f"{file.name}: {file_format.capitalize()} files cannot be read compressed",
                kind="format",
                remedy="write the file again with the compression of its own format, or decompress it",
            )
    return file_format


class _Reading:
    """The reading of several files, one after the other."""

    def __init__(
        self, files: Sequence[DataFile], formats: Sequence[TableFormat], options: ReadOptions, check: CheckColumns
    ) -> None:
        self._files = files
        self._formats = formats
        self._options = options
        self._check = check
        self._done = 0
        self._raw: BinaryIO | None = None

    @property
    def total_bytes(self) -> int | None:
        sizes = [file.size for file in self._files if file.size is not None]
        return sum(sizes) if len(sizes) == len(self._files) else None

    def position(self) -> int:
        return self._done + (0 if self._raw is None else stored_position(self._raw))

    def rows(self) -> Generator[InputRow | InvalidRow | None, None, None]:
        several = len(self._files) > 1
        for file, file_format in zip(self._files, self._formats, strict=True):
            with (
                open_stream(file) as (stream, self._raw),
                contextlib.closing(_guarded(self._rows_of(stream, file, file_format), file)) as rows,
            ):
                for row in rows:
                    yield row._replace(file=file.name) if several and isinstance(row, InputRow) else row
            self._raw = None
            self._done += file.size or 0

    def _rows_of(self, stream: BinaryIO, file: DataFile, file_format: TableFormat) -> InputRows:
        options = self._options
        if file_format in ("parquet", "arrow"):
            return _arrow_rows(stream, file.name, file_format, self._check)
        if options.raw:
            return raw_rows(read_lines(stream), file.name)
        if file_format == "jsonl":
            return json_rows(read_lines(stream), file.name)
        return _csv(stream, file.name, file_format=file_format, options=options, check_columns=self._check)


def _csv(
    stream: BinaryIO, name: str, file_format: TableFormat, options: ReadOptions, check_columns: CheckColumns
) -> InputRows:
    usual = "\t" if file_format == "tsv" else ","
    return csv_rows(stream, name, replace(options.csv, usual_delimiter=usual), check_columns)


def _arrow_rows(stream: BinaryIO, name: str, file_format: TableFormat, check_columns: CheckColumns) -> InputRows:
    try:
        from forebay.models.data.parquet_rows import arrow_rows, parquet_rows
    except ImportError:
        raise pyarrow_missing(file_format.capitalize()) from None
    return (parquet_rows if file_format == "parquet" else arrow_rows)(stream, name, check_columns)


def _guarded(rows: InputRows, file: DataFile) -> Generator[InputRow | InvalidRow | None, None, None]:
    """Yield the rows, and convert errors of the file system and the decompressor to DataError."""
    try:
        yield from rows
    except READ_ERRORS as error:
        raise read_failure(file, error) from error
