"""The join of one partition by examples."""

from __future__ import annotations

import numpy as np
import pytest

from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import TopicPartition
from forebay.stream.evaluate.checkpoint import JoinRules
from forebay.stream.evaluate.columns import LabelColumns, LabelValue, PredictionColumns
from forebay.stream.evaluate.partition_join import JoinInputs, PartitionJoin
from forebay.stream.evaluate.pending_quality import SumsKey
from forebay.stream.quality.keys import QualityKey, Task
from forebay.stream.quality.wire import LabelCounts

PREDICTIONS, LABELS = TopicPartition("predictions", 0), TopicPartition("labels", 0)
REVIEW = TopicPartition("review", 0)
CLASSES = {"no": 0.0, "yes": 1.0}


def resolve(ref: ModelRef, value: LabelValue) -> float | None:
    return CLASSES.get(value) if isinstance(value, str) else float(value)


def join_of(**rules: int) -> PartitionJoin:
    settings = {"horizon_ms": 1000, "early_ms": 100, "window_ms": 500} | rules
    return PartitionJoin(JoinInputs(PREDICTIONS, LABELS), JoinRules(**settings), resolve=resolve, max_waiting=1000)


def predictions(first: int, hashes: list[int], times: list[int], scores: list[float]) -> PredictionColumns:
    return PredictionColumns(
        ref=ModelRef("m", 1),
        task=Task.BINARY,
        hashes_B=np.array(hashes, np.uint64),
        offsets_B=np.arange(first, first + len(hashes)),
        times_B=np.array(times, np.int64),
        scores_BO=np.array(scores, np.float32)[:, None],
        classes_B=(np.array(scores) > 0.5).astype(np.int32),
        blocks_B=np.zeros(len(hashes), np.uint16),
    )


def labels(first: int, hashes: list[int], times: list[int], values: list[LabelValue]) -> LabelColumns:
    return LabelColumns(
        np.array(hashes, np.uint64), np.arange(first, first + len(hashes)), np.array(times, np.int64), values
    )


def test_a_label_is_joined_corrected_and_repeated() -> None:
    join = join_of()
    join.add_predictions([predictions(0, [3, 1, 2], [10, 20, 600], [0.1, 0.9, 0.2])], next_offset=3)
    join.add_labels(labels(0, [1, 2, 9, 1, 1], [30, 40, 50, 60, 70], ["no", 1, 0, "yes", True]), next_offset=5)
    taken = join.take()
    first, second = QualityKey("m", 1, 0), QualityKey("m", 1, 500)
    assert {key: (sums.predictions, sums.matched) for (key, _), (sums, _) in taken.sums.items()} == {
        first: (2, 1),
        second: (1, 0),
    }
    assert taken.labels == {QualityKey("", 0, 0): LabelCounts(labels=5, used=3, repeated=1, corrected=1)}
    assert join.take().is_empty


def test_a_prediction_after_its_label_is_joined_if_it_is_early_enough() -> None:
    join = join_of(early_ms=100)
    join.add_labels(labels(0, [1, 2], [50, 60], ["yes", "yes"]), next_offset=2)
    join.add_predictions([predictions(0, [1, 5, 2], [150, 161, 10], [0.1, 0.9, 0.2])], next_offset=3)
    taken = join.take()
    assert taken.sums[SumsKey(QualityKey("m", 1, 0), 2)][0].matched == 1


def test_only_predictions_that_could_still_get_a_label_are_counted_as_evicted() -> None:
    join = join_of(horizon_ms=1000)
    join.max_waiting = 3
    join.add_predictions([predictions(0, [1, 2], [0, 700], [0.1, 0.9])], next_offset=2)
    join.add_labels(labels(0, [9], [1500], ["yes"]), next_offset=1)
    join.add_predictions([predictions(2, [3, 4], [1501, 1502], [0.1, 0.9])], next_offset=4)
    evicted = {key.window_start: sums.evicted for (key, _), (sums, _) in join.take().sums.items() if sums.evicted}
    assert evicted == {500: 1}
    assert join.num_waiting_predictions == 2


def test_times_are_unknown_before_the_first_rows_and_windows_become_final_with_the_labels() -> None:
    join = join_of(horizon_ms=1000)
    assert (join.prediction_time_ms(), join.label_time_ms(), join.final_before_ms()) == (None, None, None)
    join.add_predictions([predictions(0, [1, 2], [700, 600], [0.1, 0.9])], next_offset=2)
    join.add_labels(labels(0, [9, 9], [1500, 1400], ["yes", "no"]), next_offset=2)
    assert (join.prediction_time_ms(), join.label_time_ms(), join.final_before_ms()) == (700, 1500, 500)
    assert join.num_waiting_labels == 2


def routed_join(max_waiting: int = 1000) -> PartitionJoin:
    rules = JoinRules(horizon_ms=1000, early_ms=100, window_ms=500)
    return PartitionJoin(
        JoinInputs(PREDICTIONS, LABELS, routed=(REVIEW,)), rules, resolve=resolve, max_waiting=max_waiting
    )


@pytest.mark.parametrize(("time_ms", "waiting"), [(199, 0), (200, 1)])
def test_a_topic_without_predictions_does_not_keep_labels_for_ever(time_ms: int, waiting: int) -> None:
    join = routed_join()
    join.add_labels(labels(0, [1], [time_ms], ["yes"]), next_offset=1)
    join.add_predictions([predictions(0, [7], [400], [0.1])], next_offset=1)
    join.drop_labels([PREDICTIONS])
    assert join.num_waiting_labels == 1, "the other topic may have older predictions"
    join.drop_labels([PREDICTIONS, REVIEW])
    assert join.num_waiting_labels == waiting, "it counts as early_ms behind"
    join.add_predictions([predictions(0, [1], [300], [0.9])], next_offset=1, partition=REVIEW)
    ((sums, _),) = join.take().sums.values()
    assert (sums.predictions, sums.matched) == (2, waiting)
    assert {partition: at.offset for partition, at in join.checkpoint().items()} == {
        PREDICTIONS: 1,
        LABELS: 1,
        REVIEW: 1,
    }


def test_a_state_without_the_further_topics_is_continued() -> None:
    before = join_of()
    before.add_predictions([predictions(0, [1], [10], [0.9])], next_offset=1)
    committed = before.checkpoint()
    join = routed_join()
    assert join.restore({**committed, REVIEW: None}) == {PREDICTIONS: 0, LABELS: 0, REVIEW: None}
    join.add_predictions([predictions(0, [2], [20], [0.9])], next_offset=1, partition=REVIEW)
    join.add_predictions([predictions(0, [1], [10], [0.9])], next_offset=1)
    join.add_labels(labels(0, [1, 2], [30, 40], ["yes", "yes"]), next_offset=2)
    ((sums, _),) = join.take().sums.values()
    assert (sums.predictions, sums.matched) == (1, 2), "the first prediction is counted already"


def test_the_oldest_predictions_of_all_topics_are_evicted() -> None:
    join = routed_join(max_waiting=3)
    for offset in range(2):
        join.add_predictions([predictions(offset, [offset], [1000 + offset], [0.1])], next_offset=offset + 1)
    for offset in range(2):
        columns = predictions(offset, [offset + 5], [10 + 600 * offset], [0.1])
        join.add_predictions([columns], next_offset=offset + 1, partition=REVIEW)
    evicted = {key.window_start: sums.evicted for (key, _), (sums, _) in join.take().sums.items() if sums.evicted}
    assert evicted == {0: 1} and join.num_waiting_predictions == 3
