"""The decisions of the controller: sizes and waits of micro-batches, the cadence of commits."""

from __future__ import annotations

import pytest

from forebay.stream.objective.batch_limits import BatchLimits, Call, batch_limits
from forebay.stream.objective.cadence import MAX_SHARE, Cadence


def limits(call: Call | None, rate: float, *, usual_s: float = 0.0, gather_s: float = 0.0) -> BatchLimits:
    return batch_limits(call=call, usual_s=usual_s, rate=rate, gather_s=gather_s, objective_s=0.2, max_batch_size=4096)


def test_before_the_first_call_the_limit_of_the_user_holds() -> None:
    assert limits(None, 1000) == BatchLimits(4096, 0.0, 0)


def test_a_call_takes_its_share_of_the_objective() -> None:
    # 1 ms and 0.5 ms a row: 98 rows take 50 ms, a quarter of 200.
    assert limits(Call(0.001, 0.0005), 100).max_batch_size == pytest.approx(98, abs=1)


def test_a_limit_that_is_too_small_grows_by_itself() -> None:
    # A line fitted while the model became slower: no fixed duration, and rows that seem dear.
    wrong = Call(0.0, 0.0007)
    assert limits(wrong, 100, usual_s=0.08).max_batch_size == pytest.approx(72, abs=1)
    assert limits(wrong, 4000, usual_s=0.08).max_batch_size == 640


def test_a_rate_that_needs_larger_micro_batches_gets_them_up_to_the_limit_of_the_user() -> None:
    call = Call(0.04, 0.0001)  # 100 rows take a quarter of the objective, with 2,000 rows/s
    assert limits(call, 500).max_batch_size == pytest.approx(100, abs=1)
    assert limits(call, 5000).max_batch_size == pytest.approx(571, abs=1)
    assert limits(call, 8300).max_batch_size == 4096


def test_beyond_the_capacity_micro_batches_are_large_enough_not_to_waste_it() -> None:
    assert limits(Call(0.001, 0.0005), 1_000_000).max_batch_size == 98
    assert limits(Call(0.04, 0.0005), 1_000_000).max_batch_size == 1600


def test_a_model_without_a_cost_a_row_keeps_the_limit_of_the_user() -> None:
    assert limits(Call(0.001, 0.0), 1000).max_batch_size == 4096


def test_a_micro_batch_waits_only_for_events_that_come() -> None:
    assert limits(None, 10_000, gather_s=0.001).max_queue_delay_s == 0.001
    assert limits(None, 1_000, gather_s=0.001).max_queue_delay_s == 0.0
    assert limits(None, 10_000, gather_s=0.001).sufficient_size == 20
    assert limits(None, 10_000, gather_s=1.0).max_queue_delay_s == pytest.approx(0.01)


def advance(cadence: Cadence, now_s: float, *, waited_s: float, load: float, p99_s: float | None = None) -> float:
    cadence.advance(now_s=now_s, commit_s=0.01, waited_s=waited_s, loop_load=load, p99_s=p99_s)
    return cadence.interval_s


def test_a_worker_that_keeps_up_commits_as_soon_as_results_are_ready() -> None:
    cadence = Cadence(0.2, efficient=False)
    for number in range(20):
        assert advance(cadence, 0.2 * number, waited_s=0.1, load=1.0) == 0
        assert advance(cadence, 0.2 * number + 0.1, waited_s=1.0, load=0.5) == 0, "fewer commits would not help"


def test_events_that_wait_because_the_loop_is_busy_make_the_interval_grow_within_the_objective() -> None:
    cadence = Cadence(0.2, efficient=False)
    assert advance(cadence, 1.0, waited_s=0.3, load=0.99) == pytest.approx(0.015)
    assert advance(cadence, 1.2, waited_s=0.3, load=0.99) == pytest.approx(0.015), "not before the step shows"
    for number in range(20):
        interval_s = advance(cadence, 2.0 + number, waited_s=0.3, load=0.99)
    assert interval_s == pytest.approx(MAX_SHARE * 0.2)
    held_s = advance(cadence, 23.0, waited_s=0.0, load=0.95)
    assert held_s > 0.9 * interval_s, "the interval may be why nothing waits"
    for number in range(100):
        interval_s = advance(cadence, 23.0 + 0.2 * number, waited_s=0.0, load=0.3)
    assert interval_s == 0


def test_efficiency_uses_what_the_objective_leaves() -> None:
    cadence = Cadence(0.2, efficient=True)
    interval_s = 0.0
    for number in range(200):  # without an interval the latency would be 80 ms
        interval_s = advance(cadence, 0.2 * number, waited_s=0.0, load=0.3, p99_s=0.08 + interval_s)
    assert interval_s == pytest.approx(0.07, abs=0.002)
    for number in range(200):
        interval_s = advance(cadence, 40 + 0.2 * number, waited_s=0.0, load=0.3, p99_s=0.3 + interval_s)
    assert interval_s == pytest.approx(0, abs=1e-3)
    assert advance(cadence, 90, waited_s=0.0, load=0.3, p99_s=None) == pytest.approx(interval_s)
