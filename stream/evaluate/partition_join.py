"""The join of a partition of labels with the same partitions of the topics that have predictions.

Let the maximum of a row be the largest event time of its partition up to and including it. A prediction and a label with equal
join hashes are a pair if the label's maximum is at most the prediction's time + horizon, and the prediction's maximum at most
the label's maximum + early. The valid label with the highest offset counts. So what is counted depends only on how far each
partition was read, not on the order between them.

Labels wait until every partition of predictions has passed their maximum + early. One without records would keep all of them,
so a partition that its reader has read to the end (`drop_labels`) counts as at most `early` behind the furthest one. Only a
prediction that comes later than this can lose a label: on a topic together with the others, it would have been too late for it.

Restarts: `checkpoint` says from where each partition must be read again, and what was committed before is not counted again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np

from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import Committed, TopicPartition
from forebay.stream.evaluate.checkpoint import NO_TIME, InputState, JoinRules, Mark, decode, encode
from forebay.stream.evaluate.columns import Integers, LabelColumns, PredictionColumns, Scores, ShadowColumns, ShadowRef
from forebay.stream.evaluate.groups import Groups
from forebay.stream.evaluate.interning import Interner, SliceSets
from forebay.stream.evaluate.label_tally import LabelTally
from forebay.stream.evaluate.label_values import Resolve, ValueTable
from forebay.stream.evaluate.pending_paired import PairedKey, PendingPaired
from forebay.stream.evaluate.pending_quality import BlockCounter, PendingQuality, Sums
from forebay.stream.evaluate.prediction_input import Batch, PredictionInput, limit
from forebay.stream.evaluate.settlement import JoinParts
from forebay.stream.evaluate.shadow_repeats import first_rows
from forebay.stream.evaluate.waiting_labels import LabelRows, LabelSegment, WaitingLabels
from forebay.stream.evaluate.waiting_predictions import Layout
from forebay.stream.experiments.paired_sums import PairedSums
from forebay.stream.quality.keys import QualityKey, Task
from forebay.stream.quality.wire import LabelCounts

MAX_MODELS: Final = 10_000
"""Different names of models that labels can have. Labels with further ones are counted together, and have no predictions."""

_OTHER_MODELS: Final = "others"


class JoinInputs(NamedTuple):
    """The partitions that are joined.

    shadows: None if there are no shadows.
    routed: further partitions with predictions.
    """

    predictions: TopicPartition
    labels: TopicPartition
    shadows: TopicPartition | None = None
    routed: tuple[TopicPartition, ...] = ()


@dataclass(slots=True)
class Taken:
    """What was counted since the last time.

    sums: quality, and for the slice "" also the sums by block.
    labels: by keys of version 0 and the model that the labels name.
    paired: the comparisons of shadows with the versions that served.
    """

    sums: Sums = field(default_factory=dict)
    labels: dict[QualityKey, LabelCounts] = field(default_factory=dict)
    paired: dict[PairedKey, PairedSums] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was counted."""
        return not self.sums and not self.labels and not self.paired


