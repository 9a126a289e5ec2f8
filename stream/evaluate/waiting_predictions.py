"""Predictions that wait for their labels: sorted segments of narrow columns, without an object for each row.

A waiting prediction of two classes takes 22 bytes with its score: hash 8, time 4, group 2, block 2, class 1, label 1, score 4.
One of a regression takes 28. A group is a version with a set of slices. Columns become wider if a segment needs it.

Shapes: N = rows of a segment sorted by hash, O = scores of a row, C = classes of a row (2 for pairs of a shadow).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from forebay.stream.evaluate.checkpoint import Mark
from forebay.stream.evaluate.columns import Hashes, Integers, Scores
from forebay.stream.evaluate.interning import Codes
from forebay.stream.evaluate.pairing import Floats, PrefixIndex
from forebay.stream.quality.keys import Task

Column = npt.NDArray[Any]
Rows = npt.NDArray[np.intp]

INDEXED_ROWS: Final = 1 << 15
_NO_CLASS: Final = -1


class Layout(NamedTuple):
    """What decides the columns: the task, and the number of scores of one prediction."""

    task: Task
    num_scores: int

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 for a regression."""
        return {Task.BINARY: 2, Task.CLASSES: self.num_scores, Task.REGRESSION: 0}[self.task]

    @property
    def text(self) -> str:
        """A short name, such as `b1`."""
        return f"{self.task.value[0]}{self.num_scores}"

    @property
    def label_type(self) -> npt.DTypeLike:
        """The type of a label's column."""
        return np.float64 if self.task is Task.REGRESSION else np.min_scalar_type(-max(1, self.num_classes))

    def no_labels(self, count: int) -> Column:
        """Return the column of predictions without labels."""
        return np.full(count, np.nan if self.task is Task.REGRESSION else _NO_CLASS, self.label_type)


@dataclass(slots=True)
class NewRows:
    """Predictions of one layout that arrived together, in offset order, before they are packed.

    maxima_N: the largest event time of the predictions up to and including each.
    """

    hashes_N: Hashes
    times_N: Integers
    maxima_N: Integers
    groups_N: Codes
    blocks_N: npt.NDArray[np.uint16]
    scores_NO: Scores
    classes_NC: Column


class LabelOrigins(NamedTuple):
    """What came with labels: the codes of their slices, and their times - those of their predictions."""

    slices_M: Integers
    delays_M: Integers

    def at(self, pairs: Integers, otherwise: LabelOrigins) -> LabelOrigins:
        """Return what is at these pairs, and `otherwise` in place of those that are -1."""
        slices = np.where(pairs >= 0, self.slices_M[pairs], otherwise.slices_M)
        return LabelOrigins(slices, np.where(pairs >= 0, self.delays_M[pairs], otherwise.delays_M))

    def take(self, chosen: Rows | npt.NDArray[np.bool_]) -> LabelOrigins:
        """Return some of them."""
        return LabelOrigins(self.slices_M[chosen], self.delays_M[chosen])


