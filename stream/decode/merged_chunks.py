"""Merges chunks of one partition and model whose records alternate, such as records of different formats."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from operator import attrgetter

import numpy as np

from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import Chunk
from forebay.stream.core.rows import RowRecords, as_rows, position_of, row_of

_OFFSET = attrgetter("offset")


def merge_by_model(chunks: Sequence[Chunk], models: Sequence[ModelRef]) -> list[Chunk]:
    """Return one chunk for each model that has records, in the order of the models."""
    if len(chunks) == 1:
        return list(chunks)
    by_model: dict[ModelRef, list[Chunk]] = {}
    for chunk in chunks:
        by_model.setdefault(chunk.model, []).append(chunk)
    return [merge_chunks(by_model[ref]) for ref in models if ref in by_model]


def merge_chunks(chunks: Sequence[Chunk]) -> Chunk:
    """Return the records of all chunks as one, in offset order."""
    if len(chunks) == 1:
        return chunks[0]
    records = [record for chunk in chunks for record in chunk.records]
    has_rows = any(isinstance(chunk.records, RowRecords) for chunk in chunks)
    place_of = position_of if has_rows else _OFFSET
    offsets_B = np.fromiter(map(_OFFSET, records), dtype=np.int64, count=len(records))
    rows_B = np.array([row_of(record) or 0 for record in records]) if has_rows else np.zeros(len(records))
    order_B = np.lexsort((rows_B, offsets_B))
    order = order_B.tolist()
    new_rows = {row: place for place, row in enumerate(order)}
    starts = np.cumsum([0, *(chunk.num_rows for chunk in chunks)]).tolist()
    ids = [event_id for chunk in chunks for event_id in chunk.ids]
    timestamps = [timestamp for chunk in chunks for timestamp in chunk.timestamps]
    ordered = [records[row] for row in order]
    rejections = sorted(
        (rejection for chunk in chunks for rejection in chunk.rejections), key=lambda one: place_of(one.record)
    )
    # Before a rejection are the valid events before it, and the earlier rejections.
    places = [
        bisect_left(ordered, place_of(rejection.record), key=place_of) + number
        for number, rejection in enumerate(rejections)
    ]
    return Chunk(
        chunks[0].partition,
        chunks[0].epoch,
        chunks[0].model,
        records=as_rows(ordered) if has_rows else ordered,
        ids=[ids[row] for row in order],
        timestamps=[timestamps[row] for row in order],
        x_BF=np.concatenate([chunk.x_BF for chunk in chunks])[order_B],
        rejections=[replace(one, index=place) for one, place in zip(rejections, places, strict=True)],
        num_records=sum(chunk.num_records for chunk in chunks),
        num_bytes=sum(chunk.num_bytes for chunk in chunks),
        next_offset=max(chunk.next_offset for chunk in chunks),
        keys={
            new_rows[start + row]: key
            for start, chunk in zip(starts, chunks, strict=False)
            for row, key in chunk.keys.items()
        },
        deadlines={
            new_rows[start + row]: ms
            for start, chunk in zip(starts, chunks, strict=False)
            for row, ms in chunk.deadlines.items()
        },
    )
