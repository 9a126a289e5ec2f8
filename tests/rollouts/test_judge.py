"""The judge: which versions are rolled back, which are promoted, and what it waits for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from forebay.schemas.errors import ConfigError
from forebay.stream.rollouts.changes import Proposal, start_canary
from forebay.stream.rollouts.checks import FALSE_ALARM, Check, Thresholds
from forebay.stream.rollouts.judge import AUTHOR, Decision, first_as_canary, judge, next_revision
from forebay.stream.rollouts.performance import Performance
from forebay.stream.rollouts.revision import Action
from forebay.stream.rollouts.version_stats import Period, VersionStats
from tests.rollouts.simulated_rollout import (
    CANARY,
    STABLE,
    START_MS,
    Behaviour,
    SimulatedRollout,
    canary_revision,
    outcome,
)

GOOD = Behaviour()


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("behaviour", "check"),
    [
        (Behaviour(call_s=0.008), Check.LATENCY),
        (Behaviour(nan_rate=0.01), Check.NOT_FINITE),
        (Behaviour(failure_rate=0.03), Check.FAILURES),
    ],
    ids=["doubled latency", "NaN on 1 %", "raises on 3 %"],
)
def test_a_bad_version_is_rolled_back_within_three_windows(behaviour: Behaviour, check: Check, seed: int) -> None:
    rollout = SimulatedRollout(behaviour, rng(seed))
    verdict = rollout.advance(3.5)  # the last judge window is complete only after outcomes on their way have arrived
    assert verdict is not None and verdict.decision is Decision.ROLL_BACK and verdict.check is check, verdict
    assert rollout.current.action is Action.ABORT and rollout.current.automatic and rollout.current.author == AUTHOR
    assert rollout.current.canaries == () and rollout.current.rejected == (CANARY,)
    assert rollout.current.evidence["check"] == check.value and len(rollout.current.evidence) > 3
    assert f"version {CANARY}" in rollout.current.reason


@pytest.mark.parametrize("seed", range(3))
def test_a_good_version_is_promoted_through_all_steps(seed: int) -> None:
    rollout = SimulatedRollout(GOOD, rng(seed))
    verdict = rollout.advance(30)
    assert verdict is not None and verdict.decision is Decision.PROMOTE, rollout.verdicts[-1]
    assert [revision.action for revision in rollout.history[1:]] == [Action.STEP] * 3 + [Action.PROMOTE]
    assert [revision.canaries[0].weight for revision in rollout.history[:-1]] == [5, 25, 50, 100]
    assert rollout.current.stable == CANARY and rollout.current.previous == STABLE


def test_versions_at_the_limits_are_rolled_back_by_chance_only_as_often_as_stated() -> None:
    """The failure rate is the limit itself, in long canaries without steps that are judged twice in each window."""
    num_rollouts, windows, thresholds = 60, 20, Thresholds(min_events=500)
    unlucky = 0
    for seed in range(num_rollouts):
        limit = (0.01, 0.04)[seed % 2]
        behaviour = Behaviour(failure_rate=limit, call_s=0.0045)
        rollout = SimulatedRollout(
            behaviour, rng(seed), Behaviour(failure_rate=limit / 2), events_per_s=100.0, thresholds=thresholds
        )
        rollout.history = [canary_revision(None)]
        unlucky += rollout.advance(windows) is not None
    # With the stated probability, two of them would be one chance in five hundred.
    assert num_rollouts * FALSE_ALARM < 0.1
    assert unlucky <= 1


def test_failures_of_both_versions_at_once_are_not_the_canarys() -> None:
    failing = Behaviour(failure_rate=0.2)
    rollout = SimulatedRollout(failing, rng(), failing)
    assert rollout.advance(30) is not None and rollout.current.action is Action.PROMOTE


def test_an_incident_in_a_later_step_is_not_compared_with_the_time_before() -> None:
    rollout = SimulatedRollout(GOOD, rng())
    rollout.history = [canary_revision((5, 50, 99))]
    while rollout.current.step == 0:
        rollout.advance(0.5)
    rollout.behaviour = rollout.stable = Behaviour(failure_rate=0.2, call_s=0.02)
    assert rollout.advance(30) is not None and rollout.current.action is Action.PROMOTE, rollout.verdicts[-1].reason


def test_a_version_that_becomes_bad_late_is_rolled_back_within_three_windows() -> None:
    rollout = SimulatedRollout(GOOD, rng())
    rollout.history = [canary_revision(None)]
    assert rollout.advance(200) is None
    rollout.behaviour = Behaviour(failure_rate=0.05)
    verdict = rollout.advance(3)
    assert verdict is not None and verdict.check is Check.FAILURES


def test_without_data_it_holds_and_says_how_many_events_are_missing() -> None:
    rollout = SimulatedRollout(GOOD, rng(), events_per_s=0.0)
    assert rollout.advance(100) is None
    verdict = rollout.verdicts[-1]
    assert (verdict.decision, verdict.events_needed) == (Decision.INCONCLUSIVE, 1000)
    assert verdict.reason == "no data of version 2 in this step; needs 1,000 more events for the next step"
    rollout.history = [canary_revision(None)]
    assert rollout.advance(1) is None
    assert (rollout.verdicts[-1].decision, rollout.verdicts[-1].events_needed) == (Decision.INCONCLUSIVE, 1)


def test_few_events_hold() -> None:
    rollout = SimulatedRollout(GOOD, rng(), events_per_s=10.0)
    assert rollout.advance(10) is None
    verdict = rollout.verdicts[-1]
    predictions = rollout.periods[-1].total(CANARY).events - rollout.periods[-1].total(CANARY).failures
    assert verdict.decision is Decision.INCONCLUSIVE and verdict.events_needed == 1000 - predictions
    assert f"needs {verdict.events_needed} more events" in verdict.reason


def test_a_step_lasts_at_least_as_long_as_configured_and_as_the_latency_check_needs() -> None:
    for every_s, least_windows in ((0.0, 3), (600.0, 10)):
        rollout = SimulatedRollout(GOOD, rng())
        rollout.history = [canary_revision(every_s=every_s)]
        while rollout.current.step == 0:
            assert rollout.advance(0.5) is None
        waiting = rollout.verdicts[-2]
        assert rollout.now_ms - START_MS in (least_windows * 60_000, least_windows * 60_000 + 30_000)
        assert waiting.decision is Decision.HOLD and 0 < waiting.wait_s <= 32 and "s more" in waiting.reason


def test_a_paused_rollout_only_goes_back() -> None:
    rollout = SimulatedRollout(GOOD, rng())
    rollout.pause()
    assert rollout.advance(20) is None
    assert rollout.verdicts[-1].decision is Decision.HOLD and "paused" in rollout.verdicts[-1].reason
    rollout.behaviour = Behaviour(nan_rate=0.01)
    assert rollout.advance(1) is not None and rollout.current.action is Action.ABORT


def test_a_suspicion_holds_the_step_and_says_what_would_decide() -> None:
    period = Period(1, START_MS, window_s=60, keep_windows=5)
    period.add(CANARY, START_MS, VersionStats(1500, 24, outcome(GOOD, 1500, rng()).performance))
    period.add(STABLE, START_MS, VersionStats(50_000, 10, outcome(GOOD, 50_000, rng()).performance))
    (verdict,) = judge([canary_revision()], [period], Thresholds(), now_ms=START_MS + 600_000)
    assert (verdict.decision, verdict.check) == (Decision.INCONCLUSIVE, Check.FAILURES)
    needed = verdict.events_needed
    assert 1000 < needed < 10_000 and f"needs {needed:,} more events to decide" in verdict.reason
    period.add(CANARY, START_MS + 599_000, VersionStats(needed, round(needed * 0.016) + 1))
    (verdict,) = judge([canary_revision()], [period], Thresholds(), now_ms=START_MS + 600_000)
    assert verdict.decision is Decision.ROLL_BACK


def test_one_slow_judge_window_is_not_enough() -> None:
    rollout = SimulatedRollout(GOOD, rng())
    rollout.history = [canary_revision(None)]
    rollout.advance(4)
    for windows in (1, 2):
        rollout.behaviour = Behaviour(call_s=0.012)
        assert rollout.advance(windows) is None
        rollout.behaviour = GOOD
        assert rollout.advance(0.5) is None
        suspicion = rollout.verdicts[-1]
        assert suspicion.check is Check.LATENCY and suspicion.decision is Decision.INCONCLUSIVE
        assert suspicion.wait_s == (3 - windows) * 60
        assert rollout.advance(1) is None
        assert "together but not in each" in rollout.verdicts[-1].reason
        assert rollout.advance(2.5) is None and rollout.verdicts[-1].decision is Decision.HOLD


def test_waiting_for_a_fuller_micro_batch_is_not_the_versions_latency() -> None:
    """Few events of a canary wait for the whole queue delay, and many of the stable version for none."""
    rollout = SimulatedRollout(Behaviour(call_s=0.001), rng(), Behaviour(call_s=0.001))
    period = rollout.periods[-1]
    for window in range(3):
        at_ms = START_MS + window * 60_000
        canary, stable = outcome(rollout.behaviour, 2000, rng(1)), outcome(rollout.stable, 20_000, rng(2))
        stable.performance.latency = stable.performance.model_time
        period.add(CANARY, at_ms, canary)
        period.add(STABLE, at_ms, stable)
    (verdict,) = judge(rollout.history, rollout.periods, Thresholds(), now_ms=START_MS + 182_000)
    assert verdict.decision is Decision.STEP, verdict


def test_a_slower_model_is_found_on_a_busy_machine() -> None:
    """The p99 of both versions is that of the machine, and the median that of the model."""
    rollout = SimulatedRollout(Behaviour(call_s=0.008, spread=1.5), rng(), Behaviour(call_s=0.004, spread=1.5))
    rollout.history = [canary_revision((50,))]
    verdict = rollout.advance(3.5)
    assert verdict is not None and verdict.check is Check.LATENCY, rollout.verdicts[-1]


def test_larger_micro_batches_may_take_longer() -> None:
    """A canary of 90 % has larger micro-batches than the stable version, which took small ones since the canary began."""
    period = Period(1, START_MS, window_s=60, keep_windows=5)
    for window in range(3):
        at_ms = START_MS + window * 60_000
        period.add(CANARY, at_ms, outcome(Behaviour(call_s=0.012), 9000, rng(1), rows_per_call=30))
        period.add(STABLE, at_ms, outcome(Behaviour(call_s=0.004), 1000, rng(2), rows_per_call=10))
    (verdict,) = judge([canary_revision()], [period], Thresholds(), now_ms=START_MS + 182_000)
    assert verdict.decision is Decision.STEP, verdict


def test_cost_is_judged_only_if_it_is_limited() -> None:
    costly = Behaviour(cpu_s_per_row=3e-4)
    assert SimulatedRollout(costly, rng()).advance(30) is not None
    rollout = SimulatedRollout(costly, rng(), thresholds=Thresholds(max_cost_ratio=2.0))
    verdict = rollout.advance(3.5)
    assert verdict is not None and verdict.check is Check.COST and "300 µs" in verdict.reason
    assert rollout.current.evidence["stable_cpu_s"] == 1e-4


def test_small_micro_batches_are_not_compared_by_their_cost() -> None:
    """Every call has a fixed cost, which a micro-batch of a few rows divides among few."""
    period = Period(1, START_MS, window_s=60, keep_windows=5)
    for window in range(3):
        at_ms = START_MS + window * 60_000
        canary = outcome(Behaviour(cpu_s_per_row=3e-4), 3000, rng(), rows_per_call=4)
        period.add(CANARY, at_ms, canary)
        period.add(STABLE, at_ms, outcome(GOOD, 3000, rng(), rows_per_call=10))
    thresholds = Thresholds(max_cost_ratio=2.0)
    (verdict,) = judge([canary_revision()], [period], thresholds, now_ms=START_MS + 182_000)
    assert verdict.decision is Decision.STEP


def test_failures_of_the_record_itself_are_no_versions_failures() -> None:
    stats = VersionStats()
    for kind, count in (("predicted", 5), ("not_json", 100), ("late", 7), ("missing_value", 2), ("model_error", 1)):
        stats.add_outcomes(kind, count)
    assert (stats.events, stats.failures) == (8, 3)


def test_workers_that_report_no_latency_hold_the_rollout() -> None:
    period = Period(1, START_MS, window_s=60, keep_windows=5)
    for version in (CANARY, STABLE):
        period.add(version, START_MS, VersionStats(5000, 0, Performance()))
    (verdict,) = judge([canary_revision()], [period], Thresholds(), now_ms=START_MS + 600_000)
    assert verdict.decision is Decision.INCONCLUSIVE and "enable rollouts" in verdict.reason


def test_without_a_stable_version_to_compare_with_it_holds() -> None:
    period = Period(1, START_MS, window_s=60, keep_windows=5)
    period.add(CANARY, START_MS, outcome(GOOD, 5000, rng()))
    (verdict,) = judge([canary_revision()], [period], Thresholds(), now_ms=START_MS + 600_000)
    assert verdict.decision is Decision.INCONCLUSIVE and "no data of the stable version 1" in verdict.reason


def test_each_canary_has_a_verdict_of_its_own() -> None:
    first = canary_revision(None)
    person = Proposal("second", "person", automatic=False, reason="", created_ms=START_MS)
    both = start_canary(first, 3, 10.0, steps=None, seed=1, route_by=None, proposal=person)
    periods = [Period(number, START_MS, window_s=60, keep_windows=5) for number in (1, 2)]
    # What version 3 did before it was this canary does not count.
    periods[0].add(3, START_MS, outcome(Behaviour(nan_rate=0.5), 1000, rng()))
    periods[1].add(3, START_MS, outcome(GOOD, 1000, rng()))
    periods[1].add(CANARY, START_MS, outcome(Behaviour(nan_rate=0.5), 1000, rng()))
    periods[1].add(STABLE, START_MS, outcome(GOOD, 1000, rng()))
    history = [first, both]
    verdicts = judge(history, periods, Thresholds(), now_ms=START_MS + 60_000)
    assert {verdict.version: verdict.decision for verdict in verdicts} == {
        CANARY: Decision.ROLL_BACK,
        3: Decision.HOLD,
    }
    assert (first_as_canary(history, CANARY), first_as_canary(history, 3), first_as_canary(history, 4)) == (1, 2, None)
    following = next_revision(both, verdicts[0], id="next", now_ms=START_MS + 60_000)
    assert following.versions() == {STABLE, 3} and following.rejected == (CANARY,)


def test_a_rejected_version_is_never_promoted_by_the_judge() -> None:
    rollout = SimulatedRollout(GOOD, rng())
    rollout.history = [replace(canary_revision((5,)), rejected=(CANARY,))]
    with pytest.raises(ConfigError, match="only a person may use it again"):
        rollout.advance(10)