@dataclass(slots=True)
class Segment:
    """Consecutive predictions of one layout.

    base_ms: what times and maxima are relative to.
    groups_N: codes of groups.
    labels_N: the label of each prediction so far.
    label_slices_N, label_delays_N: code of the slices that came with the label, and the label's time - the prediction's; None
        while all slices are the empty set.
    maxima_N: as in `NewRows`; None if each is early enough for all labels to come.
    first, end: the position of the first row, and the offset after the last one.
    latest_ms: the largest time.
    labels_from: a position of the labels; the labels that these predictions have are not before it.
    is_old: whether they are before the offset that was committed when the partition was assigned.
    index: of the hashes; None if they are few.
    """

    hashes_N: Hashes
    base_ms: int
    times_N: Column
    groups_N: Column
    blocks_N: npt.NDArray[np.uint16]
    scores_NO: Scores
    classes_NC: Column
    labels_N: Column
    label_slices_N: Column | None
    label_delays_N: Column | None
    maxima_N: Column | None
    first: Mark
    end: int
    latest_ms: int
    maximum_ms: int
    is_old: bool
    labels_from: Mark | None = None
    index: PrefixIndex | None = None

    def __len__(self) -> int:
        return len(self.hashes_N)

    @property
    def num_bytes(self) -> int:
        """Size of all columns and the index."""
        index = 0 if self.index is None else self.index.num_bytes
        return index + sum(column.nbytes for column in self.columns() if column is not None)

    def columns(self) -> tuple[Column | None, ...]:
        """Return all columns."""
        return (
            self.hashes_N,
            self.times_N,
            self.groups_N,
            self.blocks_N,
            self.scores_NO,
            self.classes_NC,
            self.labels_N,
            self.label_slices_N,
            self.label_delays_N,
            self.maxima_N,
        )

    def times(self, rows: Rows | slice) -> Integers:
        """Return the event times of rows."""
        return self.times_N[rows].astype(np.int64) + self.base_ms

    def labels(self, rows: Rows | slice) -> Floats:
        """Return the labels of rows; NaN for none."""
        labels = self.labels_N[rows].astype(np.float64)
        if self.labels_N.dtype.kind == "i":
            labels[labels < 0] = np.nan
        return labels

    def label_origins(self, rows: Rows) -> LabelOrigins:
        """Return what came with the labels of rows."""
        if self.label_slices_N is None or self.label_delays_N is None:
            return LabelOrigins(np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64))
        return LabelOrigins(self.label_slices_N[rows].astype(np.int64), self.label_delays_N[rows].astype(np.int64))

    def is_not_after(self, rows: Rows, limits_ms: Integers) -> npt.NDArray[np.bool_]:
        """Return whether the maximum at each row is at most the limit."""
        if self.maxima_N is None:
            return np.ones(len(rows), bool)
        return self.maxima_N[rows].astype(np.int64) + self.base_ms <= limits_ms

    def drop_maxima(self, passed_ms: int) -> None:
        """Drop the maxima if all are at most the given one, up to which rows are early enough for all labels to come."""
        if self.maximum_ms <= passed_ms:
            self.maxima_N = None

    def set_labels(self, rows: Rows, values: Floats, origins: LabelOrigins, labels_from: Mark) -> None:
        """Set the labels of rows. labels_from: the position of the first of them."""
        self.labels_N[rows] = values.astype(self.labels_N.dtype)
        slices, delays = origins
        if self.label_slices_N is None and slices.any():
            self.label_slices_N, self.label_delays_N = np.zeros(len(self), np.uint16), np.zeros(len(self), np.int32)
        if self.label_slices_N is not None and self.label_delays_N is not None:
            self.label_slices_N = _widened(self.label_slices_N, slices)
            self.label_slices_N[rows] = slices
            self.label_delays_N = _widened(self.label_delays_N, delays)
            self.label_delays_N[rows] = delays
        self.labels_from = labels_from if self.labels_from is None else min(self.labels_from, labels_from)


def packed(new: NewRows, layout: Layout, *, first: Mark, end: int, is_old: bool) -> Segment:
    """Return a segment of rows, none with a label."""
    order = np.argsort(new.hashes_N, kind="stable")
    times, maxima = new.times_N[order], new.maxima_N[order]
    latest_ms, maximum_ms = int(times.max()), int(maxima.max())
    base_ms = int(times.min())
    return Segment(
        hashes_N=new.hashes_N[order],
        base_ms=base_ms,
        times_N=_relative(times, base_ms),
        groups_N=new.groups_N[order].astype(_unsigned_type(int(new.groups_N.max()))),
        blocks_N=new.blocks_N[order],
        scores_NO=np.ascontiguousarray(new.scores_NO[order], np.float32),
        classes_NC=new.classes_NC[order].astype(_class_type(layout)),
        labels_N=layout.no_labels(len(order)),
        label_slices_N=None,
        label_delays_N=None,
        maxima_N=_relative(maxima, base_ms),
        first=first,
        end=end,
        latest_ms=latest_ms,
        maximum_ms=maximum_ms,
        is_old=is_old,
    )


