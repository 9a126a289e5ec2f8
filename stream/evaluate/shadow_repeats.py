"""Repeats of shadow pairs: they are sent at best effort, so the same pair can come again."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from forebay.stream.evaluate.pairing import find
from forebay.stream.evaluate.prediction_input import Batch
from forebay.stream.evaluate.waiting_predictions import Rows, Segment


def first_rows(batch: Batch, segments: Iterable[Segment], horizon_ms: int) -> Rows:
    """Return the rows of a batch of one version that do not repeat an earlier row.

    A row repeats another with the same hash until the largest event time is the horizon after that one. A row that comes
    even later is not counted at all, because it could be a repeat.

    segments: earlier rows of the same layout, at least those not longer ago than the horizon.
    """
    is_first = batch.maxima_B <= batch.times_B + horizon_ms
    for segment in segments:
        rows, positions = find(batch.hashes_B, segment.hashes_N)
        is_repeat = segment.groups_N[positions] == batch.groups_B[rows]
        is_repeat &= batch.maxima_B[rows] <= segment.times(positions) + horizon_ms
        is_first[rows[is_repeat]] = False
    kept = np.flatnonzero(is_first)
    hashes, counts = np.unique(batch.hashes_B[kept], return_counts=True)
    several = kept[np.isin(batch.hashes_B[kept], hashes[counts > 1])]
    latest: dict[int, int] = {}
    for row in several.tolist():
        key, until_ms = int(batch.hashes_B[row]), int(batch.times_B[row]) + horizon_ms
        if batch.maxima_B[row] <= latest.get(key, -(1 << 62)):
            is_first[row] = False
        else:
            latest[key] = max(until_ms, latest.get(key, until_ms))
    return np.flatnonzero(is_first)
