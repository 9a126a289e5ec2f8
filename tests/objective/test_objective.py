"""The controller at simulated workers: the quick part of `make test-objective`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.objective.costs import Costs
from tests.objective.plant import Plant
from tests.objective.proof import Fixed, compare, recovery_s
from tests.objective.steered import Steered

SLOW_LOOP = Costs(poll_s=0.001, event_s=0.000_1, batch_s=0.001, commit_event_s=0.000_1, fetch_s=0.002)
"""A worker for 5,000 events/s, so that a test has few events."""
GRID = (Fixed(4096, 0.0, 0.0), Fixed(4096, 0.002, 0.0), Fixed(512, 0.02, 0.0), Fixed(4096, 0.005, 0.05))


@pytest.mark.parametrize("load", [0.01, 0.1, 0.5, 0.9])
def test_the_latency_is_at_most_15_percent_above_that_of_the_best_fixed_setting(load: float) -> None:
    line = compare(SLOW_LOOP, load, GRID, seconds=6.0, seeds=[1])
    assert line.is_good, line


def test_a_model_with_a_slow_call_gets_larger_micro_batches_instead_of_a_queue_of_small_ones() -> None:
    costs = replace(SLOW_LOOP, call_s=0.03)
    line = compare(costs, 0.3, GRID, seconds=6.0, seeds=[1])
    assert line.value < 0.7, line


def test_after_a_step_of_the_load_the_objective_is_met_again() -> None:
    steered = Steered(SLOW_LOOP, [(3, 500), (8, 4000)], objective_s=0.2, seed=1).run()
    assert recovery_s(steered, 3.0) <= 5


def test_a_model_that_becomes_three_times_as_slow_is_followed() -> None:
    costs = replace(SLOW_LOOP, call_s=0.005, row_s=0.000_2)
    steered = Steered(costs, [(8, 800)], objective_s=0.2, seed=1)
    steered.plant.at(3.0, lambda: steered.plant.set_costs(replace(costs, call_s=0.015, row_s=0.000_6)))
    assert recovery_s(steered.run(), 3.0) <= 4


def test_more_than_the_worker_can_do_is_reported_with_the_capacity_and_nothing_is_dropped() -> None:
    steered = Steered(SLOW_LOOP, [(3, 500), (9, 10_000), (1, 0)], objective_s=0.2, seed=1).run()
    assert np.isfinite(steered.plant.committed_N).all()
    (_, met), (at_s, not_met) = [change for change in steered.verdicts if change[0] < 12]
    assert met.is_met and not not_met.is_met and at_s < 6
    detail = next(v.detail for t, v in steered.all_verdicts if t > 9)
    assert "exceeds capacity" in detail, detail


def test_efficiency_commits_less_often_and_still_meets_the_objective() -> None:
    quick = Steered(SLOW_LOOP, [(9, 600)], objective_s=0.2, seed=1).run().plant
    efficient = Steered(SLOW_LOOP, [(9, 600)], objective_s=0.2, seed=1, efficient=True).run().plant
    assert efficient.p99_s(5, 9) <= 0.2
    assert efficient.num_commits < 0.5 * quick.num_commits
    assert efficient.loop_s < quick.loop_s


def test_the_plant_itself_keeps_the_order_and_loses_nothing() -> None:
    plant = Plant(SLOW_LOOP, [(2, 3000)], seed=3).run()
    assert np.isfinite(plant.committed_N).all()
    assert (np.diff(plant.committed_N) >= 0).all()
