"""The joins of all assigned partitions: assignment, what is taken for a commit, and limits."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from forebay.schemas.errors import BrokerError
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.outputs import OutputTopic
from forebay.stream.core.records import Committed, TopicPartition
from forebay.stream.evaluate.checkpoint import JoinRules
from forebay.stream.evaluate.columns import LabelValue
from forebay.stream.evaluate.joins import Joins, Snapshot
from forebay.stream.evaluate.label_values import Resolve
from forebay.stream.evaluate.prediction_documents import PredictionDocuments
from forebay.stream.evaluate.quality_records import QualityRecords
from forebay.stream.evaluate.shadow_parser import ShadowParser
from forebay.stream.evaluate.slice_values import SliceValues
from forebay.stream.evaluate.topic_layout import Layout
from forebay.stream.experiments.block_sums import BlockSums
from forebay.stream.experiments.blocks import key_blocks
from forebay.stream.quality.keys import QualityKey, Task
from forebay.stream.quality.view import QualityView
from tests.evaluate.records import NOW_MS, Polled, label, prediction, shadow_pair
from tests.evaluate.test_parsers import label_parser, prediction_parser

LAYOUT = Layout(
    "predictions", "labels", None, OutputTopic("quality", 4, 1_000_000), num_partitions=4, max_batch_bytes=1_000_000
)
RULES = JoinRules(horizon_ms=3_600_000, early_ms=60_000, window_ms=3_600_000)
P0, L0 = TopicPartition("predictions", 0), TopicPartition("labels", 0)
P1, L1 = TopicPartition("predictions", 1), TopicPartition("labels", 1)
NONE = dict.fromkeys((P0, L0, P1, L1))


def numbers_only(_ref: ModelRef, value: LabelValue) -> float | None:
    return None if isinstance(value, str) else float(value)


def new_joins(
    max_waiting: int = 1_000,
    layout: Layout = LAYOUT,
    slices: SliceValues | None = None,
    resolve: Resolve = numbers_only,
    rules: JoinRules = RULES,
    documents: PredictionDocuments | None = None,
) -> Joins:
    return Joins(
        layout,
        rules,
        prediction_parser=prediction_parser(slices=slices, documents=documents),
        label_parser=label_parser(slices=slices),
        shadow_parser=ShadowParser("id", max_future_ms=1_000, blocks=key_blocks),
        resolve=resolve,
        max_waiting=max_waiting,
        new_blocks=BlockSums,
    )


def poll(joins: Joins, polled: dict[TopicPartition, list[Polled]]) -> None:
    joins.add(joins.parse(polled), {})


def counts(snapshot: Snapshot) -> tuple[int, int]:
    sums = [sums for (key, _), (sums, _) in snapshot.sums.items() if not key.slice]
    return sum(each.predictions for each in sums), sum(each.matched for each in sums)


@pytest.mark.parametrize(
    ("assigned", "message"),
    [
        ((P0,), "partition 0 of predictions was assigned to this evaluator without that of labels"),
        ((P0, L0, L1), "partition 1 of labels was assigned to this evaluator without that of predictions"),
        ((P0, L1), "partition 0 of predictions was assigned to this evaluator without that of labels"),
    ],
)
def test_a_partition_without_its_partner_is_an_error(assigned: tuple[TopicPartition, ...], message: str) -> None:
    with pytest.raises(BrokerError) as caught:
        new_joins().restore(dict.fromkeys(assigned))
    assert caught.value.message == message and caught.value.remedy and "same" in caught.value.remedy


def test_the_sums_of_partitions_are_merged_into_one_record_of_a_key() -> None:
    joins = new_joins()
    assert joins.restore(NONE) == NONE
    poll(joins, {P0: [prediction(0)], L0: [label(0)], P1: [prediction(0), prediction(1)], L1: [label(1)]})
    snapshot = joins.take()
    (((key, _), (sums, blocks)),) = snapshot.sums.items()
    assert (key.model, key.version, sums.predictions, sums.matched) == ("late", 3, 3, 2)
    assert isinstance(blocks, BlockSums) and not blocks.is_empty
    assert {partition: at.offset for partition, at in snapshot.checkpoint.items()} == {P0: 1, L0: 1, P1: 2, L1: 2}
    assert snapshot.label_times == {0: NOW_MS - 30_000, 1: NOW_MS - 29_999}
    assert snapshot.unlabelled == set()
    assert joins.take().is_empty


def test_a_partition_with_predictions_and_no_label_is_unlabelled() -> None:
    joins = new_joins()
    joins.restore(NONE)
    assert joins.take().unlabelled == set()
    poll(joins, {P0: [prediction(0)], L1: [label(0)]})
    assert joins.take().unlabelled == {0}


def test_what_was_committed_is_read_again_and_not_counted_again() -> None:
    joins = new_joins()
    joins.restore(NONE)
    poll(joins, {P0: [prediction(0), prediction(1)], L0: [Polled(0, b"bad"), label(1)]})
    committed = joins.take().checkpoint
    again = new_joins()
    positions = again.restore({P0: committed[P0], L0: committed[L0]})
    # The label of offset 1 is still needed, in case that it is corrected.
    assert positions == {P0: 0, L0: 1} and not again.is_restored and again.num_restoring == 1
    poll(again, {P0: [prediction(0)]})
    assert again.take() == Snapshot()
    poll(again, {P0: [prediction(1), prediction(2)], L0: [label(1), label(2)]})
    assert again.is_restored
    snapshot = again.take()
    assert counts(snapshot) == (1, 1)
    assert {partition: at.offset for partition, at in snapshot.checkpoint.items()} == {P0: 3, L0: 3}


def test_refused_labels_are_counted_once() -> None:
    joins = new_joins()
    joins.restore(NONE)
    poll(joins, {L0: [Polled(0, b"bad"), Polled(1, None)]})
    tally = joins.take().labels[QualityKey("", 0, NOW_MS // RULES.window_ms * RULES.window_ms)]
    assert (tally.labels, tally.refused) == (2, 2)
    assert sum(joins.refusals.counts.values()) == 2
    again = new_joins()
    again.restore({P0: Committed(0, ""), L0: Committed(2, "")})
    poll(again, {L0: [Polled(0, b"bad"), Polled(1, None)]})
    assert not again.take().labels and not again.refusals.counts


def test_positions_after_the_last_record_are_committed_too() -> None:
    joins = new_joins()
    joins.restore({P0: Committed(10, ""), L0: Committed(10, "")})
    joins.add(joins.parse({P0: [prediction(10)]}), {P0: 12, L0: 15, P1: 3})
    assert {partition: at.offset for partition, at in joins.take().checkpoint.items()} == {P0: 12, L0: 15}


def test_records_of_partitions_that_were_revoked_meanwhile_are_ignored() -> None:
    joins = new_joins()
    joins.restore(NONE)
    parsed = joins.parse({P0: [prediction(0)], L0: [label(0)]})
    joins.drop()
    joins.add(parsed, {P0: 1})
    assert joins.take() == Snapshot() and joins.numbers == []


def test_the_process_evicts_beyond_its_limit_and_says_so() -> None:
    joins = new_joins(max_waiting=64)
    joins.restore(NONE)
    for start in range(0, 400, 20):
        poll(joins, {P0: [prediction(offset) for offset in range(start, start + 20)]})
    poll(joins, {P1: [prediction(offset) for offset in range(20)]})
    poll(joins, {P0: [prediction(400)], P1: [prediction(20)]})
    assert joins.num_waiting_predictions <= 64 + 2
    ((sums, _),) = joins.take().sums.values()
    assert sums.predictions == 422 and sums.evicted == 422 - joins.num_waiting_predictions


def test_predictions_of_routes_are_joined_with_the_same_labels() -> None:
    joins = new_joins(layout=replace(LAYOUT, routed=("high", "review")))
    high, review = TopicPartition("high", 0), TopicPartition("review", 0)
    joins.restore(dict.fromkeys((P0, L0, high, review)))
    assert joins.partitions_that_may_be_idle() == [P0, high, review]
    assert new_joins().partitions_that_may_be_idle() == []
    abstained = prediction(1, decision="abstain", reason="low_confidence")
    polled = {
        review: [abstained, Polled(2, b"bad")],
        high: [prediction(2)],
        P0: [prediction(0)],
        L0: [label(1), label(2)],
    }
    joins.add(joins.parse(polled), {high: 5})
    snapshot = joins.take()
    assert counts(snapshot) == (3, 2)
    assert {at: committed.offset for at, committed in snapshot.checkpoint.items()} == {P0: 1, L0: 3, high: 5, review: 3}
    assert joins.refusals.counts == {("review", "not_json"): 1}
    assert joins.num_waiting_labels == 2
    late = {P0: [prediction(3, source={"topic": "f", "partition": 0, "offset": 1, "timestamp": NOW_MS + 900})]}
    joins.add(joins.parse(late), {}, at_end=frozenset({P0, high, review}))
    assert joins.num_waiting_labels == 2, "early_ms has not passed"


def test_the_other_topic_is_read_first_when_much_waits() -> None:
    joins = new_joins(max_waiting=20)
    joins.restore(NONE)
    assert joins.topics_behind() is None
    poll(joins, {P0: [prediction(offset) for offset in range(11)]})
    assert joins.topics_behind() == frozenset({"labels"})
    assert joins.partitions_of(frozenset({"labels"})) == [L0, L1]


def test_shadows_are_paired_with_labels_once() -> None:
    shadows = TopicPartition("shadow-predictions", 0)
    joins = new_joins(layout=replace(LAYOUT, shadow_predictions="shadow-predictions"))
    joins.restore(dict.fromkeys((P0, L0, shadows)))
    polled = [shadow_pair(0), Polled(1, b"bad"), shadow_pair(2, failure="model_failed"), shadow_pair(0, offset=3)]
    poll(joins, {shadows: polled, L0: [label(0)], P0: [prediction(0)]})
    snapshot = joins.take()
    (((ref, _window, _task), paired),) = snapshot.paired.items()
    assert (ref.model, ref.served, ref.shadow) == ("late", 3, 4)
    assert (int(paired.n_matched.sum()), paired.right.only_shadow) == (1, 1), "a repeat is ignored"
    assert {partition: at.offset for partition, at in snapshot.checkpoint.items()} == {P0: 1, L0: 1, shadows: 4}
    assert joins.refusals.counts == {("shadow-predictions", "malformed"): 1}


@pytest.mark.parametrize("scores", [[0.75], [0.25, 0.75], [0.1, 0.2, 0.7]])
def test_models_of_classes_with_any_number_of_scores_are_counted(scores: list[float]) -> None:
    joins = new_joins()
    joins.restore(NONE)
    poll(joins, {P0: [prediction(0, **{"prediction": scores, "class": 1})], L0: [label(0)]})
    ((sums, _),) = joins.take().sums.values()
    assert (sums.predictions, sums.matched, sums.invalid_pairs) == (1, 1, 0)
    assert sums.num_classes == max(2, len(scores))


def test_a_slice_that_the_prediction_carries_is_not_counted_again_for_a_field_of_the_label() -> None:
    slices = SliceValues(("airport", "vip"), max_values=10)
    joins = new_joins(slices=slices)
    joins.restore(NONE)
    fields = {"airport": "JFK", "vip": True}
    polled = [prediction(0, slices={"airport": "JFK"}), prediction(1)]
    poll(joins, {P0: polled, L0: [label(0, fields=fields), label(1, fields=fields)]})
    found = {key.slice: (sums.predictions, sums.matched) for (key, _), (sums, _) in joins.take().sums.items()}
    assert found == {"": (2, 2), "airport=JFK": (1, 2), "vip=true": (0, 2)}


def test_predictions_of_a_version_with_another_task_or_number_of_classes_are_counted_apart() -> None:
    """One such record, by a mistake of its producer, must not end the evaluator or change the sums of the others."""
    joins = new_joins()
    joins.restore(NONE)
    odd = {
        1: {"prediction": [0.1, 0.2, 0.7], "class": 2},
        2: {"prediction": [0.1, 0.2, 0.3, 0.4], "class": 3},
        3: {"prediction": [3.5], "class": None},
    }
    poll(joins, {P0: [prediction(offset, **odd.get(offset, {})) for offset in range(5)]})
    poll(joins, {P1: [prediction(0, **odd[1]), prediction(1)]})
    poll(joins, {L0: [label(offset, label=0) for offset in range(5)]})
    poll(joins, {L0: [label(5, id="event-1", label=2)]})
    snapshot = joins.take()
    found = {num: (sums.task, sums.predictions, sums.matched) for (_, num), (sums, _) in snapshot.sums.items()}
    assert found == {
        2: (Task.BINARY, 3, 2),
        3: (Task.CLASSES, 2, 1),
        4: (Task.CLASSES, 1, 1),
        0: (Task.REGRESSION, 1, 1),
    }
    view = QualityView(group="g")
    records = QualityRecords(LAYOUT.quality, window_s=3_600, horizon_ms=1, group="g", worker="me")
    for outgoing in records.encode(snapshot).values():
        for value in outgoing.values:
            view.read(value)
    total = view.total("late", 3)
    assert total is not None and (total.num_classes, total.predictions, view.unlike, view.rejected) == (2, 3, 4, 0)


def test_shadow_pairs_of_another_task_are_counted_apart() -> None:
    layout = replace(LAYOUT, shadow_predictions="shadow-predictions")
    joins, shadows = new_joins(layout=layout), TopicPartition("shadow-predictions", 0)
    joins.restore(dict.fromkeys((P0, L0, shadows)))
    odd = json.loads(shadow_pair(1).value or b"")
    for side in ("primary", "shadow"):
        odd[side] |= {"prediction": [3.5], "class": None, "confidence": None}
    pairs = [shadow_pair(0), replace(shadow_pair(1), value=json.dumps(odd).encode())]
    poll(joins, {P0: [prediction(0), prediction(1)], shadows: pairs, L0: [label(0), label(1)]})
    found = {key.task: paired.n_matched.sum() for key, paired in joins.take().paired.items()}
    assert found == {Task.BINARY: 1, Task.REGRESSION: 1}
