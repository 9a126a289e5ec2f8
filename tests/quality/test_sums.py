"""The sums of quality: exact for every division of the work, empty after everything was taken back."""

from __future__ import annotations

import math

import numpy as np
import pytest

from forebay.schemas.errors import DataError
from forebay.stream.quality.class_sums import UNITS_PER_ONE
from forebay.stream.quality.keys import Task
from forebay.stream.quality.sums import QualitySums
from tests.quality.samples import binary, of_task

TASKS = ("binary", "classes", "many_classes", "regression")


@pytest.mark.parametrize("task", TASKS)
def test_every_division_of_the_pairs_has_the_same_sums(task: str) -> None:
    sample = of_task(task, 3000, seed=1)
    order = np.random.default_rng(2).permutation(3000)
    merged = QualitySums(sample.task, sample.num_classes)
    for part in np.split(order, [1, 5, 40, 900, 2500]):
        merged.merge(sample.rows(part).sums())
    assert merged.to_dict() == sample.sums().to_dict()


@pytest.mark.parametrize("task", TASKS)
def test_pairs_that_are_taken_back_leave_nothing(task: str) -> None:
    sample = of_task(task, 2000, seed=3)
    sums = QualitySums(sample.task, sample.num_classes)
    assert sums.is_empty
    sample.add_to(sums)
    assert not sums.is_empty
    for part in np.array_split(np.random.default_rng(4).permutation(2000), 7):
        sample.rows(part).add_to(sums, sign=-1)
    assert sums.is_empty
    assert sums.to_dict() == QualitySums(sample.task, sample.num_classes).to_dict()


@pytest.mark.parametrize("task", TASKS)
def test_a_correction_replaces_the_pair(task: str) -> None:
    first, second = of_task(task, 500, seed=5), of_task(task, 500, seed=6)
    corrected = first._replace(actual_B=second.actual_B, delay_ms_B=second.delay_ms_B)
    sums = first.sums()
    first.add_to(sums, sign=-1)
    corrected.add_to(sums)
    assert sums.to_dict() == corrected.sums().to_dict()


@pytest.mark.parametrize("task", TASKS)
def test_sums_are_read_as_they_were_written(task: str) -> None:
    sums = of_task(task, 300, seed=7).sums()
    assert QualitySums.read(sums.to_dict()).to_dict() == sums.to_dict()
    taken_back = QualitySums(sums.task, sums.num_classes)
    of_task(task, 300, seed=7).add_to(taken_back, sign=-1)
    sums.merge(QualitySums.read(taken_back.to_dict()))
    assert (sums.predictions, sums.matched, sums.scored) == (300, 0, 0)


@pytest.mark.parametrize("task", TASKS)
def test_impossible_rows_are_counted_and_change_no_other_sum(task: str) -> None:
    sample = of_task(task, 200, seed=8)
    bad = sample.rows(slice(0, 3))
    scores, actual = bad.scores_BO.copy(), bad.actual_B.copy()
    scores[0, 0] = np.nan
    scores[1, 0] = np.inf
    actual[2] = np.nan
    bad = bad._replace(scores_BO=scores, actual_B=actual)
    sums, expected = sample.sums(), sample.sums().to_dict()
    bad.add_to(sums)
    sums.add_predictions(bad.scores_BO, bad.classes_B)
    changed = sums.to_dict()
    assert (sums.matched, sums.invalid_pairs, sums.predictions, sums.invalid_predictions) == (203, 3, 203, 2)
    for part in ("classification", "regression"):
        if part in expected:
            expected[part].pop("predicted_scores", None)
            changed[part].pop("predicted_scores", None)
            assert changed[part] == expected[part]
    bad.add_to(sums, sign=-1)
    assert (sums.matched, sums.invalid_pairs) == (200, 0)


@pytest.mark.parametrize(
    ("score", "chosen", "actual"), [(1.1, 1, 1), (-0.1, 0, 0), (0.5, 2, 1), (0.5, 1, 0.5), (0.5, 1, 2)]
)
def test_rows_that_are_not_binary_predictions_are_invalid(score: float, chosen: int, actual: float) -> None:
    sums = QualitySums(Task.BINARY, 2)
    scores = np.array([[score]], dtype=np.float32)
    sums.add_pairs(scores, np.array([chosen]), np.array([actual]), delay_ms_B=np.array([0]))
    assert (sums.matched, sums.invalid_pairs, sums.scored) == (1, 1, 0)


def test_a_saturated_score_that_is_wrong_has_the_loss_of_scikit_learn() -> None:
    sums = QualitySums(Task.BINARY, 2)
    sums.add_pairs(np.array([[1.0]], dtype=np.float32), np.array([1]), np.array([0.0]), delay_ms_B=np.array([0]))
    assert sums.classification is not None
    assert sums.classification.log_loss / UNITS_PER_ONE == pytest.approx(-math.log(np.finfo(np.float64).eps), abs=1e-9)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="expected \\[rows, 1\\]"):
        QualitySums(Task.BINARY, 2).add_predictions(np.zeros((3, 2), dtype=np.float32), np.zeros(3, dtype=np.int64))


def test_sums_of_another_task_are_not_added() -> None:
    with pytest.raises(DataError, match="task classes with 4 classes cannot be added to sums of task binary"):
        binary(3, 1).sums().merge(of_task("classes", 3, 1).sums())


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("task",), "ranking", "task"),
        (("predictions",), "many", r"Expected `int`, got `str` - at `\$.predictions`"),
        (("num_classes",), 3, "num_classes is 3; expected 2 for task binary"),
        (("classification",), None, "classification is missing"),
        (("classification", "confusion"), None, "confusion is missing"),
        (("classification", "confusion", "bins"), [0, 4], "confusion: expected|confusion: bins|counts"),
        (("classification", "hit_scores"), {"bins": [5, 5], "counts": [1, 1]}, "hit_scores: bins: expected ascending"),
        (("classification", "hit_scores"), {"bins": [1000], "counts": [1]}, "from 0 to 999"),
        (("classification", "hit_scores"), {"bins": [1], "counts": [1 << 64]}, "counts of at most"),
        (("classification", "calibration", "rows"), [1, 2], "expected 15 numbers"),
        (("classification", "calibration", "rows"), [1 << 70] * 15, "calibration.rows: a number is beyond"),
    ],
)
def test_malformed_sums_are_refused_with_the_place(path: tuple[str, ...], value: object, message: str) -> None:
    document = binary(20, 1).sums().to_dict()
    place = document
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    with pytest.raises(DataError, match=message):
        QualitySums.read(document)


def test_a_malformed_number_of_a_regression_is_refused() -> None:
    document = of_task("regression", 20, 1).sums().to_dict()
    document["regression"]["error"] = "1.5"
    with pytest.raises(DataError, match=r"regression: error: '1\.5' is not a hexadecimal number"):
        QualitySums.read(document)
