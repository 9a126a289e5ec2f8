"""The joins of all assigned partitions: what was polled goes in, sums and checkpoints come out. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from forebay.schemas.errors import BrokerError
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import Committed, Record, TopicPartition
from forebay.stream.evaluate.checkpoint import JoinRules
from forebay.stream.evaluate.columns import PredictionColumns
from forebay.stream.evaluate.label_parser import LabelParser, ParsedLabels
from forebay.stream.evaluate.label_values import Resolve
from forebay.stream.evaluate.partition_join import JoinInputs, PartitionJoin, Taken
from forebay.stream.evaluate.pending_paired import PairedKey
from forebay.stream.evaluate.pending_quality import BlockCounter, Sums
from forebay.stream.evaluate.prediction_parser import ParsedPredictions, PredictionParser
from forebay.stream.evaluate.refusals import Refusal, RefusalLog
from forebay.stream.evaluate.shadow_parser import ParsedShadows, ShadowParser
from forebay.stream.evaluate.topic_layout import Layout
from forebay.stream.experiments.paired_sums import PairedSums
from forebay.stream.quality.keys import QualityKey, Task
from forebay.stream.quality.wire import LabelCounts


class Parsed(NamedTuple):
    """What a poll contains, by partition. next_offsets: where reading continues in each."""

    predictions: Mapping[TopicPartition, ParsedPredictions]
    labels: Mapping[TopicPartition, ParsedLabels]
    shadows: Mapping[TopicPartition, ParsedShadows]
    next_offsets: Mapping[TopicPartition, int]

    def predictions_by_version(self) -> Iterator[PredictionColumns]:
        """Yield the columns of all predictions."""
        for parsed in self.predictions.values():
            yield from parsed.columns

    def refs(self) -> set[ModelRef]:
        """Return the versions whose predictions were polled."""
        served = {columns.ref.served_ref for parsed in self.shadows.values() for columns in parsed.columns}
        return served | {columns.ref for columns in self.predictions_by_version()}


@dataclass(slots=True)
class Snapshot:
    """What one commit contains.

    checkpoint: offsets with metadata, of restored partitions.
    sums, paired, labels: what was counted since the last snapshot.
    label_times: by partition, the largest timestamp of a label.
    unlabelled: partitions that had predictions, but no label.
    """

    checkpoint: dict[TopicPartition, Committed] = field(default_factory=dict)
    sums: Sums = field(default_factory=dict)
    paired: dict[PairedKey, PairedSums] = field(default_factory=dict)
    labels: dict[QualityKey, LabelCounts] = field(default_factory=dict)
    label_times: dict[int, int] = field(default_factory=dict)
    unlabelled: set[int] = field(default_factory=set)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was counted."""
        return not self.sums and not self.labels and not self.paired

    def merge(self, taken: Taken) -> None:
        """Add what was counted in one partition."""
        for key, (sums, blocks) in taken.sums.items():
            present = self.sums.get(key)
            if present is None:
                self.sums[key] = (sums, blocks)
            else:
                present[0].merge(sums)
                _merge_blocks(present[1], blocks)
        for pair, differences in taken.paired.items():
            if pair in self.paired:
                self.paired[pair].merge(differences)
            else:
                self.paired[pair] = differences
        for label_key, counts in taken.labels.items():
            self.labels.setdefault(label_key, LabelCounts()).merge(counts)


