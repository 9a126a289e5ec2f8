"""The predictions of one partition, or the pairs of its shadows, as an input of the join.

Rows before the offset that was committed at the assignment are old: what they lead to with old labels is counted already.

Shapes: B = rows of a batch in offset order, M = pairs of a prediction and a label.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any, Final, Generic, TypeVar

import numpy as np

from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import TopicPartition
from forebay.stream.evaluate.checkpoint import NO_TIME, InputState, Mark
from forebay.stream.evaluate.columns import Blocks, Hashes, Integers, Scores
from forebay.stream.evaluate.groups import Groups
from forebay.stream.evaluate.interning import Codes
from forebay.stream.evaluate.label_tally import LabelTally
from forebay.stream.evaluate.pairing import find
from forebay.stream.evaluate.pending_quality import EvictedRows, PredictionRows
from forebay.stream.evaluate.selection import Part, Selection
from forebay.stream.evaluate.settlement import JoinParts, Pairs, Settlement, Sink
from forebay.stream.evaluate.waiting_labels import LabelRows, LabelSegment, WaitingLabels
from forebay.stream.evaluate.waiting_predictions import (
    Column,
    Layout,
    NewRows,
    Rows,
    Segment,
    WaitingPredictions,
    packed,
)

Ref = TypeVar("Ref", bound=Hashable)

SEGMENTS_OF_LIMIT: Final = 8
MAX_SEGMENT_ROWS: Final = 1 << 21


@dataclass(frozen=True, slots=True)
class Batch:
    """Predictions of one version in one poll. maxima_B: see `NewRows`."""

    layout: Layout
    groups_B: Codes
    hashes_B: Hashes
    offsets_B: Integers
    times_B: Integers
    maxima_B: Integers
    blocks_B: Blocks
    scores_BO: Scores
    classes_BC: Column

    def part(self, chosen: slice | Rows) -> Batch:
        """Return some rows."""
        columns = {name: getattr(self, name)[chosen] for name in self.__slots__ if name != "layout"}
        return replace(self, **columns)


def combined(batches: Sequence[Batch]) -> list[Batch]:
    """Return one batch for each layout, in offset order.

    The segments of a layout must follow each other in the partition, because predictions are evicted up to an offset.
    """
    by_layout: dict[Layout, list[Batch]] = {}
    for batch in batches:
        by_layout.setdefault(batch.layout, []).append(batch)
    return [parts[0] if len(parts) == 1 else _joined(parts) for parts in by_layout.values()]


def _joined(parts: Sequence[Batch]) -> Batch:
    names = [name for name in Batch.__slots__ if name != "layout"]
    columns: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return replace(parts[0], **columns).part(np.argsort(columns["offsets_B"], kind="stable"))


class PredictionInput(Generic[Ref]):
    """Holds the predictions of one partition that wait, and pairs them with labels.

    partition: which one.
    sink: counts predictions and pairs.
    tally: counts labels; None if this input does not count them.
    model_ref: returns the version whose classes the labels name.
    position: offset after the last row that was read.
    maximum_ms: the largest event time so far.
    """

    def __init__(
        self,
        partition: TopicPartition,
        parts: JoinParts,
        groups: Groups[Ref],
        sink: Sink,
        *,
        model_ref: Callable[[Ref], ModelRef],
        tally: LabelTally | None,
    ) -> None:
        self.partition = partition
        self._parts = parts
        self._sink = sink
        self._tally = tally
        self._settlement = Settlement(parts, groups, sink, model_ref=model_ref, tally=tally)
        self._stores: dict[Layout, WaitingPredictions] = {}
        self._floors: dict[str, int] = {}
        self._max_segment = MAX_SEGMENT_ROWS
        self._committed = 0
        self._held: list[Batch] = []
        self.position = 0
        self.maximum_ms = NO_TIME

    def __len__(self) -> int:
        return sum(map(len, self._stores.values()))

    @property
    def num_bytes(self) -> int:
        """Size of all columns."""
        return sum(store.num_bytes for store in self._stores.values())

    @property
    def num_segments(self) -> int:
        """Number of segments."""
        return sum(len(store.segments) for store in self._stores.values())

    @property
    def is_restored(self) -> bool:
        """Whether all rows before the committed offset have been read again."""
        return self.position >= self._committed

    def restore(self, state: InputState) -> None:
        """Begin with a committed state."""
        self._committed, self._floors = state.committed, dict(state.floors)
        self.position, self.maximum_ms = state.kept_from

    def state(self, marks: Sequence[Mark] = ()) -> InputState:
        """Return the state at this position. marks: of rows that others still need."""
        own = [segment.first for _, segment in self._segments()]
        kept_from = min([*own, *marks, Mark(self.position, self.maximum_ms)])
        floors = {layout.text: store.floor for layout, store in self._stores.items()}
        return InputState(self.position, kept_from, self._floors | floors)

    def labels_from(self) -> list[Mark]:
        """Return positions of the labels; the labels of waiting predictions are not before the first of them."""
        return [segment.labels_from for _, segment in self._segments() if segment.labels_from is not None]

    def segments(self, layout: Layout) -> list[Segment]:
        """Return the predictions of a layout that wait."""
        return self._stores[layout].segments if layout in self._stores else []

    def _segments(self) -> Iterator[tuple[Layout, Segment]]:
        for layout, store in self._stores.items():
            for segment in store.segments:
                yield layout, segment

    def maxima(self, offsets: Sequence[Integers], times: Sequence[Integers], next_offset: int) -> list[Integers]:
        """Advance to an offset; return the maximum at each row of the batches of a poll."""
        self.position = next_offset
        if not sum(map(len, offsets)):
            return [offset.copy() for offset in offsets]
        order = np.argsort(np.concatenate(offsets), kind="stable")
        maxima = np.empty(len(order), np.int64)
        maxima[order] = np.maximum(np.maximum.accumulate(np.concatenate(times)[order]), self.maximum_ms)
        self.maximum_ms = int(maxima[order[-1]])
        return np.split(maxima, np.cumsum([len(offset) for offset in offsets])[:-1])

    @property
    def holds_rows(self) -> bool:
        """Whether rows are held back."""
        return bool(self._held)

    def add(
        self,
        batches: Sequence[Batch],
        labels: WaitingLabels,
        *,
        label_time_ms: int,
        expired_before_ms: int,
        hold_new: bool = False,
    ) -> None:
        """Add predictions and pair them with the labels that wait.

        hold_new: hold those back that are not old, until `release`.
        """
        old, new = [], []
        for batch in combined(batches):
            num_old = int(np.searchsorted(batch.offsets_B, self._committed))
            num_evicted = int(np.searchsorted(batch.offsets_B, self._floors.get(batch.layout.text, 0)))
            old.append((batch.part(slice(num_evicted, num_old)), True))
            new.append((batch.part(slice(max(num_old, num_evicted), None)), False))
        if hold_new:
            self._held += [batch for batch, _ in new if len(batch.hashes_B)]
            new = []
        for batch, is_old in (*old, *new):
            if len(batch.hashes_B):
                passed_ms = label_time_ms + self._parts.rules.early_ms
                self._add(batch, labels, is_old=is_old, passed_ms=passed_ms, expired_before_ms=expired_before_ms)

    def release(self, labels: WaitingLabels, *, label_time_ms: int, expired_before_ms: int) -> None:
        """Add the rows that were held back."""
        if self._held:
            held, self._held = self._held, []
            self.add(held, labels, label_time_ms=label_time_ms, expired_before_ms=expired_before_ms)

    def _add(
        self, batch: Batch, labels: WaitingLabels, *, is_old: bool, passed_ms: int, expired_before_ms: int
    ) -> None:
        layout, window_ms = batch.layout, self._parts.rules.window_ms
        if not is_old:
            windows = batch.times_B // window_ms * window_ms
            arrived = PredictionRows(
                batch.groups_B, windows, blocks=batch.blocks_B, scores=batch.scores_BO, classes=batch.classes_BC
            )
            self._sink.add(layout, arrived)
        segment = packed(
            NewRows(
                batch.hashes_B,
                times_N=batch.times_B,
                maxima_N=batch.maxima_B,
                groups_N=batch.groups_B,
                blocks_N=batch.blocks_B,
                scores_NO=batch.scores_BO,
                classes_NC=batch.classes_BC,
            ),
            layout,
            first=Mark(int(batch.offsets_B[0]), int(batch.maxima_B[0])),
            end=int(batch.offsets_B[-1]) + 1,
            is_old=is_old,
        )
        self._pair_with_waiting(layout, segment, labels)
        segment.drop_maxima(passed_ms)
        if layout not in self._stores:
            floor = self._floors.get(layout.text, 0)
            self._stores[layout] = WaitingPredictions(layout, max_segment=self._max_segment, floor=floor)
        self._stores[layout].add(segment, expired_before_ms=expired_before_ms)

    def _pair_with_waiting(self, layout: Layout, segment: Segment, labels: WaitingLabels) -> None:
        found = labels.find(segment.hashes_N)
        if not found:
            return
        counts = [len(matches.rows_M) for _, matches in found]
        is_counted = np.repeat([not (segment.is_old and waiting.is_old) for waiting, _ in found], counts)
        rows = np.concatenate([matches.rows_M for _, matches in found])
        candidates = LabelRows.join([waiting.rows.take(matches.positions_M) for waiting, matches in found])
        valid_M = self._settlement.settle(layout, Pairs(Selection.of([Part(segment, rows)]), candidates, is_counted))
        for (waiting, matches), valid in zip(found, np.split(valid_M, np.cumsum(counts)[:-1]), strict=True):
            self._set_used(waiting, matches.positions_M[valid], segment)

    def pair(self, labels: LabelSegment, *, is_old: bool) -> None:
        """Pair labels that arrived with the predictions that wait, either the old or the new ones."""
        for layout, store in self._stores.items():
            self._pair_with_labels(layout, [s for s in store.segments if s.is_old == is_old], labels)

    def _pair_with_labels(self, layout: Layout, segments: Sequence[Segment], labels: LabelSegment) -> None:
        found = [(segment, find(labels.rows.hashes_N, segment.hashes_N, segment.index)) for segment in segments]
        found = [(segment, matches) for segment, matches in found if len(matches.rows_M)]
        if not found:
            return
        rows_M = np.concatenate([matches.rows_M for _, matches in found])
        is_counted = np.full(len(rows_M), not (found[0][0].is_old and labels.is_old))
        selection = Selection.of([Part(segment, matches.positions_M) for segment, matches in found])
        valid_M = self._settlement.settle(layout, Pairs(selection, labels.rows.take(rows_M), is_counted))
        self._set_used(labels, rows_M[valid_M], found[0][0])

    def _set_used(self, labels: LabelSegment, positions: Rows, segment: Segment) -> None:
        if self._tally is None or not len(positions):
            return
        positions = np.unique(positions)
        positions = positions[~labels.rows.is_used_N[positions]]
        if len(positions):
            labels.set_used(positions, self.partition, segment.first)
            if not (labels.is_old and segment.is_old):
                self._tally.add("used", labels.rows.models_N[positions], labels.rows.times_N[positions])

    def expire(self, *, before_ms: int, passed_ms: int) -> None:
        """Drop predictions before a time, which no label can have any more, and see `WaitingPredictions.expire`."""
        for store in self._stores.values():
            store.expire(before_ms=before_ms, passed_ms=passed_ms)

    def finish_restoring(self) -> None:
        """Regard all rows as counted alike, after those of all inputs have been read again."""
        for _, segment in self._segments():
            segment.is_old = False

    def set_limit(self, max_rows: int) -> None:
        """Limit the size of segments, which are evicted as a whole, for a number of rows."""
        self._max_segment = max(1, min(MAX_SEGMENT_ROWS, max_rows // SEGMENTS_OF_LIMIT))
        for store in self._stores.values():
            store.max_segment = self._max_segment

    @property
    def first(self) -> Mark | None:
        """The position of the oldest prediction that waits; None if none does."""
        return min((segment.first for _, segment in self._segments()), default=None)

    def evict_first(self, *, expired_before_ms: int) -> int:
        """Evict the oldest predictions and return their number; count those that have no label and could still get one."""
        _, layout = min((store.segments[0].first, layout) for layout, store in self._stores.items() if store.segments)
        segment, window_ms = self._stores[layout].evict_first(), self._parts.rules.window_ms
        times = segment.times(slice(None))
        evicted = np.flatnonzero(np.isnan(segment.labels(slice(None))) & (times >= expired_before_ms))
        self._sink.add(layout, EvictedRows(segment.groups_N[evicted], times[evicted] // window_ms * window_ms))
        return len(segment)


def limit(inputs: Sequence[PredictionInput[Ref]], max_rows: int, *, expired_before_ms: int) -> None:
    """Evict the oldest predictions above a number of rows: by offset, and by event time between inputs."""
    for waiting in inputs:
        waiting.set_limit(max_rows)
    total = sum(map(len, inputs))
    while total > max_rows:
        firsts = ((waiting.first, waiting) for waiting in inputs)
        _, oldest = min(((first.maximum_ms, at) for first, at in firsts if first is not None), key=itemgetter(0))
        total -= oldest.evict_first(expired_before_ms=expired_before_ms)
