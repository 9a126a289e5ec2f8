"""Columns of text formats that are stated to be times."""

from __future__ import annotations

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from forebay.models.data.csv_rows import read_value
from forebay.models.data.times import time_of

TIMESTAMP: Final = pa.timestamp("us", tz="UTC")


def times_of_texts(texts: pa.Array) -> pa.Array | None:
    """Return a column of texts as timestamps: each distinct text is read once. None if a text is not a time."""
    encoded = pc.dictionary_encode(texts)
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    times = [time_of(read_value(text)) for text in encoded.dictionary.to_pylist()]
    if None in times:
        return None
    return pa.array(times, TIMESTAMP).take(encoded.indices)
