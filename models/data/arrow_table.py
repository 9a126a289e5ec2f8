"""Columnar readers of Parquet and Arrow files (Feather, IPC files and IPC streams)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from forebay.models.data.arrow_files import arrow_batches, open_arrow
from forebay.models.data.blocks import ParsedBlock, Task
from forebay.models.data.columns import Expected, selected_columns
from forebay.models.data.table_options import TableOptions
from forebay.schemas.errors import DataError

_BATCH_ROWS: Final = 65_536
_ERRORS: Final = (pa.ArrowException, OSError, ValueError, TypeError, LookupError, OverflowError, NotImplementedError)


class ArrowTable:
    """An open Parquet or Arrow file. See `CsvTable` for the arguments. is_parquet: the format of the file."""

    def __init__(
        self, stream: Any, place: str, options: TableOptions, expected: Expected | None, *, is_parquet: bool
    ) -> None:
        self._place = place
        self._format = "Parquet" if is_parquet else "Arrow"
        try:
            self._file: Any = pq.ParquetFile(stream) if is_parquet else open_arrow(stream)
            found = self._file.schema_arrow if is_parquet else self._file.schema
        except _ERRORS as error:
            raise self._failure(place, error) from error
        names = selected_columns(place, found.names, options.columns)
        if expected is None:
            self.schema = pa.schema([(name, _plain_type(found.field(name).type)) for name in names])
        else:
            expected.check(place, found.names, chosen=options.columns is not None)
            self.schema = expected.schema
        self._names = self.schema.names

    def tasks(self) -> Iterator[Task]:
        """Yield what converts the batches of the file, in order."""
        row = 0
        batches = self._batches()
        while True:
            try:
                batch = next(batches, None)
            except _ERRORS as error:
                raise self._failure(f"{self._place}, after row {row}", error) from error
            if batch is None:
                return
            yield self._task(batch, row)
            row += batch.num_rows

    def _batches(self) -> Iterator[pa.RecordBatch]:
        if isinstance(self._file, pq.ParquetFile):
            yield from self._file.iter_batches(batch_size=_BATCH_ROWS, columns=self._names, use_threads=False)
        else:
            yield from arrow_batches(self._file)

    def _task(self, batch: pa.RecordBatch, row: int) -> Task:
        return lambda: ParsedBlock(self._convert(batch, row), [])

    def _convert(self, batch: pa.RecordBatch, row: int) -> pa.RecordBatch:
        arrays = []
        for field in self.schema:
            array = batch.column(batch.schema.get_field_index(field.name))
            try:
                array.validate(full=True)
                arrays.append(array if array.type == field.type else array.cast(field.type))
            except _ERRORS as error:
                raise DataError(
                    f"{self._place}, rows {row + 1} to {row + batch.num_rows}: the column {field.name} holds "
                    f"{array.type}, and cannot be read as {field.type}: {error}",
                    kind="column_type",
                    remedy="write the file again with the type of the other files, and with valid values",
                ) from error
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _failure(self, place: str, error: Exception) -> DataError:
        return DataError(
            f"{place}: the file cannot be read as {self._format}: {error}",
            kind="unreadable",
            remedy="check the file, or set its format with --format",
        )


def _plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the type of the values of a dictionary or of runs; other types as they are."""
    return kind.value_type if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind) else kind
