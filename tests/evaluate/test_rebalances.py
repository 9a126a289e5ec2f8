"""Rebalances: joins of partitions that stay continue, and what is counted is the same as if they were read again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.stream.core.records import Committed, TopicPartition
from forebay.stream.evaluate.joins import Joins, Parsed, Snapshot
from forebay.stream.evaluate.label_parser import ParsedLabels
from forebay.stream.evaluate.prediction_parser import ParsedPredictions
from forebay.stream.quality.keys import QualityKey
from forebay.stream.quality.sums import QualitySums
from forebay.stream.quality.wire import LabelCounts
from tests.evaluate.driver import label_columns, prediction_columns
from tests.evaluate.records import label, prediction
from tests.evaluate.reference import Label, Prediction, Reference, resolve
from tests.evaluate.test_join_properties import RULES, counted, counted_labels, histories
from tests.evaluate.test_joins import L0, P0, counts, new_joins, poll

NUMBERS = (0, 1, 2)
Histories = list[tuple[list[Prediction], list[Label]]]


class Group:
    """Evaluators that share partitions. sums, labels: of all commits."""

    def __init__(self, histories: Histories, num_members: int) -> None:
        self._histories = histories
        self._members = [new_joins(resolve=resolve, rules=RULES) for _ in range(num_members)]
        self._owners: dict[int, Joins] = {}
        self._positions: dict[TopicPartition, int] = {}
        self._offsets: dict[TopicPartition, Committed | None] = {}
        self.sums: dict[QualityKey, QualitySums] = {}
        self.labels: dict[QualityKey, LabelCounts] = {}

    def rebalance(self, owners: Sequence[int], *, late: bool = False, failing: int | None = None) -> None:
        """Assign each partition to a member, after all have committed except `failing`, whose commit fails.

        owners: if all are equal, the other members miss this rebalance.
        late: whether records arrive while the commits are under way.
        """
        for index, member in enumerate(self._members):
            if index == failing:
                member.take()
                member.drop()
            else:
                self.commit(index)
        if late:
            self.read(NUMBERS[0], "labels", 1)
            self.read(NUMBERS[1], "predictions", 1)
        for member in self._members:
            member.keep()
        self._owners = {number: self._members[owner] for number, owner in zip(NUMBERS, owners, strict=True)}
        for member in self._members:
            own = [number for number, owner in self._owners.items() if owner is member]
            if not own:
                continue
            partitions = [TopicPartition(topic, number) for number in own for topic in ("predictions", "labels")]
            positions = member.restore({partition: self._offsets.get(partition) for partition in partitions})
            self._positions |= {partition: offset or 0 for partition, offset in positions.items()}

    def read(self, number: int, topic: str, count: int) -> None:
        partition = TopicPartition(topic, number)
        position = self._positions[partition]
        rows: list[Any] = [row for row in self._rows(partition) if row.offset >= position][:count]
        if not rows:
            return
        self._positions[partition] = rows[-1].offset + 1
        predictions = {partition: ParsedPredictions(prediction_columns(rows), [])} if topic == "predictions" else {}
        labels = {partition: ParsedLabels(label_columns(rows), [])} if topic == "labels" else {}
        self._owners[number].add(Parsed(predictions, labels, {}, {partition: rows[-1].offset + 1}), {})

    def _rows(self, partition: TopicPartition) -> Sequence[Any]:
        return self._histories[partition.partition][partition.topic == "labels"]

    def commit(self, index: int) -> None:
        snapshot: Snapshot = self._members[index % len(self._members)].take()
        self._offsets |= snapshot.checkpoint
        for (key, _), (sums, _) in snapshot.sums.items():
            self.sums.setdefault(key, QualitySums(sums.task, sums.num_classes)).merge(sums)
        for label_key, found in snapshot.labels.items():
            self.labels.setdefault(label_key, LabelCounts()).merge(found)

    def finish(self) -> None:
        """Read everything and commit."""
        for number in NUMBERS:
            self.read(number, "predictions", 1 << 30)
            self.read(number, "labels", 1 << 30)
        for index in range(len(self._members)):
            self.commit(index)

    def check(self) -> None:
        """Compare what was committed with the definition."""
        sums: dict[QualityKey, QualitySums] = {}
        labels: dict[QualityKey, LabelCounts] = {}
        for number in NUMBERS:
            read = []
            for topic in ("predictions", "labels"):
                at = self._offsets.get(TopicPartition(topic, number))
                end = 0 if at is None else at.offset
                read.append([row for row in self._rows(TopicPartition(topic, number)) if row.offset < end])
            expected = Reference(read[0], read[1], RULES)
            for key, one in expected.sums.items():
                sums.setdefault(key, QualitySums(one.task, one.num_classes)).merge(one)
            for key, found in expected.labels.items():
                labels.setdefault(key, LabelCounts()).merge(found)
        assert counted(self.sums) == counted(sums)
        assert counted_labels(self.labels) == counted_labels(labels)


OWNERS = st.sampled_from([(0, 0, 0), (0, 0, 1), (0, 1, 1), (1, 1, 1)])
READ = st.tuples(
    st.just("read"), st.sampled_from(NUMBERS), st.sampled_from(["predictions", "labels"]), st.integers(1, 6)
)
STEPS = st.lists(
    st.one_of(
        READ,
        READ,
        READ,
        st.tuples(st.just("commit"), st.integers(0, 1)),
        st.tuples(st.just("rebalance"), OWNERS, st.booleans()),
    ),
    min_size=8,
    max_size=30,
)


@settings(max_examples=25, deadline=None)
@given(st.lists(histories(), min_size=len(NUMBERS), max_size=len(NUMBERS)), STEPS, st.sampled_from([None, None, 0]))
def test_rebalances_change_nothing_that_is_counted(
    rows: Histories, steps: list[tuple[Any, ...]], failing: int | None
) -> None:
    group = Group(rows, num_members=2)
    group.rebalance((0, 0, 1))
    for name, *arguments in steps:
        if name == "rebalance":
            group.rebalance(arguments[0], late=arguments[1], failing=failing)
        else:
            getattr(group, name)(*arguments)
        if name != "read":
            group.check()
    group.finish()
    group.check()


def assigned_again(joins: Joins, offsets: dict[TopicPartition, Committed | None]) -> dict[TopicPartition, int | None]:
    """Return from where the partitions are read after a rebalance."""
    joins.keep()
    assert joins.numbers == []
    return joins.restore(offsets)


def test_a_partition_that_stays_is_not_read_again() -> None:
    joins = new_joins()
    joins.restore({P0: None, L0: None})
    poll(joins, {P0: [prediction(0), prediction(1)], L0: [label(0)]})
    offsets: dict[TopicPartition, Committed | None] = dict(joins.take().checkpoint)
    assert assigned_again(joins, offsets) == {P0: 2, L0: 1}
    assert (joins.num_kept, joins.num_restoring, joins.num_waiting_predictions) == (1, 0, 2)
    # Reading the offsets is tried again after an error, and a second rebalance may come before the first record.
    assert joins.restore(offsets) == {P0: 2, L0: 1}
    assert assigned_again(joins, offsets) == {P0: 2, L0: 1} and joins.num_kept == 1
    poll(joins, {L0: [label(1)]})
    assert counts(joins.take()) == (0, 1) and joins.num_kept == 0


def test_a_partition_is_read_again_if_it_was_elsewhere_or_not_all_was_committed() -> None:
    def with_a_prediction() -> tuple[Joins, dict[TopicPartition, Committed | None]]:
        joins = new_joins()
        joins.restore({P0: None, L0: None})
        poll(joins, {P0: [prediction(0)]})
        return joins, dict(joins.take().checkpoint)

    joins, offsets = with_a_prediction()
    other = new_joins()
    other.restore(offsets)
    poll(other, {P0: [prediction(0), prediction(1)]})
    assert assigned_again(joins, dict(other.take().checkpoint)) == {P0: 0, L0: 0} and joins.num_kept == 0

    joins, offsets = with_a_prediction()
    poll(joins, {P0: [prediction(1)]})  # while the commit was under way
    assert assigned_again(joins, offsets) == {P0: 0, L0: 0} and joins.num_restoring == 1

    joins, offsets = with_a_prediction()
    joins.keep()
    joins.restore({})  # the partition goes to another evaluator
    assert assigned_again(joins, offsets) == {P0: 0, L0: 0} and joins.num_kept == 0
