"""Sums by block: against a direct computation, exactness, JSON."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss, mean_absolute_error, mean_squared_error

from forebay.schemas.errors import DataError
from forebay.stream.experiments.block_sums import BlockSums
from forebay.stream.experiments.blocks import NUM_BLOCKS
from forebay.stream.quality.keys import Task
from forebay.stream.quality.sums import QualitySums
from tests.experiments.pairs import random_pairs

TASKS = list(Task)


def summed(task: Task, count: int = 5000, *, seed: int = 7) -> BlockSums:
    sums = BlockSums(task)
    pairs = random_pairs(task, count, seed=seed)
    sums.add_predictions(pairs.blocks_B)
    sums.add_pairs(*pairs)
    return sums


def total(sums: BlockSums, metric: str) -> float:
    return float(sums.sums(metric).sum() / sums.n_matched.sum())


def test_metrics_of_two_classes_are_those_of_scikit_learn() -> None:
    pairs, sums = random_pairs(Task.BINARY, 5000), summed(Task.BINARY)
    scores = pairs.scores_BO[:, 0].astype(np.float64)
    assert total(sums, "log_loss") == pytest.approx(log_loss(pairs.actual_B, scores), abs=1e-9)
    assert total(sums, "brier") == pytest.approx(brier_score_loss(pairs.actual_B, scores), abs=1e-9)
    assert total(sums, "correct") == (pairs.classes_B == pairs.actual_B).mean()


def test_metrics_of_several_classes_and_of_regression_are_those_of_scikit_learn() -> None:
    pairs, sums = random_pairs(Task.CLASSES, 2000), summed(Task.CLASSES, 2000)
    rounded = pairs.scores_BO.astype(np.float64)
    expected = -np.log(rounded[np.arange(2000), pairs.actual_B.astype(int)]).mean()
    assert total(sums, "log_loss") == pytest.approx(expected, abs=1e-9)
    pairs, sums = random_pairs(Task.REGRESSION, 2000), summed(Task.REGRESSION, 2000)
    predicted = pairs.scores_BO[:, 0].astype(np.float64)
    assert total(sums, "absolute_error") == pytest.approx(mean_absolute_error(pairs.actual_B, predicted), rel=1e-12)
    assert total(sums, "squared_error") == pytest.approx(mean_squared_error(pairs.actual_B, predicted), rel=1e-12)


@pytest.mark.parametrize("task", [Task.BINARY, Task.CLASSES])
def test_totals_equal_those_of_quality_sums(task: Task) -> None:
    pairs, sums = random_pairs(task, 1000), summed(task, 1000)
    quality = QualitySums(task, 2 if task is Task.BINARY else 4)
    quality.add_pairs(pairs.scores_BO, pairs.classes_B, pairs.actual_B, np.zeros(1000))
    assert quality.classification is not None
    assert sums.sums("log_loss").sum() * 2**32 == quality.classification.log_loss
    assert sums.sums("brier").sum() * 2**32 == quality.classification.brier


@pytest.mark.parametrize("task", TASKS)
def test_each_block_has_its_own_pairs(task: Task) -> None:
    pairs, sums = random_pairs(task, 5000), summed(task)
    block = int(pairs.blocks_B[0])
    alone = BlockSums(task)
    alone.add_pairs(*pairs.rows(pairs.blocks_B == block))
    assert sums.n_matched[block] == alone.n_matched.sum() == (pairs.blocks_B == block).sum()
    for metric in sums.metrics:
        assert sums.sums(metric)[block] == alone.sums(metric).sum()
    assert sums.n_predictions.sum() == 5000


@pytest.mark.parametrize("task", TASKS)
def test_sums_do_not_depend_on_order_and_division(task: Task) -> None:
    pairs = random_pairs(task, 5000)
    order = np.random.default_rng(1).permutation(5000)
    parts = [BlockSums(task) for _ in range(3)]
    for number, rows in enumerate(np.array_split(order, 30)):
        parts[number % 3].add_pairs(*pairs.rows(rows))
        parts[number % 3].add_predictions(pairs.blocks_B[rows])
    merged = BlockSums(task)
    for part in parts:
        merged.merge(part)
    assert merged == summed(task)


@pytest.mark.parametrize("task", TASKS)
def test_pairs_that_are_taken_back_leave_nothing(task: Task) -> None:
    sums, pairs = BlockSums(task), random_pairs(task, 3000)
    sums.add_pairs(*pairs)
    assert not sums.is_empty
    sums.add_pairs(*pairs, sign=-1)
    assert sums.is_empty


def test_errors_of_any_size_are_exact() -> None:
    sums = BlockSums(Task.REGRESSION)
    blocks = np.zeros(3, np.uint16)
    scores = np.array([[1e-3], [3e9], [0.5]], np.float32)
    actual = np.array([0.0, 0.0, 0.0])
    sums.add_pairs(blocks, scores, blocks, actual)
    sums.add_pairs(blocks[1:2], scores[1:2], blocks[1:2], actual[1:2], sign=-1)
    assert sums.sums("squared_error")[0] == pytest.approx(0.25 + float(scores[0, 0]) ** 2, rel=1e-15)


def test_impossible_pairs_are_left_out() -> None:
    blocks = np.arange(5, dtype=np.uint16)
    scores = np.array([[0.5], [np.nan], [1.5], [0.5], [0.25]], np.float32)
    actual = np.array([1.0, 1.0, 1.0, 2.0, np.nan])
    sums = BlockSums(Task.BINARY)
    sums.add_pairs(blocks, scores, np.ones(5, np.int32), actual)
    assert np.flatnonzero(sums.n_matched).tolist() == [0]
    errors = BlockSums(Task.REGRESSION)
    errors.add_pairs(blocks[:3], np.array([[1], [np.inf], [1e30]], np.float32), blocks[:3], np.zeros(3))
    assert np.flatnonzero(errors.n_matched).tolist() == [0]


@pytest.mark.parametrize("task", TASKS)
def test_json_has_everything(task: Task) -> None:
    sums = summed(task, 500)
    document = json.loads(json.dumps(sums.to_dict()))
    assert BlockSums.read(document) == sums
    assert document["num_blocks"] < NUM_BLOCKS
    taken_back = BlockSums(task)
    taken_back.add_pairs(*random_pairs(task, 500), sign=-1)
    assert BlockSums.read(taken_back.to_dict()) == taken_back
    assert BlockSums.read(BlockSums(task).to_dict()).is_empty


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"task": "ranking"}, "sums by block: task is 'ranking'; expected one of binary, classes, regression"),
        ({"num_blocks": 5000}, "num_blocks is 5000; expected 0 to 4096"),
        ({"num_blocks": 3}, "expected 3 numbers"),
        ({"blocks": "i1:" + base64.b64encode(bytes([1, 1])).decode()}, "ascending"),
        ({"matched": "f8:AAAA"}, "matched: expected a column"),
        ({"predictions": "i1:!!"}, "predictions: not base64"),
        ({"sums": {"correct": []}}, "sums: expected an object with correct, log_loss, brier"),
        ({"sums": {"correct": [], "log_loss": [], "brier": []}}, "sums: correct: expected a list of 1 columns"),
    ],
)
def test_errors_name_the_place(change: dict[str, Any], place: str) -> None:
    sums = BlockSums(Task.BINARY)
    sums.add_predictions(np.array([3, 9], np.uint16))
    with pytest.raises(DataError) as caught:
        BlockSums.read({**sums.to_dict(), **change})
    assert place in caught.value.message


def test_sums_of_different_tasks_are_not_added() -> None:
    with pytest.raises(DataError, match="regression cannot be added"):
        BlockSums(Task.BINARY).merge(BlockSums(Task.REGRESSION))
