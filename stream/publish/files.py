"""Files and standard input as rows: which format, whether compressed, how far read."""

from __future__ import annotations

import contextlib
import gzip
import sys
import zlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Final, Literal, cast

from forebay.schemas.errors import ConfigError, DataError
from forebay.stream.core.extras import install_hint
from forebay.stream.publish.csv_rows import CheckColumns, CsvOptions, csv_rows
from forebay.stream.publish.input_row import InputRow, InputRows, InvalidRow
from forebay.stream.publish.line_readers import follow_lines, json_rows, raw_rows, read_lines

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

    format: None for the one that the file's name says; raw: every line as it stands; csv: how to read CSV and TSV.
    """

    format: Format | None = None
    raw: bool = False
    csv: CsvOptions = field(default_factory=CsvOptions)


class Source:
    """An open source of rows."""

    def __init__(self, name: str, rows: InputRows, position: Callable[[], int], total_bytes: int | None) -> None:
        self.name = name
        self.rows = rows
        self.total_bytes = total_bytes
        self._position = position

    def fraction(self) -> float | None:
        """How much of it was read, 0 to 1; None where its size is not known."""
        if not self.total_bytes:
            return None
        return min(1.0, self._position() / self.total_bytes)


@contextlib.contextmanager
def open_source(
    path: str, options: ReadOptions, check_columns: CheckColumns = lambda columns: None
) -> Iterator[Source]:
    """Open a file, or standard input for `-`, as rows.

    `check_columns` gets the names of the columns of CSV and Parquet, and may raise. Raises DataError for a file that cannot
    be read (also later, from the rows), ConfigError for a format that cannot be told or needs what is not installed.
    """
    if path == "-":
        form = options.format or "jsonl"
        if form == "parquet":
            raise ConfigError(
                "Parquet cannot be read from standard input", kind="format", remedy="write it to a file first"
            )
        # A pipe may stay open for long: what has come is published while more is waited for.
        if options.raw or form == "jsonl":
            lines = follow_lines(sys.stdin.fileno())
            rows = raw_rows(lines, "stdin") if options.raw else json_rows(lines, "stdin")
        else:
            rows = _csv(sys.stdin.buffer, "stdin", form=form, options=options, check_columns=check_columns)
        with contextlib.closing(_with_read_errors(rows, "standard input")) as guarded:
            yield Source("stdin", guarded, lambda: 0, None)
        return
    file = Path(path)
    _check_is_file(file)
    compressed = file.suffix.lower() == ".gz"
    form = options.format or _format_of(file.with_suffix("") if compressed else file)
    if form == "parquet" and options.raw:
        raise ConfigError("--raw takes lines of text, not Parquet", kind="format", remedy="leave --raw out")
    try:
        with file.open("rb") as raw:
            size = file.stat().st_size
            if form == "parquet":
                rows = _parquet_rows(raw, file.name, check_columns)
            else:
                stream = cast("BinaryIO", gzip.GzipFile(fileobj=raw)) if compressed else raw
                rows = _text_rows(stream, file.name, form=form, options=options, check_columns=check_columns)
            # Closed before the file is: the readers let go of it.
            with contextlib.closing(_with_read_errors(rows, path)) as guarded:
                yield Source(file.name, guarded, raw.tell, size)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}", kind="unreadable") from error


def _check_is_file(file: Path) -> None:
    """Raise DataError for a folder or a missing file, before its name is asked for a format."""
    if file.is_dir():
        raise DataError(f"{file}: this is a folder", kind="unreadable", remedy="publish its files one by one")
    if not file.exists():
        raise DataError(f"{file}: there is no such file", kind="unreadable", remedy="check the path")


def _text_rows(
    stream: BinaryIO, name: str, form: Format, options: ReadOptions, check_columns: CheckColumns
) -> InputRows:
    if options.raw:
        return raw_rows(read_lines(stream), name)
    if form == "jsonl":
        return json_rows(read_lines(stream), name)
    return _csv(stream, name, form=form, options=options, check_columns=check_columns)


def _csv(stream: BinaryIO, name: str, form: Format, options: ReadOptions, check_columns: CheckColumns) -> InputRows:
    usual = "\t" if form == "tsv" else ","
    return csv_rows(stream, name, replace(options.csv, usual_delimiter=usual), check_columns)


def _parquet_rows(raw: BinaryIO, name: str, check_columns: CheckColumns) -> InputRows:
    try:
        from forebay.stream.publish.parquet_rows import parquet_rows
    except ImportError:
        raise ConfigError(
            "reading Parquet needs pyarrow, which is not installed",
            kind="files_missing",
            remedy=f"{install_hint('files')}; or convert the file to CSV or JSON lines",
        ) from None
    return parquet_rows(raw, name, check_columns)


def _with_read_errors(rows: InputRows, path: str) -> Generator[InputRow | InvalidRow | None, None, None]:
    """The rows, with what the file system and the decompressor raise turned into errors for people."""
    try:
        yield from rows
    except (EOFError, zlib.error, OSError) as error:
        raise DataError(
            f"{path}: cannot be read further: {error}", kind="unreadable", remedy="the file looks damaged or cut off"
        ) from error


def _format_of(file: Path) -> Format:
    form = _SUFFIXES.get(file.suffix.lower())
    if form is None:
        raise ConfigError(
            f"{file.name}: the format cannot be inferred from the file name",
            kind="format",
            remedy=f"name it with --format {'|'.join(FORMATS)}",
        )
    return form