class Joins:
    """One join for each number of a partition.

    max_waiting: predictions that may wait, over all partitions.
    """

    def __init__(
        self,
        layout: Layout,
        rules: JoinRules,
        *,
        prediction_parser: PredictionParser,
        label_parser: LabelParser,
        shadow_parser: ShadowParser,
        resolve: Resolve,
        max_waiting: int,
        new_blocks: Callable[[Task], BlockCounter] | None = None,
    ) -> None:
        self._layout = layout
        self._rules = rules
        self._prediction_parser = prediction_parser
        self._label_parser = label_parser
        self._shadow_parser = shadow_parser
        self._resolve = resolve
        self._max_waiting = max_waiting
        self._new_blocks = new_blocks
        self._joins: dict[int, PartitionJoin] = {}
        self._kept: dict[int, PartitionJoin] = {}
        self._positions: dict[TopicPartition, int] = {}
        self._committed: dict[TopicPartition, int] = {}
        self._refused: dict[int, list[Refusal]] = {}
        self.refusals = RefusalLog()

    # ---- assignment

    def restore(self, committed: Mapping[TopicPartition, Committed | None]) -> dict[TopicPartition, int | None]:
        """Begin the joins of assigned partitions, or continue those that were kept; return from where to read.

        A join is a function of how far each partition was read. So a kept one continues if the committed offsets and their
        metadata are still those of its state, also if another evaluator had the partitions meanwhile.

        Raises BrokerError if a partition of predictions was assigned without that of labels, or a state cannot be continued.
        """
        kept = self._kept
        self.drop()
        positions: dict[TopicPartition, int | None] = {}
        for number in self._numbers(committed):
            own = {partition: offset for partition, offset in committed.items() if partition.partition == number}
            if number in kept and kept[number].checkpoint() == own:
                join = self._kept[number] = kept[number]
                positions |= {partition: None if offset is None else offset.offset for partition, offset in own.items()}
            else:
                join = self._new_join(number)
                positions |= join.restore(committed)
            self._joins[number] = join
        self._committed = {partition: offset.offset for partition, offset in committed.items() if offset is not None}
        return positions

    def _new_join(self, number: int) -> PartitionJoin:
        shadows = self._layout.shadow_predictions
        return PartitionJoin(
            JoinInputs(
                TopicPartition(self._layout.predictions, number),
                TopicPartition(self._layout.labels, number),
                None if shadows is None else TopicPartition(shadows, number),
                routed=tuple(TopicPartition(topic, number) for topic in self._layout.routed),
            ),
            self._rules,
            resolve=self._resolve,
            max_waiting=self._max_waiting,
            new_blocks=self._new_blocks,
        )

    def _numbers(self, assigned: Collection[TopicPartition]) -> list[int]:
        by_topic: dict[str, set[int]] = {topic: set() for topic in self._layout.inputs()}
        for topic, number in assigned:
            by_topic.setdefault(topic, set()).add(number)
        expected = by_topic[self._layout.predictions]
        for topic, numbers in by_topic.items():
            if numbers != expected:
                number = min(numbers ^ expected)
                has, lacks = (
                    (topic, self._layout.predictions) if number in numbers else (self._layout.predictions, topic)
                )
                raise BrokerError(
                    f"partition {number} of {has} was assigned to this evaluator without that of {lacks}",
                    kind="not_co_partitioned",
                    remedy="run the same version of Forebay and the same configuration of topics in all members of the group, "
                    "and no other program; `forebay topics check` compares the numbers of partitions",
                )
        return sorted(expected)

    def drop(self) -> None:
        """Forget all joins. Their partitions are read again, here or elsewhere."""
        self._joins = {}
        self._kept = {}
        self._positions = {}
        self._committed = {}
        self._refused = {}

    def keep(self) -> None:
        """Forget all joins, as `drop` does, but remember those with nothing to take.

        What was taken must have been committed.
        """
        kept = self._kept
        for number, join in self._joins.items():
            kept.pop(number, None)
            if join.is_restored and join.take().is_empty and not self._refused.get(number):
                kept[number] = join
        self.drop()
        self._kept = kept

    @property
    def num_kept(self) -> int:
        """Number of joins that were kept, until records are added after the next assignment."""
        return len(self._kept)

    # ---- input

    def prediction_topics(self) -> Collection[str]:
        """Return the topics of predictions."""
        return self._layout.prediction_topics()

    def parse(self, polled: Mapping[TopicPartition, Sequence[Record]]) -> Parsed:
        """Parse what was polled."""
        predictions, labels, shadows, next_offsets = {}, {}, {}, {}
        for partition, records in polled.items():
            if not records:
                continue
            partition = TopicPartition(*partition)
            next_offsets[partition] = records[-1].offset + 1
            if partition.topic in self._layout.prediction_topics():
                predictions[partition] = self._prediction_parser.parse(records)
            elif partition.topic == self._layout.labels:
                labels[partition] = self._label_parser.parse(records)
            else:
                shadows[partition] = self._shadow_parser.parse(records)
        return Parsed(predictions, labels, shadows, next_offsets)

    def add(
        self,
        parsed: Parsed,
        positions: Mapping[TopicPartition, int],
        *,
        at_end: Collection[TopicPartition] = (),
    ) -> None:
        """Join what was parsed, and advance to the positions, which may be after the last records.

        at_end: partitions that were read to their end, with what was parsed.

        Partitions without a join, because they were revoked meanwhile, are ignored.
        """
        if self._joins:
            self._kept = {}  # they are among the joins
        self._share_limit()
        for partition, predictions in parsed.predictions.items():
            join = self._joins.get(partition.partition)
            if join is not None:
                self.refusals.record(partition, self._new(partition, predictions.refused))
                next_offset = parsed.next_offsets[partition]
                join.add_predictions(predictions.columns, next_offset=next_offset, partition=partition)
        for partition, shadows in parsed.shadows.items():
            join = self._joins.get(partition.partition)
            if join is not None:
                self.refusals.record(partition, self._new(partition, shadows.refused))
                join.add_shadow_pairs(shadows.columns, next_offset=parsed.next_offsets[partition])
        for partition, labels in parsed.labels.items():
            join = self._joins.get(partition.partition)
            if join is not None:
                refused = self._new(partition, labels.refused)
                self.refusals.record(partition, refused)
                self._refused.setdefault(partition.partition, []).extend(refused)
                join.add_labels(labels.columns, next_offset=parsed.next_offsets[partition])
        self._positions.update(parsed.next_offsets)
        self._advance(positions)
        for join in self._joins.values():
            join.drop_labels(at_end)

    def _new(self, partition: TopicPartition, refused: Sequence[Refusal]) -> list[Refusal]:
        """Return the refusals that were not counted before the committed offset."""
        committed = self._committed.get(partition, 0)
        return [refusal for refusal in refused if refusal.offset >= committed]

    def _advance(self, positions: Mapping[TopicPartition, int]) -> None:
        """Advance past transaction markers and aborted records, which are never polled."""
        for partition, position in positions.items():
            join = self._joins.get(partition.partition)
            if join is None or position <= self._positions.get(partition, -1):
                continue
            self._positions[partition] = position
            if partition.topic in self._layout.prediction_topics():
                join.add_predictions([], next_offset=position, partition=partition)
            elif partition.topic == self._layout.labels:
                join.add_labels(self._label_parser.parse([]).columns, next_offset=position)
            else:
                join.add_shadow_pairs([], next_offset=position)

    def _share_limit(self) -> None:
        """Let a partition use what the others do not, and at least an equal share."""
        waiting = {number: join.num_waiting_predictions for number, join in self._joins.items()}
        total, equal = sum(waiting.values()), self._max_waiting // max(1, len(waiting))
        for number, join in self._joins.items():
            join.max_waiting = max(equal, self._max_waiting - (total - waiting[number]), 1)

    # ---- output

    def take(self) -> Snapshot:
        """Return what was counted since the last call, and the offsets up to which."""
        snapshot = Snapshot()
        for number, join in self._joins.items():
            if not join.is_restored:
                continue
            snapshot.checkpoint |= join.checkpoint()
            taken = join.take()
            snapshot.merge(taken)
            for refusal in self._refused.pop(number, ()):
                window_ms = self._rules.window_ms
                key = QualityKey("", 0, max(0, refusal.timestamp) // window_ms * window_ms)
                refused = LabelCounts(labels=refusal.count, refused=refusal.count)
                snapshot.labels.setdefault(key, LabelCounts()).merge(refused)
            label_time_ms = join.label_time_ms()
            if label_time_ms is not None:
                snapshot.label_times[number] = label_time_ms
            elif join.prediction_time_ms() is not None:
                snapshot.unlabelled.add(number)
        return snapshot

    def topics_behind(self) -> frozenset[str] | None:
        """Return the topics to read alone, because more than half of what may wait is of the others; None for all."""
        half = self._max_waiting // 2
        if self.num_waiting_predictions > half:
            return frozenset({self._layout.labels})
        if self.num_waiting_labels > half:
            return frozenset(set(self._layout.inputs()) - {self._layout.labels})
        return None

    def partitions_of(self, topics: Collection[str]) -> list[TopicPartition]:
        """Return the assigned partitions of topics."""
        return [TopicPartition(topic, number) for topic in topics for number in self._joins]

    def partitions_that_may_be_idle(self) -> list[TopicPartition]:
        """Return the assigned partitions of predictions, if there are several topics of them."""
        return self.partitions_of(self._layout.prediction_topics()) if self._layout.routed else []

    # ---- figures

    @property
    def numbers(self) -> list[int]:
        """The numbers of the assigned partitions."""
        return sorted(self._joins)

    @property
    def is_restored(self) -> bool:
        """Whether everything before the committed offsets has been read again."""
        return all(join.is_restored for join in self._joins.values())

    @property
    def num_restoring(self) -> int:
        """Number of partitions that are read again."""
        return sum(not join.is_restored for join in self._joins.values())

    def label_times(self) -> dict[int, int]:
        """Return the largest timestamp of a label of each partition that had one."""
        times = {number: join.label_time_ms() for number, join in self._joins.items()}
        return {number: time_ms for number, time_ms in times.items() if time_ms is not None}

    @property
    def num_waiting_predictions(self) -> int:
        return sum(join.num_waiting_predictions for join in self._joins.values())

    @property
    def num_waiting_labels(self) -> int:
        return sum(join.num_waiting_labels for join in self._joins.values())


def _merge_blocks(into: BlockCounter | None, other: BlockCounter | None) -> None:
    if into is not None and other is not None:
        into.merge(other)  # type: ignore[attr-defined]