def merged(left: Segment, right: Segment, *, expired_before_ms: int) -> Segment | None:
    """Return the rows of both without those before a time; None if no row is left. Both are of one layout."""
    parts = [(part, _unexpired(part, expired_before_ms)) for part in (left, right)]
    hashes = np.concatenate([part.hashes_N[rows] for part, rows in parts])
    if not len(hashes):
        return None
    order = np.argsort(hashes, kind="stable")
    base_ms = min(left.base_ms, right.base_ms)

    def joined(columns: Sequence[Column]) -> Column:
        return np.concatenate([column[rows] for column, (_, rows) in zip(columns, parts, strict=True)])[order]

    label_slices = label_delays = maxima = None
    if left.label_slices_N is not None or right.label_slices_N is not None:
        label_slices = joined([_or_zeros(part.label_slices_N, part, np.uint16) for part in (left, right)])
        label_delays = joined([_or_zeros(part.label_delays_N, part, np.int32) for part in (left, right)])
    if left.maxima_N is not None or right.maxima_N is not None:
        # The time is a lower bound of a maximum that no label needs.
        columns = [part.times_N if part.maxima_N is None else part.maxima_N for part in (left, right)]
        maxima = joined([_rebased(c, part, base_ms) for c, part in zip(columns, (left, right), strict=True)])
    marks = [part.labels_from for part in (left, right) if part.labels_from is not None]
    times = joined([_rebased(part.times_N, part, base_ms) for part in (left, right)])
    hashes = hashes[order]
    return Segment(
        hashes_N=hashes,
        base_ms=base_ms,
        times_N=times,
        groups_N=joined([left.groups_N, right.groups_N]),
        blocks_N=joined([left.blocks_N, right.blocks_N]),
        scores_NO=joined([left.scores_NO, right.scores_NO]),
        classes_NC=joined([left.classes_NC, right.classes_NC]),
        labels_N=joined([left.labels_N, right.labels_N]),
        label_slices_N=label_slices,
        label_delays_N=label_delays,
        maxima_N=maxima,
        first=left.first,
        end=right.end,
        latest_ms=max(left.latest_ms, right.latest_ms),
        maximum_ms=max(left.maximum_ms, right.maximum_ms),
        is_old=left.is_old,
        labels_from=min(marks, default=None),
        index=PrefixIndex(hashes) if len(hashes) >= INDEXED_ROWS else None,
    )


class WaitingPredictions:
    """The predictions of one layout that wait, in segments of consecutive predictions.

    A few segments of similar size are merged, so that their number grows with the logarithm of the rows up to `max_segment`.
    A segment is dropped as a whole.

    floor: the offset before which predictions were evicted.
    """

    def __init__(self, layout: Layout, *, max_segment: int, floor: int = 0) -> None:
        self.layout = layout
        self.max_segment = max_segment
        self.floor = floor
        self.segments: list[Segment] = []

    def __len__(self) -> int:
        return sum(map(len, self.segments))

    @property
    def num_bytes(self) -> int:
        """Size of all columns."""
        return sum(segment.num_bytes for segment in self.segments)

    def add(self, segment: Segment, *, expired_before_ms: int) -> None:
        """Add predictions that follow all others. Merged segments lose the rows before the given time."""
        segments = self.segments
        segments.append(segment)
        while len(segments) > 1:
            left, right = segments[-2:]
            size = len(left) + len(right)
            if len(left) >= 4 * len(right) or size > self.max_segment or left.is_old != right.is_old:
                return
            whole = merged(left, right, expired_before_ms=expired_before_ms)
            segments[-2:] = [] if whole is None else [whole]

    def expire(self, *, before_ms: int, passed_ms: int) -> None:
        """Drop segments without a row at or after a time, and maxima that no label needs any more."""
        if any(segment.latest_ms < before_ms for segment in self.segments):
            self.segments = [segment for segment in self.segments if segment.latest_ms >= before_ms]
        for segment in self.segments:
            segment.drop_maxima(passed_ms)

    def evict_first(self) -> Segment:
        """Drop the oldest segment and return it."""
        segment = self.segments.pop(0)
        self.floor = max(self.floor, segment.end)
        return segment


def _unexpired(segment: Segment, before_ms: int) -> Rows | slice:
    limit = before_ms - segment.base_ms
    if limit <= 0:
        return slice(None)
    return np.flatnonzero(segment.times_N >= limit)


def _relative(times: Integers, base_ms: int) -> Column:
    relative = times - base_ms
    return relative.astype(np.int32) if relative.max(initial=0) < 2**31 else relative


def _rebased(column: Column, segment: Segment, base_ms: int) -> Column:
    shift = segment.base_ms - base_ms
    if not shift:
        return column
    wide = column.astype(np.int64) + shift
    return wide.astype(np.int32) if column.dtype == np.int32 and wide.max(initial=0) < 2**31 else wide


def _or_zeros(column: Column | None, segment: Segment, kind: npt.DTypeLike) -> Column:
    return np.zeros(len(segment), kind) if column is None else column


def _widened(column: Column, values: Integers) -> Column:
    """Return a column that holds these values too."""
    limits = np.iinfo(column.dtype)
    if limits.min <= values.min(initial=0) and values.max(initial=0) <= limits.max:
        return column
    return column.astype(np.int64)


def _unsigned_type(largest: int) -> npt.DTypeLike:
    return np.uint16 if largest < 2**16 else np.uint32


def _class_type(layout: Layout) -> npt.DTypeLike:
    return np.min_scalar_type(-max(1, layout.num_classes))
