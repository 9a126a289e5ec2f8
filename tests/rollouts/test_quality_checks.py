"""The judge uses labels: quality, shares of keys and of labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from forebay.stream.experiments.block_sums import BlockSums
from forebay.stream.quality.keys import Task
from forebay.stream.rollouts.checks import Thresholds
from forebay.stream.rollouts.findings import Check, State
from forebay.stream.rollouts.judge import Decision, Verdict, judge
from forebay.stream.rollouts.quality_checks import SWITCH_MS, Arms, QualityLimits, check_quality, check_sample
from forebay.stream.rollouts.revision_log import RevisionLog
from forebay.stream.rollouts.rollout_windows import RolloutWindows
from forebay.stream.rollouts.version_stats import Period
from tests.experiments.pairs import random_pairs
from tests.experiments.test_experiment import arm
from tests.rollouts.simulated_rollout import CANARY, STABLE, START_MS, Behaviour, canary_revision, outcome

LIMITS = QualityLimits("log_loss", ("accuracy",), min_effect=0.1)
THRESHOLDS = Thresholds(quality=LIMITS)
NOW_MS = START_MS + 600_000


def arms(events: int, *, factor: float = 1.0, share: float = 0.5) -> Arms:
    return Arms(STABLE, CANARY, arm(events, seed=1), arm(events, seed=2, factor=factor), share=share)


def verdict_of(
    stable: BlockSums | None, canary: BlockSums | None, *, weights: tuple[float, ...] = (50, 100)
) -> Verdict:
    """Return the verdict on a canary that fails no other check."""
    period = Period(1, START_MS, window_s=60, keep_windows=5)
    for version, sums in ((STABLE, stable), (CANARY, canary)):
        period.add(version, START_MS + 90_000, outcome(Behaviour(), 5000, np.random.default_rng(version)))
        if sums is not None:
            period.add_quality(version, sums)
    (verdict,) = judge([canary_revision(weights)], [period], THRESHOLDS, now_ms=NOW_MS)
    return verdict


def test_a_worse_canary_is_rolled_back_with_the_numbers() -> None:
    verdict = verdict_of(arm(30_000, seed=1), arm(30_000, seed=2, factor=0.2))
    assert (verdict.decision, verdict.check) == (Decision.ROLL_BACK, Check.QUALITY)
    assert verdict.reason.startswith("the log loss of version 2 is 0.6")
    assert "worse by 0.1" in verdict.reason
    (first, second) = verdict.evidence["metrics"]  # type: ignore[misc]
    assert (first["metric"], second["metric"]) == ("log_loss", "accuracy")
    assert first["verdict"] == "worse" and first["alpha"] == pytest.approx(0.05 * 6 / np.pi**2 / 2)


def test_a_canary_that_is_not_worse_goes_a_step_forward() -> None:
    assert verdict_of(arm(40_000, seed=1), arm(40_000, seed=2)).decision is Decision.STEP


def test_a_step_waits_until_labels_show_that_the_canary_is_not_worse() -> None:
    verdict = verdict_of(arm(2000, seed=1), arm(2000, seed=2))
    assert (verdict.decision, verdict.check) == (Decision.INCONCLUSIVE, Check.QUALITY)
    assert verdict.events_needed > 0
    assert f"needs {verdict.events_needed:,} more events with labels at least for the next step" in verdict.reason


def test_a_step_waits_for_the_first_labels() -> None:
    verdict = verdict_of(arm(2000, seed=1), None)
    assert (verdict.decision, verdict.check) == (Decision.INCONCLUSIVE, Check.QUALITY)
    assert verdict.reason.startswith("no quality of version 2 yet; labels are needed, and a running `forebay evaluate`")
    unlabelled = BlockSums(Task.BINARY)
    unlabelled.add_predictions(random_pairs(Task.BINARY, 2000).blocks_B)
    assert verdict_of(unlabelled, unlabelled).reason.startswith("no labels of version 2 yet; needs")


def test_a_canary_with_all_keys_is_not_compared() -> None:
    assert verdict_of(None, arm(2000, seed=2), weights=(100,)).decision is Decision.PROMOTE


def test_a_guard_rail_ends_a_canary_too() -> None:
    pairs = random_pairs(Task.BINARY, 30_000, seed=2)
    wrong = BlockSums(Task.BINARY)
    wrong.add_predictions(pairs.blocks_B)
    # The scores are those of a good model, but it decides for the other class in one of four cases.
    flipped = np.arange(30_000) % 4 == 0
    wrong.add_pairs(
        pairs.blocks_B, pairs.scores_BO, np.where(flipped, 1 - pairs.classes_B, pairs.classes_B), pairs.actual_B
    )
    found = check_quality(replace(arms(30_000), canary_sums=wrong), LIMITS, share_of_error=1.0)
    assert found.state is State.FAILED
    assert found.reason.startswith("the accuracy of version 2")


def test_a_canary_that_looks_worse_is_suspect() -> None:
    found = check_quality(arms(400, factor=0.6), LIMITS, share_of_error=1.0)
    assert found.state is State.SUSPECT
    assert found.events_needed > 0
    assert "differences below 0.0488 do not matter" in found.reason


def test_a_metric_that_the_model_does_not_have_is_named() -> None:
    found = check_quality(arms(400), QualityLimits("mae"), share_of_error=1.0)
    assert found.state is State.INCONCLUSIVE
    assert "has no metric 'mae' to compare versions by; it has accuracy, log_loss, brier" in found.reason


def test_wrong_shares_of_keys_hold_the_rollout() -> None:
    assert check_sample(arms(30_000)).state is State.PASSED
    found = check_sample(arms(30_000, share=0.3))
    assert found.state is State.SUSPECT
    assert "and should have got 30.00%" in found.reason
    period = Period(1, START_MS, window_s=60, keep_windows=5)
    for version, events in ((STABLE, 30_000), (CANARY, 10_000)):
        period.add(version, START_MS + 90_000, outcome(Behaviour(), 5000, np.random.default_rng(version)))
        period.add_quality(version, arm(events, seed=version))
    (verdict,) = judge([canary_revision((50, 100))], [period], THRESHOLDS, now_ms=NOW_MS)
    assert (verdict.decision, verdict.check) == (Decision.INCONCLUSIVE, Check.SAMPLE_RATIO)
    assert verdict.reason.endswith("look for events that were lost or routed elsewhere")


def test_labels_that_depend_on_the_version_hold_the_rollout() -> None:
    canary = arm(30_000, seed=2)
    canary.add_predictions(random_pairs(Task.BINARY, 10_000, seed=3).blocks_B)
    stable = arm(30_000, seed=1)
    found = check_sample(Arms(STABLE, CANARY, stable, canary, share=0.57))
    assert found.state is State.SUSPECT
    assert "labels are not missing at random" in found.reason


def test_only_windows_within_a_revision_count() -> None:
    log = RevisionLog()
    windows = RolloutWindows(log, THRESHOLDS)
    part = arm(10, seed=1)
    first = Period(1, START_MS, window_s=60, keep_windows=5)
    second = Period(2, START_MS + 500_000, window_s=60, keep_windows=5)
    windows._periods["m"] = [first, second]
    for start, end in (
        (START_MS + SWITCH_MS - 1, START_MS + 90_000),  # workers may not have switched yet
        (START_MS + 450_000, START_MS + 510_000),  # in both revisions
        (START_MS + 500_000 + SWITCH_MS - 1, START_MS + 600_000),
    ):
        windows.add_quality("m", CANARY, (start, end), part)
    assert first.quality(CANARY) is None and second.quality(CANARY) is None
    windows.add_quality("m", CANARY, (START_MS + SWITCH_MS, START_MS + 500_000), part)
    windows.add_quality("m", CANARY, (START_MS + 500_000 + SWITCH_MS, START_MS + 600_000), part)
    windows.add_quality("other", CANARY, (START_MS + SWITCH_MS, START_MS + 500_000), part)
    assert first.quality(CANARY) == part and second.quality(CANARY) == part
    assert first.quality(STABLE) is None
