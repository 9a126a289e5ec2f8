"""Read a file as record batches, lazily."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from forebay.schemas.errors import DataError


@dataclass(frozen=True, slots=True)
class TableFile:
    """A CSV or Parquet file."""

    path: Path

    @property
    def name(self) -> str:
        """The name, for messages."""
        return self.path.name

    def batches(self, rows: int = 65_536) -> Iterator[pa.RecordBatch]:
        """Yield the rows. Raises DataError if the file cannot be read."""
        try:
            if self.path.suffix in (".parquet", ".pq"):
                yield from pa.parquet.ParquetFile(self.path).iter_batches(rows)
            else:
                options = pa.csv.ConvertOptions(strings_can_be_null=True)
                yield from pa.csv.open_csv(self.path, convert_options=options)
        except (OSError, pa.ArrowInvalid) as error:
            raise DataError(
                f"{self.path}: cannot be read: {error}", kind="unreadable", remedy="check the file"
            ) from None
