"""Paired sums: differences by block and McNemar counts."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from forebay.schemas.errors import DataError
from forebay.stream.experiments.block_sums import BlockSums
from forebay.stream.experiments.paired_sums import McNemarCounts, PairedSums, PredictedBy
from forebay.stream.quality.keys import Task
from tests.experiments.pairs import Pairs, random_pairs


def add(sums: PairedSums, pairs: Pairs, sign: int = 1) -> None:
    """Add pairs whose shadow has somewhat other scores."""
    served = PredictedBy(pairs.scores_BO, pairs.classes_B)
    shadow = PredictedBy(pairs.scores_BO * np.float32(0.9), np.roll(pairs.classes_B, 1))
    sums.add_pairs(pairs.blocks_B, served, shadow, pairs.actual_B, sign=sign)


@pytest.mark.parametrize("task", list(Task))
def test_differences_are_those_of_separate_sums(task: Task) -> None:
    pairs = random_pairs(task, 2000)
    paired, served, shadow = PairedSums(task, served=1), BlockSums(task), BlockSums(task)
    add(paired, pairs)
    served.add_pairs(*pairs)
    shadow.add_pairs(pairs.blocks_B, pairs.scores_BO * np.float32(0.9), np.roll(pairs.classes_B, 1), pairs.actual_B)
    for metric in paired.metrics:
        expected = shadow.sums(metric) - served.sums(metric)
        np.testing.assert_allclose(paired.differences(metric), expected, atol=1e-9)
    assert np.array_equal(paired.n_matched, served.n_matched)


def test_counts_say_which_side_was_right() -> None:
    blocks, actual = np.zeros(4, np.uint16), np.array([1.0, 1, 0, 0])
    scores = np.full((4, 1), 0.5, np.float32)
    sums = PairedSums(Task.BINARY, served=1)
    sums.add_pairs(
        blocks, PredictedBy(scores, np.array([1, 0, 1, 0])), PredictedBy(scores, np.array([1, 1, 1, 1])), actual
    )
    assert sums.right == McNemarCounts(both=1, only_shadow=1, neither=1, only_served=1)
    assert sums.differences("correct")[0] == 0


@pytest.mark.parametrize("task", list(Task))
def test_pairs_that_are_taken_back_leave_nothing(task: Task) -> None:
    sums, pairs = PairedSums(task, served=1), random_pairs(task, 1000)
    add(sums, pairs)
    other = PairedSums(task, served=1)
    add(other, pairs, sign=-1)
    assert not sums.is_empty
    sums.merge(PairedSums.read(json.loads(json.dumps(other.to_dict()))))
    assert sums.is_empty


def test_json_has_everything() -> None:
    sums = PairedSums(Task.CLASSES, served=3)
    add(sums, random_pairs(Task.CLASSES, 300))
    assert PairedSums.read(json.loads(json.dumps(sums.to_dict()))) == sums


def test_a_pair_with_an_impossible_side_is_left_out() -> None:
    sums = PairedSums(Task.REGRESSION, served=1)
    blocks = np.zeros(2, np.uint16)
    good, bad = np.array([[1.0], [2.0]], np.float32), np.array([[1.5], [np.nan]], np.float32)
    sums.add_pairs(blocks, PredictedBy(good, blocks), PredictedBy(bad, blocks), np.zeros(2))
    assert sums.n_matched.sum() == 1
    assert sums.differences("absolute_error")[0] == 0.5


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"served": 0}, "served is 0; expected the number of a version"),
        ({"right": [1, 2]}, "right is \\[1, 2\\]; expected four counts"),
        ({"differences": None}, "differences: expected an object"),
    ],
)
def test_errors_name_the_place(change: dict[str, Any], place: str) -> None:
    with pytest.raises(DataError, match=place):
        PairedSums.read({**PairedSums(Task.BINARY, served=1).to_dict(), **change})


def test_sums_beside_different_versions_are_not_added() -> None:
    with pytest.raises(DataError, match="version 2 cannot be added"):
        PairedSums(Task.BINARY, served=1).merge(PairedSums(Task.BINARY, served=2))
