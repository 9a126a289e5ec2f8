"""What is known about two versions."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import numpy as np
import pytest

from forebay.schemas.errors import ConfigError
from forebay.stream.experiments.arms import comparable, share_of_keys
from forebay.stream.experiments.block_sums import BlockSums
from forebay.stream.experiments.blocks import NUM_BLOCKS
from forebay.stream.experiments.experiment import Outcome, Plan, Result, compare, compare_paired
from forebay.stream.experiments.metric import METRICS, default_metric, metric_for
from forebay.stream.experiments.paired_sums import PairedSums, PredictedBy
from forebay.stream.quality.keys import Task
from tests.experiments.pairs import Pairs, random_pairs
from tests.experiments.streams import Population, Streams
from tests.experiments.watching import canary_looks, shadow_looks

PLAN = Plan(alpha=0.05, min_effect=0.1)
LOG_LOSS = METRICS["log_loss"]


def arm(count: int, *, seed: int, factor: float = 1.0, task: Task = Task.BINARY) -> BlockSums:
    """Return sums of a version; a factor other than 1 makes its probabilities worse."""
    pairs = random_pairs(task, count, seed=seed)
    sums = BlockSums(task)
    sums.add_predictions(pairs.blocks_B)
    scores = pairs.scores_BO * factor if task is Task.REGRESSION else 0.5 + (pairs.scores_BO - 0.5) * factor
    sums.add_pairs(pairs.blocks_B, scores.astype(np.float32), pairs.classes_B, pairs.actual_B)
    return sums


def test_equal_versions_have_no_difference() -> None:
    result = compare(arm(60_000, seed=1), arm(60_000, seed=2), LOG_LOSS, PLAN)
    assert result.outcome is Outcome.NO_DIFFERENCE
    assert result.is_not_worse and not result.is_suspect
    assert result.interval.low < 0 < result.interval.high
    assert result.effect == pytest.approx(0.05, abs=0.002)
    assert result.events_needed == 0


@pytest.mark.parametrize(("worse", "outcome"), [(True, Outcome.WORSE), (False, Outcome.BETTER)])
def test_the_direction_is_that_of_the_metric(worse: bool, outcome: Outcome) -> None:
    good, bad = arm(60_000, seed=1), arm(60_000, seed=2, factor=0.1)
    sums = (good, bad) if worse else (bad, good)
    by_loss = compare(*sums, LOG_LOSS, PLAN)
    assert by_loss.outcome is outcome
    assert (by_loss.difference > 0) is worse
    assert by_loss.is_not_worse is not worse
    assert by_loss.evidence > 20
    good = arm(60_000, seed=1)
    wrong = BlockSums(Task.BINARY)
    pairs = random_pairs(Task.BINARY, 60_000, seed=2)
    wrong.add_predictions(pairs.blocks_B)
    wrong.add_pairs(pairs.blocks_B, pairs.scores_BO, 1 - pairs.classes_B, pairs.actual_B)
    sums = (good, wrong) if worse else (wrong, good)
    by_accuracy = compare(*sums, METRICS["accuracy"], PLAN)
    assert by_accuracy.outcome is outcome
    assert (by_accuracy.difference < 0) is worse


def test_few_events_are_inconclusive_and_say_how_many_more() -> None:
    few = compare(arm(400, seed=1), arm(400, seed=2, factor=0.6), LOG_LOSS, PLAN)
    assert few.outcome is Outcome.INCONCLUSIVE
    assert few.events_needed is not None and few.events_needed > 0
    total = 400 + 10 * few.events_needed
    assert compare(arm(total, seed=1), arm(total, seed=2, factor=0.6), LOG_LOSS, PLAN).outcome is Outcome.WORSE
    assert few.to_dict()["verdict"] == "inconclusive"


def test_without_labels_there_is_no_data() -> None:
    unlabelled = BlockSums(Task.BINARY)
    unlabelled.add_predictions(random_pairs(Task.BINARY, 500).blocks_B)
    result = compare(arm(500, seed=1), unlabelled, LOG_LOSS, PLAN)
    assert result.outcome is Outcome.NO_DATA
    assert result.interval == (-inf, inf)
    assert not result.is_not_worse
    assert result.to_dict()["difference"] is None
    assert result.treatment.predictions == 500


def test_a_suspicion_is_a_difference_that_matters_but_is_not_certain() -> None:
    result = compare(arm(400, seed=1), arm(400, seed=2, factor=0.6), LOG_LOSS, PLAN)
    assert result.is_suspect
    assert not replace(result, difference=-result.difference).is_suspect
    assert not replace(result, outcome=Outcome.WORSE).is_suspect


def test_blocks_of_a_small_canary_have_as_many_keys_as_those_of_the_stable_version() -> None:
    events = Streams(Population(num_keys=200_000), share=0.05).draw(np.random.default_rng(4), 100_000)
    stable, canary = BlockSums(Task.BINARY), BlockSums(Task.BINARY)
    stable.add_predictions(events.blocks_B[~events.is_canary_B])
    canary.add_predictions(events.blocks_B[events.is_canary_B])
    assert share_of_keys(stable, canary) == pytest.approx(0.05, abs=0.005)
    first, second = comparable(stable, canary)
    assert (len(first.n_predictions), len(second.n_predictions)) == (NUM_BLOCKS, NUM_BLOCKS // 16)
    assert second.n_predictions.sum() == canary.n_predictions.sum()
    second, first = comparable(canary, stable)
    assert (len(first.n_predictions), len(second.n_predictions)) == (NUM_BLOCKS, NUM_BLOCKS // 16)


def test_a_shadow_is_compared_by_the_differences_of_its_pairs() -> None:
    pairs = random_pairs(Task.BINARY, 20_000)
    served, paired = BlockSums(Task.BINARY), PairedSums(Task.BINARY, served=1)
    served.add_pairs(*pairs)
    worse = 0.5 + (pairs.scores_BO - 0.5) * np.float32(0.6)
    paired.add_pairs(
        pairs.blocks_B,
        PredictedBy(pairs.scores_BO, pairs.classes_B),
        PredictedBy(worse, pairs.classes_B),
        pairs.actual_B,
    )
    result = compare_paired(paired, served, LOG_LOSS, replace(PLAN, min_effect=0.02))
    assert result.outcome is Outcome.WORSE
    assert result.treatment.value is not None and result.control.value is not None
    assert result.treatment.value - result.control.value == pytest.approx(result.difference)
    unpaired = compare(served, _sums_of(pairs, worse), LOG_LOSS, PLAN)
    assert result.difference == pytest.approx(unpaired.difference, abs=1e-6)
    assert _width(result) < _width(unpaired) / 2


def _sums_of(pairs: Pairs, scores_BO: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> BlockSums:
    sums = BlockSums(Task.BINARY)
    sums.add_pairs(pairs.blocks_B, scores_BO, pairs.classes_B, pairs.actual_B)
    return sums


def _width(result: Result) -> float:
    return result.interval.high - result.interval.low


@pytest.mark.parametrize(("count", "outcome"), [(60_000, Outcome.NO_DIFFERENCE), (80, Outcome.INCONCLUSIVE)])
@pytest.mark.parametrize("task", Task)
def test_a_shadow_that_predicts_the_same_has_no_difference(task: Task, count: int, outcome: Outcome) -> None:
    """No block differs, so the variance between them says nothing about one that may."""
    pairs, served, paired = random_pairs(task, count), arm(count, seed=7, task=task), PairedSums(task, served=1)
    one = PredictedBy(pairs.scores_BO, pairs.classes_B)
    paired.add_pairs(pairs.blocks_B, one, one, pairs.actual_B)
    result = compare_paired(paired, served, default_metric(task), PLAN)
    assert (result.outcome, result.difference) == (outcome, 0.0)
    assert result.is_not_worse is (outcome is Outcome.NO_DIFFERENCE)


def test_metrics_of_another_task_are_refused() -> None:
    assert default_metric(Task.REGRESSION).name == "mae"
    assert metric_for("accuracy", Task.CLASSES).higher_is_better
    with pytest.raises(ConfigError, match="has no metric 'accuracy' to compare versions by; it has mae, mse"):
        metric_for("accuracy", Task.REGRESSION)


def test_repeated_looks_at_equal_versions_raise_no_alarm() -> None:
    """A few streams of the proof; see proof.py."""
    streams = Streams(Population(), share=0.05)
    generator = np.random.default_rng(8)
    by_key, by_event = 0, 0
    for _ in range(12):
        looks = list(canary_looks(streams.draw(generator, 30_000), worse=1.0, commit=1000, plan=PLAN))
        by_key += any(look.result.interval.excludes(0.0) for look in looks)
        by_event += any(look.event_level_excludes for look in looks)
    assert by_key <= 2
    assert by_event >= 3


def test_a_shadow_finds_a_worse_version_with_fewer_labels_than_a_canary() -> None:
    streams, generator = Streams(Population(), share=0.05), np.random.default_rng(9)
    shadow = list(shadow_looks(streams.draw(generator, 1000), worse=1.2, commit=100, plan=PLAN))[-1]
    canary = list(canary_looks(streams.draw(generator, 20_000), worse=1.2, commit=5000, plan=PLAN))[-1]
    assert shadow.result.outcome is Outcome.WORSE
    assert canary.result.outcome is Outcome.INCONCLUSIVE
    assert canary.events > 500
