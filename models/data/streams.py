"""Formats and compressions of files by their names, and their decompressed bytes."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import PurePath
from typing import Any, BinaryIO, Final, cast

from forebay.models.data.locations import DataFile
from forebay.models.data.table_options import TABLE_FORMATS, TableFormat
from forebay.schemas.errors import ConfigError, DataError

COMPRESSIONS: Final = {".gz": "gzip", ".zst": "zstd"}
READ_ERRORS: Final = (EOFError, zlib.error, OSError)
_BUFFER_BYTES: Final = 1 << 20
_SUFFIXES: Final[dict[str, TableFormat]] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".arrows": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
}


def compression_of(name: str) -> str | None:
    """Return how a file is compressed, by its name: gzip or zstd."""
    return COMPRESSIONS.get(PurePath(name).suffix.lower())


def format_of(name: str) -> TableFormat:
    """Return the format of a file by its name. Raises ConfigError if it cannot be inferred."""
    path = PurePath(name)
    plain = path.with_suffix("") if path.suffix.lower() in COMPRESSIONS else path
    file_format = _SUFFIXES.get(plain.suffix.lower())
    if file_format is None:
        raise ConfigError(
            f"{name}: the format cannot be inferred from the file name",
            kind="format",
            remedy=f"set it with --format {'|'.join(TABLE_FORMATS)}",
        )
    return file_format


def pyarrow_missing(what: str) -> ConfigError:
    """Return the error for something that needs pyarrow."""
    return ConfigError(
        f"reading {what} needs pyarrow, which is not installed",
        kind="files_missing",
        remedy="pip install 'forebay[files]', or convert the file to CSV or JSON lines",
    )


@contextmanager
def open_stream(file: DataFile) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """Open a file; give its bytes decompressed, and as stored.

    Raises DataError if it cannot be opened; ConfigError if the compression needs a package that is not installed.
    """
    compression = compression_of(file.name)
    with ExitStack() as stack:
        try:
            raw = file.open()
        except OSError as error:
            raise DataError(f"{file.place}: cannot be read: {error.strerror or error}", kind="unreadable") from error
        if not file.is_pipe or file.name != "stdin":
            stack.callback(raw.close)
        stream = raw
        if compression == "gzip":
            stream = cast("BinaryIO", gzip.GzipFile(fileobj=raw))
        elif compression == "zstd":
            stream = _open_zstd(raw)
        yield stream, raw


def stored_position(raw: BinaryIO) -> int:
    """Return how many bytes of a file were read as it is stored; 0 for a pipe."""
    try:
        return raw.tell()
    except (OSError, ValueError):  # a pipe, or a file that is closed
        return 0


def read_failure(file: DataFile, error: Exception) -> DataError:
    """Return the error for a file whose bytes cannot be read to the end."""
    return DataError(
        f"{file.place}: reading failed: {error}", kind="unreadable", remedy="the file seems to be damaged or cut off"
    )


def _open_zstd(raw: BinaryIO) -> BinaryIO:
    try:
        import pyarrow as pa
    except ImportError:
        raise pyarrow_missing("files compressed with Zstandard") from None
    decompressed = pa.CompressedInputStream(pa.PythonFile(raw, "r"), "zstd")
    return cast("BinaryIO", io.BufferedReader(_ArrowStream(decompressed), _BUFFER_BYTES))


class _ArrowStream(io.RawIOBase):
    """A stream of Arrow as one of Python."""

    def __init__(self, stream: Any) -> None:
        super().__init__()
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
