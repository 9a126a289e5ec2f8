"""Files as one table: the same columns in all, read lazily, in a bounded amount of memory."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from forebay.models.data.arrow_table import ArrowTable
from forebay.models.data.blocks import OpenTable, ParsedBlock, Task, prefetched, rebatch, run_in_order
from forebay.models.data.columns import Expected
from forebay.models.data.csv_table import CsvTable
from forebay.models.data.json_table import JsonTable
from forebay.models.data.locations import DataFile
from forebay.models.data.streams import (
    READ_ERRORS,
    compression_of,
    format_of,
    open_stream,
    read_failure,
    stored_position,
)
from forebay.models.data.table_options import SkippedRows, TableFormat, TableOptions
from forebay.schemas.errors import ConfigError, DataError


class FileTable:
    """Files as a `TableSource`.

    skipped: the rows that were skipped, complete when all batches were read.
    """

    def __init__(self, name: str, files: list[DataFile], options: TableOptions) -> None:
        self._name = name
        self._files = files
        self._options = options
        self._position = 0
        self._was_read = False
        self.skipped = SkippedRows()

    @property
    def name(self) -> str:
        """The path, pattern or URL."""
        return self._name

    @property
    def total_bytes(self) -> int | None:
        """The size of all files as stored; None if it is unknown."""
        sizes = [file.size for file in self._files if file.size is not None]
        return sum(sizes) if len(sizes) == len(self._files) else None

    def fraction(self) -> float | None:
        """Return the part of the files that was read, from 0 to 1; None if their size is not known."""
        total = self.total_bytes
        return min(1.0, self._position / total) if total else None

    def content_key(self) -> str | None:
        """Return a text that is the same as long as the content of the files and the options are; None if it is unknown.

        It is unknown for pipes and stores that report no version, and for files that need no parsing.
        """
        versions = []
        for file in self._files:
            file_format = None if file.is_pipe else _format(file, self._options)
            version = None if file_format in (None, "parquet", "arrow") else _content_version(file)
            if version is None:
                return None
            versions.append((file.place, file_format, version))
        # What does not change the rows is left out.
        return repr((versions, replace(self._options, workers=1, prefetch=0)))

    def stamps(self) -> list[tuple[int, int] | None]:
        """Return the size and the time of change of each file, to notice that one is changed while it is read."""
        return [None if file.path is None else _stamp(file.path) for file in self._files]

    def batches(self, rows: int = 65_536) -> Iterator[pa.RecordBatch]:
        """Yield the rows of all files. See `TableSource`.

        Raises DataError for a file or row that cannot be read, or has other columns or types than the first file; ConfigError
        for options that do not suit the files.
        """
        is_pipe = any(file.is_pipe for file in self._files)
        if is_pipe and self._was_read:
            raise DataError(
                f"{self._name}: a pipe can be read only once", kind="pipe", remedy="write the data to a file first"
            )
        self._was_read = True
        self._position = 0
        self.skipped.clear()
        # A thread that waits for a pipe could not be stopped.
        depth = 0 if is_pipe else self._options.prefetch
        with closing(prefetched(self._all_batches(rows), depth)) as batches:
            yield from batches

    def _all_batches(self, rows: int) -> Generator[pa.RecordBatch, None, None]:
        with closing(self._tasks()) as tasks, closing(run_in_order(tasks, self._options.workers)) as blocks:
            yield from rebatch((self._checked(place, block) for place, block in blocks), rows)

    def _checked(self, place: str, block: ParsedBlock) -> pa.RecordBatch:
        for row in block.invalid:
            if not self._options.skip_invalid:
                raise DataError(f"{row.place}: {row.reason}", kind="bad_row", remedy=row.remedy)
            self.skipped.add(place, row)
        return block.batch

    def _tasks(self) -> Generator[tuple[str, Task], None, None]:
        expected: Expected | None = None
        done = 0
        for file in self._files:
            with _read_errors(file), open_stream(file) as (stream, raw):
                table = _open_table(file, stream, self._options, expected)
                if expected is None:
                    expected = Expected(table.schema, file.place)
                    yield file.place, _empty(table.schema)
                for task in table.tasks():
                    self._position = done + stored_position(raw)
                    yield file.place, task
            done += file.size or 0
            self._position = done


def _open_table(file: DataFile, stream: BinaryIO, options: TableOptions, expected: Expected | None) -> OpenTable:
    file_format = _format(file, options)
    if file_format in ("parquet", "arrow"):
        if compression_of(file.name) is not None or file.is_pipe:
            raise ConfigError(
                f"{file.place}: {file_format} files can be read neither compressed nor from a pipe",
                kind="format",
                remedy="write the file again with the compression of its own format, or decompress it",
            )
        source = stream if file.path is None else pa.OSFile(str(file.path))
        return ArrowTable(source, file.place, options, expected, is_parquet=file_format == "parquet")
    if file_format == "jsonl":
        return JsonTable(stream, file.place, options, expected)
    csv = replace(options.csv, usual_delimiter="\t" if file_format == "tsv" else ",")
    return CsvTable(stream, file.place, replace(options, csv=csv), expected)


def _format(file: DataFile, options: TableOptions) -> TableFormat:
    return options.format or ("jsonl" if file.name == "stdin" else format_of(file.name))


def _content_version(file: DataFile) -> str | None:
    if file.path is None:
        return file.version
    with _read_errors(file), file.open() as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _empty(schema: pa.Schema) -> Task:
    arrays = [pa.array([], kind) for kind in schema.types]
    return lambda: ParsedBlock(pa.RecordBatch.from_arrays(arrays, schema=schema), [])


@contextmanager
def _read_errors(file: DataFile) -> Iterator[None]:
    try:
        yield
    except READ_ERRORS as error:
        raise read_failure(file, error) from error