class PartitionJoin:
    """Joins the predictions, the labels and the shadow pairs of one partition.

    resolve: returns the class or number that a label's value means for a version.
    max_waiting: rows that may wait; may be changed at any time.
    new_blocks: returns empty sums by block; None if they are not counted.
    num_labels_evicted: labels without a prediction that were dropped because too many waited.
    """

    def __init__(
        self,
        inputs: JoinInputs,
        rules: JoinRules,
        *,
        resolve: Resolve,
        max_waiting: int,
        new_blocks: Callable[[Task], BlockCounter] | None = None,
    ) -> None:
        self.inputs = inputs
        self.max_waiting = max_waiting
        self._rules = rules
        self._values = ValueTable(resolve)
        self._models: Interner[str] = Interner(["", _OTHER_MODELS], max_values=MAX_MODELS)
        self._label_slices = SliceSets()
        self._tally = LabelTally(self._models, rules.window_ms)
        groups: Groups[ModelRef] = Groups()
        self._groups = groups
        self._quality = PendingQuality(groups, self._label_slices, new_blocks)
        parts = JoinParts(rules, self._values, self._models)
        self._predictions = {
            partition: PredictionInput(
                partition, parts, groups, self._quality, model_ref=lambda ref: ref, tally=self._tally
            )
            for partition in (inputs.predictions, *inputs.routed)
        }
        self._shadow_groups: Groups[ShadowRef] = Groups()
        self._paired = PendingPaired(self._shadow_groups)
        self._shadows: PredictionInput[ShadowRef] = PredictionInput(
            inputs.shadows or TopicPartition("", 0),
            parts,
            self._shadow_groups,
            self._paired,
            model_ref=lambda ref: ref.served_ref,
            tally=None,
        )
        self._labels = WaitingLabels(max_segment=1 << 20)
        self._label_position = Mark(0)
        self._committed_labels = 0
        self._is_restored = True
        self.num_labels_evicted = 0

    def restore(self, committed: Mapping[TopicPartition, Committed | None]) -> dict[TopicPartition, int | None]:
        """Begin at committed offsets; return from where to read, None for the start of a partition without one.

        Must be called before anything is added. Raises BrokerError for a state of a later version or of other rules.
        """
        states = {}
        for partition in (self.inputs.labels, *self._waiting()):
            offset = committed.get(partition)
            states[partition] = None if offset is None else decode(partition, offset, self._rules)
        labels = states[self.inputs.labels]
        for partition, waiting in self._waiting().items():
            state = states[partition]
            if state is not None:
                waiting.restore(state)
        if labels is not None:
            self._committed_labels, self._label_position = labels.committed, labels.kept_from
        self._is_restored = False
        self._advance()
        return {partition: None if state is None else state.kept_from.offset for partition, state in states.items()}

    def add_predictions(
        self, polled: Sequence[PredictionColumns], *, next_offset: int, partition: TopicPartition | None = None
    ) -> None:
        """Add the predictions of a poll of one partition, of all versions.

        next_offset: the offset after the poll's last record.
        partition: default: `inputs.predictions`.
        """
        waiting = self._predictions[partition or self.inputs.predictions]
        maxima = waiting.maxima(
            [columns.offsets_B for columns in polled], [columns.times_B for columns in polled], next_offset
        )
        batches: list[Batch] = []
        for columns, maxima_B in zip(polled, maxima, strict=False):
            scores = _scores(columns.task, columns.scores_BO)
            batches.append(
                Batch(
                    layout=Layout(columns.task, scores.shape[1]),
                    groups_B=self._groups.codes(columns.ref, columns.slices, len(columns)),
                    hashes_B=columns.hashes_B,
                    offsets_B=columns.offsets_B,
                    times_B=columns.times_B,
                    maxima_B=maxima_B,
                    blocks_B=columns.blocks_B,
                    scores_BO=scores,
                    classes_BC=columns.classes_B[:, None],
                )
            )
        # After a restart, first those that were counted of all partitions: a label that one of them used is counted as used.
        hold_new = not all(each.is_restored for each in self._predictions.values())
        label_time_ms, expired_before_ms = self._label_position.maximum_ms, self._expired_before_ms
        waiting.add(
            batches,
            self._labels,
            label_time_ms=label_time_ms,
            expired_before_ms=expired_before_ms,
            hold_new=hold_new,
        )
        if not hold_new:
            for each in self._predictions.values():
                each.release(self._labels, label_time_ms=label_time_ms, expired_before_ms=expired_before_ms)
        self._advance()

    def add_shadow_pairs(self, polled: Sequence[ShadowColumns], *, next_offset: int) -> None:
        """Add the shadow pairs of a poll, without repeats. next_offset: the offset after the poll's last record."""
        expired_before_ms = self._shadows_expired_before_ms
        maxima = self._shadows.maxima(
            [columns.offsets_B for columns in polled], [columns.times_B for columns in polled], next_offset
        )
        batches: list[Batch] = []
        for columns, maxima_B in zip(polled, maxima, strict=False):
            served = _scores(columns.task, columns.served_scores_BO)
            batch = Batch(
                layout=Layout(columns.task, served.shape[1]),
                groups_B=self._shadow_groups.codes(columns.ref, None, len(columns)),
                hashes_B=columns.hashes_B,
                offsets_B=columns.offsets_B,
                times_B=columns.times_B,
                maxima_B=maxima_B,
                blocks_B=columns.blocks_B,
                scores_BO=np.hstack([served, _scores(columns.task, columns.shadow_scores_BO)]),
                classes_BC=np.stack([columns.served_classes_B, columns.shadow_classes_B], axis=1),
            )
            batches.append(batch.part(first_rows(batch, self._shadows.segments(batch.layout), self._rules.horizon_ms)))
        self._shadows.add(
            batches,
            self._labels,
            label_time_ms=self._label_position.maximum_ms,
            expired_before_ms=expired_before_ms,
        )
        self._advance()

    def add_labels(self, columns: LabelColumns, *, next_offset: int) -> None:
        """Add the labels of a poll. next_offset: the offset after the poll's last record."""
        before_ms = self._label_position.maximum_ms
        maxima = np.maximum(np.maximum.accumulate(columns.times_B), before_ms)
        self._label_position = Mark(next_offset, int(maxima[-1]) if len(maxima) else before_ms)
        if len(columns):
            rows = self._label_rows(columns, maxima)
            num_old = int(np.searchsorted(columns.offsets_B, self._committed_labels))
            for start, end in ((0, num_old), (num_old, len(columns))):
                if start < end:
                    self._add_label_rows(rows.take(np.arange(start, end)), is_old=end == num_old)
        self._advance()

    def _label_rows(self, columns: LabelColumns, maxima: Integers) -> LabelRows:
        values, count = self._values.columns(columns.values), len(columns)
        models = np.zeros(count, np.uint32)
        if columns.models is not None:
            models = self._models.codes((name or "" for name in columns.models), count)
        return LabelRows(
            hashes_N=columns.hashes_B,
            offsets_N=columns.offsets_B,
            times_N=columns.times_B,
            maxima_N=maxima,
            values_N=values.codes_B,
            numbers_N=values.numbers_B,
            models_N=models,
            slices_N=self._label_slices.codes(columns.slices, count),
            is_used_N=np.zeros(count, bool),
        )

    def _add_label_rows(self, rows: LabelRows, *, is_old: bool) -> None:
        if not is_old:
            self._tally.add("labels", rows.models_N, rows.times_N)
        first, maximum_ms = Mark(int(rows.offsets_N[0]), int(rows.maxima_N[0])), int(rows.maxima_N[-1])
        segment = LabelSegment(rows.sorted(), first, maximum_ms, is_old)
        # Old predictions first: a label that an old prediction used is counted as used already.
        for of_old in (True, False):
            for waiting in self._waiting().values():
                waiting.pair(segment, is_old=of_old)
        self._labels.add(segment, expired_before_ms=self._labels_expired_before_ms())

    def drop_labels(self, at_end: Collection[TopicPartition]) -> None:
        """Drop labels that wait only for partitions of predictions that were read to their end, and are far behind.

        at_end: these partitions; everything that was polled of them must have been added.
        """
        if self.inputs.routed and self._is_restored:
            self._labels.expire(self._labels_expired_before_ms(at_end))

    def _advance(self) -> None:
        """Drop what can have no pair any more, and end the restoration where it is complete."""
        self._labels.expire(self._labels_expired_before_ms())
        passed_ms = self._label_position.maximum_ms + self._rules.early_ms
        for predictions in self._predictions.values():
            predictions.expire(before_ms=self._expired_before_ms, passed_ms=passed_ms)
        self._shadows.expire(before_ms=self._shadows_expired_before_ms, passed_ms=passed_ms)
        if not self._is_restored:
            self._is_restored = self._label_position.offset >= self._committed_labels and all(
                waiting.is_restored for waiting in self._waiting().values()
            )
            if not self._is_restored:
                return
            for waiting in self._waiting().values():
                waiting.finish_restoring()
            for segment in self._labels.segments:
                segment.is_old = False
        limit(tuple(self._predictions.values()), self.max_waiting, expired_before_ms=self._expired_before_ms)
        limit((self._shadows,), self.max_waiting, expired_before_ms=self._expired_before_ms)
        self.num_labels_evicted += self._labels.evict(self.max_waiting)

    def _waiting(self) -> dict[TopicPartition, PredictionInput[ModelRef] | PredictionInput[ShadowRef]]:
        waiting: dict[TopicPartition, PredictionInput[ModelRef] | PredictionInput[ShadowRef]]
        waiting = {**self._predictions}
        if self.inputs.shadows is not None:
            waiting[self.inputs.shadows] = self._shadows
        return waiting

    @property
    def _expired_before_ms(self) -> int:
        return self._label_position.maximum_ms - self._rules.horizon_ms

    @property
    def _shadows_expired_before_ms(self) -> int:
        """The time before which shadow pairs are not needed any more, neither for labels nor to recognise repeats."""
        return min(self._label_position.maximum_ms, self._shadows.maximum_ms) - self._rules.horizon_ms

    def _labels_expired_before_ms(self, at_end: Collection[TopicPartition] = ()) -> int:
        """Return the maximum before which labels are not needed any more. at_end: see `drop_labels`.

        Shadows may be idle, so that labels wait for them only for a limited time, except after a restart.
        """
        early_ms, inputs = self._rules.early_ms, self._predictions.values()
        if any(waiting.holds_rows for waiting in inputs):
            return NO_TIME
        idle_ms = max(waiting.maximum_ms for waiting in inputs) - early_ms
        time_ms = min(
            max(waiting.maximum_ms, idle_ms) if waiting.partition in at_end else waiting.maximum_ms
            for waiting in inputs
        )
        if self.inputs.shadows is not None:
            shadow_ms = self._shadows.maximum_ms
            time_ms = min(time_ms, max(shadow_ms, time_ms - early_ms) if self._is_restored else shadow_ms)
        return time_ms - early_ms

    @property
    def is_restored(self) -> bool:
        """Whether everything before the committed offsets has been read again. Only then anything may be committed."""
        return self._is_restored

    @property
    def num_waiting_predictions(self) -> int:
        """Predictions in memory, with or without a label."""
        return sum(map(len, self._predictions.values()))

    @property
    def num_bytes(self) -> int:
        """Size of the columns of the waiting predictions and shadow pairs."""
        return sum(waiting.num_bytes for waiting in self._waiting().values())

    @property
    def num_segments(self) -> int:
        """Number of segments of waiting predictions and shadow pairs."""
        return sum(waiting.num_segments for waiting in self._waiting().values())

    @property
    def num_waiting_shadow_pairs(self) -> int:
        """Shadow pairs in memory, with or without a label."""
        return len(self._shadows)

    @property
    def num_waiting_labels(self) -> int:
        """Labels in memory, used or not."""
        return len(self._labels)

    def prediction_time_ms(self) -> int | None:
        """Return the largest event time of the predictions; None before the first one."""
        time_ms = max(waiting.maximum_ms for waiting in self._predictions.values())
        return None if time_ms == NO_TIME else time_ms

    def label_time_ms(self) -> int | None:
        """Return the largest event time of the labels; None before the first one."""
        return None if self._label_position.maximum_ms == NO_TIME else self._label_position.maximum_ms

    def final_before_ms(self) -> int | None:
        """Return the time before which no prediction can get another label; None before the first label."""
        return None if self._label_position.maximum_ms == NO_TIME else self._expired_before_ms

    def take(self) -> Taken:
        """Return what was counted since the last call; nothing until the join is restored."""
        if not self._is_restored:
            return Taken()
        return Taken(self._quality.take(), self._tally.take(), self._paired.take())

    def checkpoint(self) -> dict[TopicPartition, Committed]:
        """Return the offsets to commit with what was taken, with their metadata; empty until the join is restored."""
        if not self._is_restored:
            return {}
        marks = [segment.first for segment in self._labels.segments]
        for waiting in self._waiting().values():
            marks += waiting.labels_from()
        labels = InputState(self._label_position.offset, min([*marks, self._label_position]))
        states = {self.inputs.labels: labels}
        for partition, waiting in self._waiting().items():
            used_by = [seg.used_by[partition] for seg in self._labels.segments if partition in seg.used_by]
            states[partition] = waiting.state(used_by)
        return {partition: encode(state, self._rules) for partition, state in states.items()}


def _scores(task: Task, scores_BO: Scores) -> Scores:
    """Return one column for two classes, that of class 1."""
    return scores_BO[:, -1:] if task is Task.BINARY else scores_BO
