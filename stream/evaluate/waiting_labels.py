"""Labels that wait for predictions that may still come, in segments sorted by hash.

Shapes: N = rows of a segment, sorted by hash and then by offset.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from forebay.stream.core.records import TopicPartition
from forebay.stream.evaluate.checkpoint import Mark
from forebay.stream.evaluate.columns import Hashes, Integers
from forebay.stream.evaluate.interning import Codes
from forebay.stream.evaluate.pairing import Floats, Mask, Matches, find


class LabelRows(NamedTuple):
    """Labels as columns.

    maxima_N: the largest event time of the labels up to and including each.
    values_N, numbers_N: see `label_values.Values`.
    models_N: codes of the names of models; 0 for all models.
    slices_N: codes of sets of slices.
    is_used_N: whether a label has had a prediction.
    """

    hashes_N: Hashes
    offsets_N: Integers
    times_N: Integers
    maxima_N: Integers
    values_N: Codes
    numbers_N: Floats
    models_N: Codes
    slices_N: Codes
    is_used_N: Mask

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return len(self.hashes_N)

    def take(self, rows: npt.NDArray[np.intp]) -> LabelRows:
        """Return some rows."""
        columns: list[Any] = [column[rows] for column in self]
        return LabelRows(*columns)

    @classmethod
    def join(cls, parts: list[LabelRows]) -> LabelRows:
        """Return the rows of all parts."""
        columns: list[Any] = [np.concatenate(column) for column in zip(*parts, strict=True)]
        return parts[0] if len(parts) == 1 else LabelRows(*columns)

    def sorted(self) -> LabelRows:
        """Return the rows sorted by hash, and by offset if they are in this order."""
        return self.take(np.argsort(self.hashes_N, kind="stable"))


@dataclass(slots=True)
class LabelSegment:
    """Consecutive labels of the partition.

    first: the position of the first one.
    maximum_ms: the largest of `maxima_N`.
    used_by: by partition of predictions, the position of one up to which none of these labels was used.
    is_old: whether they are before the offset that was committed when the partition was assigned.
    """

    rows: LabelRows
    first: Mark
    maximum_ms: int
    is_old: bool
    used_by: dict[TopicPartition, Mark] = field(default_factory=dict)

    def set_used(self, positions: npt.NDArray[np.intp], partition: TopicPartition, first: Mark) -> None:
        """Record that rows were used. first: the position of a prediction that is not after those that used them."""
        self.rows.is_used_N[positions] = True
        self.used_by[partition] = min(first, self.used_by.get(partition, first))


class WaitingLabels:
    """The labels that wait, in segments of consecutive labels.

    A few segments of similar size are merged, so that their number grows with the logarithm of the rows up to `max_segment`.
    """

    def __init__(self, max_segment: int) -> None:
        self.max_segment = max_segment
        self.segments: list[LabelSegment] = []

    def __len__(self) -> int:
        return sum(segment.rows.num_rows for segment in self.segments)

    def add(self, segment: LabelSegment, *, expired_before_ms: int) -> None:
        """Add labels that follow all others. Merged segments lose the rows whose maximum is before the given time."""
        segments = self.segments
        segments.append(segment)
        while len(segments) > 1:
            left, right = segments[-2:]
            size = left.rows.num_rows + right.rows.num_rows
            if left.rows.num_rows >= 2 * right.rows.num_rows or size > self.max_segment or left.is_old != right.is_old:
                return
            segments[-2:] = _merged(left, right, expired_before_ms)

    def find(self, hashes_B: Hashes) -> list[tuple[LabelSegment, Matches]]:
        """Return the rows with these hashes, by segment in the order of the partition."""
        found = [(segment, find(hashes_B, segment.rows.hashes_N)) for segment in self.segments]
        return [(segment, matches) for segment, matches in found if len(matches.rows_M)]

    def expire(self, before_ms: int) -> None:
        """Drop the segments whose maximum is before this time."""
        if any(segment.maximum_ms < before_ms for segment in self.segments):
            self.segments = [segment for segment in self.segments if segment.maximum_ms >= before_ms]

    def evict(self, max_rows: int) -> int:
        """Drop the oldest segments above this number of rows; return how many rows that were not used."""
        evicted, total = 0, len(self)
        while total > max_rows:
            rows = self.segments.pop(0).rows
            total -= rows.num_rows
            evicted += int(np.count_nonzero(~rows.is_used_N))
        return evicted


def _merged(left: LabelSegment, right: LabelSegment, expired_before_ms: int) -> list[LabelSegment]:
    rows = LabelRows.join([left.rows, right.rows])
    if left.first.maximum_ms < expired_before_ms:
        rows = rows.take(np.flatnonzero(rows.maxima_N >= expired_before_ms))
    if not rows.num_rows:
        return []
    used_by = dict(left.used_by)
    for partition, mark in right.used_by.items():
        used_by[partition] = min(mark, used_by.get(partition, mark))
    return [LabelSegment(rows.sorted(), left.first, right.maximum_ms, is_old=left.is_old, used_by=used_by)]
