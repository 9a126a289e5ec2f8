"""Rejects rows of a chunk after it was decoded. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from operator import attrgetter

import numpy as np

from forebay.schemas.failures import FailureKind
from forebay.stream.core.records import Chunk, Rejection
from forebay.stream.core.rows import selected


def reject_rows(chunk: Chunk, kind: FailureKind, messages: Mapping[int, str]) -> Chunk:
    """Return a chunk without some of its rows, which become rejections. messages: by row, why it is rejected."""
    is_kept_B = np.ones(chunk.num_rows, dtype=np.bool_)
    is_kept_B[list(messages)] = False
    rows = np.flatnonzero(is_kept_B)
    kept = rows.tolist()
    new_rows = {row: place for place, row in enumerate(kept)}
    is_row = np.ones(chunk.num_records, dtype=np.bool_)
    is_row[[rejection.index for rejection in chunk.rejections]] = False
    indexes = np.flatnonzero(is_row).tolist()
    rejections = [
        *chunk.rejections,
        *(Rejection(indexes[row], chunk.records[row], kind, message) for row, message in messages.items()),
    ]
    return replace(
        chunk,
        records=selected(chunk.records, rows),
        ids=selected(chunk.ids, rows),
        timestamps=selected(chunk.timestamps, rows),
        x_BF=chunk.x_BF[is_kept_B],
        rejections=sorted(rejections, key=attrgetter("index")),
        keys={new_rows[row]: key for row, key in chunk.keys.items() if row in new_rows},
        deadlines={new_rows[row]: ms for row, ms in chunk.deadlines.items() if row in new_rows},
    )
