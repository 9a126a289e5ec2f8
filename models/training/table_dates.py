"""Read the times of a table's column as a worker reads them from events."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from forebay.models.artefacts.date_parts import MISSING, TimeFormat, times_of


def dates_of(column: pa.Array, time_format: TimeFormat) -> npt.NDArray[np.int64]:
    """Return the times of a column of texts, numbers, dates or timestamps, int64 [b].

    A value that is missing or not a time is `MISSING`. Timestamps and dates without a zone are in UTC.
    """
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        zone = getattr(column.type, "tz", None)
        microseconds = column.cast(pa.timestamp("us", tz=zone), safe=False).cast(pa.int64())
        times: npt.NDArray[np.int64] = microseconds.fill_null(MISSING).to_numpy(zero_copy_only=False)
        return times
    lenient = TimeFormat(time_format.unit, time_format.clock, nullable=True)
    encoded = pc.dictionary_encode(column, null_encoding="encode")
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    distinct = times_of(encoded.dictionary.to_pylist(), lenient)
    found: npt.NDArray[np.int64] = distinct[encoded.indices.to_numpy(zero_copy_only=False)]
    return found
