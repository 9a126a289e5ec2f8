"""Rows in files that are mapped into memory, so that tables may be larger than memory.

Shapes: N rows of a width W.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import numpy as np

from forebay.models.artefacts.arrays import FloatArray
from forebay.schemas.errors import StorageError

BLOCK_VALUES: Final = 1_048_576
"""The number of values that are worked on at once: 4 MiB, and several times that within the steps of a preparation."""


class RowFile:
    """A file of float32 rows that is appended to once and then read. A context manager, within which rows are appended."""

    def __init__(self, path: Path, width: int) -> None:
        self._path = path
        self._width = width
        self._num_rows = 0

    def __enter__(self) -> RowFile:
        try:
            self._file = self._path.open("wb")
        except OSError as error:
            raise self._error(error) from None
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, rows_NW: FloatArray) -> None:
        """Write rows at the end. Raises StorageError, for a full disk for example."""
        assert rows_NW.dtype == np.float32 and rows_NW.shape[1:] == (self._width,)
        try:
            self._file.write(np.ascontiguousarray(rows_NW).data)
        except OSError as error:
            raise self._error(error) from None
        self._num_rows += len(rows_NW)

    def rows(self) -> FloatArray:
        """Return all rows [N, W], read-only, mapped from the file."""
        if not self._num_rows:
            return np.empty((0, self._width), dtype=np.float32)
        return np.memmap(self._path, dtype=np.float32, mode="r", shape=(self._num_rows, self._width))

    def _error(self, error: OSError) -> StorageError:
        return StorageError(
            f"{self._path}: cannot be written: {error.strerror or error}",
            remedy="free space, or choose another folder with --cache-dir",
        )


def write_rows(path: Path, width: int, blocks: Iterable[FloatArray]) -> FloatArray:
    """Write blocks of rows into a file and return them, mapped from it."""
    file = RowFile(path, width)
    with file:
        for block in blocks:
            file.append(block)
    return file.rows()


def row_blocks(num_rows: int, width: int) -> Iterator[slice]:
    """Yield slices that cover the rows, each small enough to be worked on in memory."""
    step = max(1, BLOCK_VALUES // max(1, width))
    for start in range(0, num_rows, step):
        yield slice(start, min(start + step, num_rows))
