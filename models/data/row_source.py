"""Files and standard input as sources of rows, with their format, compression and reading progress."""

from __future__ import annotations

import contextlib
import gzip
import sys
import zlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Final, Literal, cast

from forebay.models.data.csv_rows import CheckColumns, CsvOptions, csv_rows
from forebay.models.data.input_row import InputRow, InputRows, InvalidRow
from forebay.models.data.line_readers import follow_lines, json_rows, raw_rows, read_lines
from forebay.schemas.errors import ConfigError, DataError

Format = Literal["jsonl", "csv", "tsv", "parquet"]
FORMATS: Final[tuple[Format, ...]] = ("jsonl", "csv", "tsv", "parquet")
_SUFFIXES: Final[dict[str, Format]] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
}


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How to read a source.

    format: None to infer it from the file name. raw: whether to send every line unchanged. csv: how to read CSV and TSV.
    """

    format: Format | None = None
    raw: bool = False
    csv: CsvOptions = field(default_factory=CsvOptions)


class Source:
    """An open file or standard input, with its rows. total_bytes: the size of the file, None if unknown."""

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
def open_source(
    path: str, options: ReadOptions, check_columns: CheckColumns = lambda columns: None
) -> Iterator[Source]:
    """Open a file as rows, or standard input if the path is `-`.

    check_columns: receives the column names of CSV and Parquet, and can raise.
    Raises DataError for a file that cannot be read (also later, from the rows); ConfigError for a format that cannot be
    inferred or needs a package that is not installed.
    """
    if path == "-":
        file_format = options.format or "jsonl"
        if file_format == "parquet":
            raise ConfigError(
                "Parquet cannot be read from standard input", kind="format", remedy="write it to a file first"
            )
        # A pipe can stay open for a long time: publish the events that have arrived while waiting for more.
        if options.raw or file_format == "jsonl":
            lines = follow_lines(sys.stdin.fileno())
            rows = raw_rows(lines, "stdin") if options.raw else json_rows(lines, "stdin")
        else:
            rows = _csv(
                sys.stdin.buffer, "stdin", file_format=file_format, options=options, check_columns=check_columns
            )
        with contextlib.closing(_with_read_errors(rows, "standard input")) as guarded:
            yield Source("stdin", guarded, lambda: 0, None)
        return
    file = Path(path)
    _check_is_file(file)
    compressed = file.suffix.lower() == ".gz"
    file_format = options.format or _format_of(file.with_suffix("") if compressed else file)
    if file_format == "parquet" and options.raw:
        raise ConfigError("--raw reads lines of text, not Parquet", kind="format", remedy="remove --raw")
    try:
        with file.open("rb") as raw:
            size = file.stat().st_size
            if file_format == "parquet":
                rows = _parquet_rows(raw, file.name, check_columns)
            else:
                stream = cast("BinaryIO", gzip.GzipFile(fileobj=raw)) if compressed else raw
                rows = _text_rows(
                    stream, file.name, file_format=file_format, options=options, check_columns=check_columns
                )
            # The readers must be closed before the file: they use it.
            with contextlib.closing(_with_read_errors(rows, path)) as guarded:
                yield Source(file.name, guarded, raw.tell, size)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}", kind="unreadable") from error


def _check_is_file(file: Path) -> None:
    """Raise DataError for a folder or a missing file. Call it before the format is inferred from the name."""
    if file.is_dir():
        raise DataError(f"{file}: this is a folder", kind="unreadable", remedy="publish its files one by one")
    if not file.exists():
        raise DataError(f"{file}: there is no such file", kind="unreadable", remedy="check the path")


def _text_rows(
    stream: BinaryIO, name: str, file_format: Format, options: ReadOptions, check_columns: CheckColumns
) -> InputRows:
    if options.raw:
        return raw_rows(read_lines(stream), name)
    if file_format == "jsonl":
        return json_rows(read_lines(stream), name)
    return _csv(stream, name, file_format=file_format, options=options, check_columns=check_columns)


def _csv(
    stream: BinaryIO, name: str, file_format: Format, options: ReadOptions, check_columns: CheckColumns
) -> InputRows:
    usual = "\t" if file_format == "tsv" else ","
    return csv_rows(stream, name, replace(options.csv, usual_delimiter=usual), check_columns)


def _parquet_rows(raw: BinaryIO, name: str, check_columns: CheckColumns) -> InputRows:
    try:
        from forebay.models.data.parquet_rows import parquet_rows
    except ImportError:
        raise ConfigError(
            "reading Parquet needs pyarrow, which is not installed",
            kind="files_missing",
            remedy="pip install 'forebay[files]', or convert the file to CSV or JSON lines",
        ) from None
    return parquet_rows(raw, name, check_columns)


def _with_read_errors(rows: InputRows, path: str) -> Generator[InputRow | InvalidRow | None, None, None]:
    """Yield the rows, and convert errors of the file system and the decompressor to DataError."""
    try:
        yield from rows
    except (EOFError, zlib.error, OSError) as error:
        raise DataError(
            f"{path}: reading failed: {error}", kind="unreadable", remedy="the file seems to be damaged or cut off"
        ) from error


def _format_of(file: Path) -> Format:
    file_format = _SUFFIXES.get(file.suffix.lower())
    if file_format is None:
        raise ConfigError(
            f"{file.name}: the format cannot be inferred from the file name",
            kind="format",
            remedy=f"set it with --format {'|'.join(FORMATS)}",
        )
    return file_format
