"""Reads predictions and labels into a join in polls, commits what it counts, and kills and restarts it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from forebay.stream.core.records import Committed, TopicPartition
from forebay.stream.evaluate.checkpoint import JoinRules
from forebay.stream.evaluate.columns import LabelColumns, PredictionColumns, ShadowColumns
from forebay.stream.evaluate.partition_join import JoinInputs, PartitionJoin
from forebay.stream.evaluate.pending_paired import PairedKey
from forebay.stream.experiments.paired_sums import PairedSums
from forebay.stream.quality.keys import QualityKey, Task
from forebay.stream.quality.sums import QualitySums
from forebay.stream.quality.wire import LabelCounts
from tests.evaluate.reference import TASKS, Label, Prediction, Shadow, resolve

PREDICTIONS, LABELS = TopicPartition("predictions", 0), TopicPartition("labels", 0)
SHADOWS = TopicPartition("shadow-predictions", 0)
TOPICS = (PREDICTIONS, TopicPartition("high", 0), TopicPartition("review", 0))
"""The partitions of predictions, by `Prediction.topic`."""


def prediction_columns(rows: Sequence[Prediction]) -> list[PredictionColumns]:
    """Return the columns of predictions that were polled together, by version."""
    columns = []
    for ref in {p.ref: None for p in rows}:
        own = [p for p in rows if p.ref == ref]
        columns.append(
            PredictionColumns(
                ref=ref,
                task=TASKS[ref],
                hashes_B=np.array([p.hash for p in own], np.uint64),
                offsets_B=np.array([p.offset for p in own], np.int64),
                times_B=np.array([p.time for p in own], np.int64),
                scores_BO=np.array([p.scores for p in own], np.float32),
                classes_B=np.array([p.predicted for p in own], np.int32),
                blocks_B=np.array([p.block for p in own], np.uint16),
                slices=[p.slices for p in own],
            )
        )
    return columns


def label_columns(rows: Sequence[Label]) -> LabelColumns:
    """Return the columns of labels that were polled together."""
    return LabelColumns(
        hashes_B=np.array([label.hash for label in rows], np.uint64),
        offsets_B=np.array([label.offset for label in rows], np.int64),
        times_B=np.array([label.time for label in rows], np.int64),
        values=[label.value for label in rows],
        models=[label.model for label in rows],
        slices=[label.slices for label in rows],
    )


class Driver:
    """An evaluator of one partition. sums, label_counts: of all commits."""

    def __init__(
        self,
        predictions: Sequence[Prediction],
        labels: Sequence[Label],
        rules: JoinRules,
        *,
        max_waiting: int,
        shadows: Sequence[Shadow] = (),
        num_topics: int = 1,
    ) -> None:
        self.predictions, self.labels, self.shadows = predictions, labels, shadows
        self._rules, self._max_waiting = rules, max_waiting
        self._committed: dict[TopicPartition, Committed | None] = dict.fromkeys((*TOPICS, LABELS, SHADOWS))
        self._topics = TOPICS[:num_topics]
        self.sums: dict[QualityKey, QualitySums] = {}
        self.label_counts: dict[QualityKey, LabelCounts] = {}
        self.paired: dict[PairedKey, PairedSums] = {}
        self.labels_evicted = 0
        self.restart()

    def restart(self) -> None:
        """Forget everything that was not committed."""
        self.join = PartitionJoin(
            JoinInputs(PREDICTIONS, LABELS, SHADOWS if self.shadows else None, routed=self._topics[1:]),
            self._rules,
            resolve=resolve,
            max_waiting=self._max_waiting,
        )
        positions = self.join.restore(self._committed)
        self._prediction_positions = [positions[partition] or 0 for partition in self._topics]
        self._label_position = positions[LABELS] or 0
        self._shadow_position = positions.get(SHADOWS) or 0

    def read_predictions(self, count: int, topic: int = 0) -> None:
        topic %= len(self._topics)
        position = self._prediction_positions[topic]
        rows = [p for p in self.predictions if p.topic == topic and p.offset >= position][:count]
        columns = prediction_columns(rows)
        position = self._prediction_positions[topic] = rows[-1].offset + 1 if rows else position
        self.join.add_predictions(columns, next_offset=position, partition=self._topics[topic])

    def drop_labels(self) -> None:
        """Let labels not wait for topics whose predictions were all read."""
        ends = [max((p.offset + 1 for p in self.predictions if p.topic == topic), default=0) for topic in range(3)]
        at_end = [
            partition
            for partition, end, position in zip(self._topics, ends, self._prediction_positions, strict=False)
            if position >= end
        ]
        self.join.drop_labels(at_end)

    def read_labels(self, count: int) -> None:
        rows = [label for label in self.labels if label.offset >= self._label_position][:count]
        self._label_position = rows[-1].offset + 1 if rows else self._label_position
        columns = label_columns(rows)
        self.join.add_labels(columns, next_offset=self._label_position)

    def read_shadows(self, count: int) -> None:
        rows = [row for row in self.shadows if row.offset >= self._shadow_position][:count]
        columns = []
        for ref in {row.ref: None for row in rows}:
            own = [row for row in rows if row.ref == ref]
            served = np.array([[row.served] for row in own], np.float32)
            shadow = np.array([[row.shadow] for row in own], np.float32)
            columns.append(
                ShadowColumns(
                    ref=ref,
                    task=Task.BINARY,
                    hashes_B=np.array([row.hash for row in own], np.uint64),
                    offsets_B=np.array([row.offset for row in own], np.int64),
                    times_B=np.array([row.time for row in own], np.int64),
                    blocks_B=np.array([row.block for row in own], np.uint16),
                    served_scores_BO=served,
                    served_classes_B=(served[:, 0] > 0.5).astype(np.int32),
                    shadow_scores_BO=shadow,
                    shadow_classes_B=(shadow[:, 0] > 0.5).astype(np.int32),
                )
            )
        self._shadow_position = rows[-1].offset + 1 if rows else self._shadow_position
        self.join.add_shadow_pairs(columns, next_offset=self._shadow_position)

    def commit(self) -> bool:
        """Take what was counted and commit the checkpoint; return whether the join was restored."""
        if not self.join.is_restored:
            assert self.join.take().is_empty and not self.join.checkpoint()
            return False
        taken = self.join.take()
        for (key, _), (sums, _) in taken.sums.items():
            if key in self.sums:
                self.sums[key].merge(sums)
            else:
                self.sums[key] = sums
        for key, counts in taken.labels.items():
            self.label_counts.setdefault(key, LabelCounts()).merge(counts)
        for paired_key, paired in taken.paired.items():
            if paired_key in self.paired:
                self.paired[paired_key].merge(paired)
            else:
                self.paired[paired_key] = paired
        self._committed |= self.join.checkpoint()
        self.labels_evicted += self.join.num_labels_evicted
        self.join.num_labels_evicted = 0
        assert all(len(committed.metadata) < 1000 for committed in self._committed.values() if committed is not None)
        return True

    def read_committed(self) -> tuple[list[Prediction], list[Label]]:
        """Return the rows before the committed offsets."""
        return (
            [p for p in self.predictions if p.offset < self._end(TOPICS[p.topic])],
            [label for label in self.labels if label.offset < self._end(LABELS)],
        )

    def committed_shadows(self) -> list[Shadow]:
        """Return the shadow pairs before the committed offset."""
        return [row for row in self.shadows if row.offset < self._end(SHADOWS)]

    def _end(self, partition: TopicPartition) -> int:
        committed = self._committed[partition]
        return 0 if committed is None else committed.offset

    def finish(self) -> None:
        """Read everything and commit."""
        for topic in range(len(self._topics)):
            self.read_predictions(1 << 30, topic)
        self.read_labels(1 << 30)
        if self.shadows:
            self.read_shadows(1 << 30)
        assert self.commit()
