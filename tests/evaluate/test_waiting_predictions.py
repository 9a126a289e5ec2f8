"""Segments of waiting predictions."""

from __future__ import annotations

import numpy as np

from forebay.stream.evaluate.checkpoint import Mark
from forebay.stream.evaluate.pending_quality import SumsKey
from forebay.stream.evaluate.waiting_predictions import (
    INDEXED_ROWS,
    LabelOrigins,
    Layout,
    NewRows,
    Segment,
    merged,
    packed,
)
from forebay.stream.quality.keys import QualityKey, Task
from tests.evaluate.test_partition_join import join_of, labels, predictions

DAY_MS = 86_400_000
BINARY = Layout(Task.BINARY, 1)


def segment_of(layout: Layout, times: list[int], *, first: int, group: int = 0) -> Segment:
    count = len(times)
    rows = NewRows(
        hashes_N=np.arange(count, dtype=np.uint64) * np.uint64(7) % np.uint64(5),
        times_N=np.array(times, np.int64),
        maxima_N=np.maximum.accumulate(np.array(times, np.int64)),
        groups_N=np.full(count, group, np.uint32),
        blocks_N=np.arange(count, dtype=np.uint16),
        scores_NO=np.zeros((count, layout.num_scores), np.float32),
        classes_NC=np.ones((count, 1), np.int32),
    )
    return packed(rows, layout, first=Mark(first, times[0]), end=first + count, is_old=False)


def by_block(segment: Segment) -> dict[int, tuple[int, int]]:
    """Return time and maximum of each row by its block, which numbers the rows."""
    assert segment.maxima_N is not None
    maxima = segment.maxima_N.astype(np.int64) + segment.base_ms
    return dict(
        zip(
            segment.blocks_N.tolist(),
            zip(segment.times(slice(None)).tolist(), maxima.tolist(), strict=True),
            strict=True,
        )
    )


def test_columns_become_wider_where_values_need_it() -> None:
    left = segment_of(BINARY, [1_790_000_000_000, 1_790_000_000_500], first=0)
    right = segment_of(BINARY, [1_790_000_000_000 + 40 * DAY_MS, 1_790_000_000_001], first=2, group=70_000)
    right.blocks_N += np.uint16(2)
    assert left.times_N.dtype == np.int32 and left.groups_N.dtype == np.uint16
    for one, other in ((left, right), (right, left)):
        whole = merged(one, other, expired_before_ms=0)
        assert whole is not None
        assert by_block(whole) == by_block(left) | by_block(right)
        assert sorted(whole.groups_N.tolist()) == [0, 0, 70_000, 70_000]
        assert (np.diff(whole.hashes_N.astype(np.int64)) >= 0).all()


def test_labels_and_what_came_with_them_are_kept_when_segments_are_merged() -> None:
    left, right = (segment_of(Layout(Task.REGRESSION, 1), [100, 200], first=first) for first in (0, 2))
    right.blocks_N += np.uint16(2)
    origins = LabelOrigins(np.array([70_000]), np.array([30 * DAY_MS]))
    row = np.flatnonzero(right.blocks_N == 3)
    right.set_labels(row, np.array([0.1]), origins, Mark(8, 5))
    right.set_labels(row, np.array([0.2]), origins, Mark(9, 6))
    whole = merged(left, right, expired_before_ms=0)
    assert whole is not None and whole.labels_from == Mark(8, 5)
    row = np.flatnonzero(whole.blocks_N == 3)
    assert whole.labels(row).tolist() == [0.2]
    assert [column.tolist() for column in whole.label_origins(row)] == [[70_000], [30 * DAY_MS]]
    assert np.isnan(np.delete(whole.labels(slice(None)), row)).all()


def test_rows_of_the_past_are_dropped_when_segments_are_merged() -> None:
    left, right = segment_of(BINARY, [100, 200], first=0), segment_of(BINARY, [300, 150], first=2)
    whole = merged(left, right, expired_before_ms=200)
    assert whole is not None
    assert sorted(whole.times(slice(None)).tolist()) == [200, 300]
    assert merged(left, right, expired_before_ms=301) is None


def test_many_predictions_wait_in_few_segments_of_few_bytes() -> None:
    join = join_of(horizon_ms=10_000_000, early_ms=10_000_000, window_ms=1 << 40)
    join.max_waiting = 1_000_000
    count, poll = 2 * INDEXED_ROWS, 2048
    hashes = (np.arange(count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)).tolist()
    for first in range(0, count, poll):
        part = hashes[first : first + poll]
        join.add_predictions(
            [predictions(first, part, list(range(first, first + poll)), [0.75] * poll)], next_offset=first
        )
    assert join.num_waiting_predictions == count
    assert join.num_segments <= 8
    join.add_labels(labels(0, hashes[::2], [count] * (count // 2), [1] * (count // 2)), next_offset=count // 2)
    sums, _ = join.take().sums[SumsKey(QualityKey("m", 1, 0), 2)]
    assert (sums.predictions, sums.matched) == (count, count // 2)
    # Columns, a score, and less than a byte of the index.
    assert join.num_bytes / count < 24 + 4
