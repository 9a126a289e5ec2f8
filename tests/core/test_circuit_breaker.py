"""The breaker's states by a manual clock, and the waits between tries."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.stream.core.backoff import Backoff
from forebay.stream.core.circuit_breaker import BreakerState, CircuitBreaker


class Rig:
    def __init__(self) -> None:
        self.changes: list[tuple[BreakerState, str]] = []
        self.breaker = CircuitBreaker(
            failure_threshold=3, reset_timeout_s=30, on_change=lambda state, why: self.changes.append((state, why))
        )

    def fail(self, now_s: float) -> None:
        assert self.breaker.allows(now_s)
        self.breaker.record_start(now_s)
        self.breaker.record_failure(now_s, "gone")

    def succeed(self, now_s: float) -> None:
        assert self.breaker.allows(now_s)
        self.breaker.record_start(now_s)
        self.breaker.record_success()


def test_it_opens_at_the_threshold_and_permits_one_call_after_the_timeout() -> None:
    rig = Rig()
    for now_s in (1.0, 2.0, 3.0):
        rig.fail(now_s)
    assert rig.changes == [(BreakerState.OPEN, "3 failures in a row, the last: gone")]
    assert not rig.breaker.allows(32.9) and rig.breaker.wait_s(32.0) == 1.0
    assert rig.breaker.allows(33.0)
    rig.breaker.record_start(33.0)
    assert rig.breaker.state is BreakerState.HALF_OPEN
    assert not rig.breaker.allows(33.1), "only one trial call"
    rig.breaker.record_success()
    assert rig.breaker.state is BreakerState.CLOSED and rig.breaker.allows(33.2)
    rig.fail(34.0)
    assert rig.breaker.state is BreakerState.CLOSED, "the count of failures starts again"


def test_a_failed_trial_call_opens_it_again() -> None:
    rig = Rig()
    for now_s in (1.0, 2.0, 3.0):
        rig.fail(now_s)
    rig.fail(40.0)
    assert not rig.breaker.allows(69.9) and rig.breaker.allows(70.0)
    assert [state.value for state, _ in rig.changes] == ["open", "half_open", "open"]


def test_allows_changes_no_state() -> None:
    rig = Rig()
    rig.breaker.trip(1.0, "hangs")
    assert [rig.breaker.allows(now_s) for now_s in (30.9, 31.0, 31.0, 30.9)] == [False, True, True, False]
    assert rig.breaker.state is BreakerState.OPEN and rig.changes == [(BreakerState.OPEN, "hangs")]


def test_it_becomes_half_open_after_the_timeout_without_a_call() -> None:
    rig = Rig()
    rig.breaker.trip(1.0, "hangs")
    rig.breaker.advance(30.9)
    assert rig.breaker.state is BreakerState.OPEN
    rig.breaker.advance(31.0)
    assert rig.breaker.state is BreakerState.HALF_OPEN and rig.breaker.allows(31.0)
    rig.breaker.record_start(32.0)
    rig.breaker.advance(70.0)
    assert not rig.breaker.allows(70.0), "the one call has not returned"
    assert [state.value for state, _ in rig.changes] == ["open", "half_open"]


def test_a_success_resets_the_count_of_failures() -> None:
    rig = Rig()
    for now_s in range(100):
        (rig.fail if now_s % 3 else rig.succeed)(float(now_s))
    assert rig.changes == []


def test_trip_opens_it_at_once_and_reports_the_change_once() -> None:
    rig = Rig()
    rig.breaker.trip(1.0, "hangs")
    rig.breaker.trip(5.0, "hangs")
    assert rig.changes == [(BreakerState.OPEN, "hangs")] and not rig.breaker.allows(34.9)
    rig.breaker.record_success()
    assert rig.breaker.state is BreakerState.CLOSED


@pytest.mark.parametrize(("jitter", "expected"), [(0.0, [0.05, 0.1, 0.2, 0.4]), (1.0, [0.1, 0.2, 0.4, 0.8])])
def test_waits_double_with_each_failure(jitter: float, expected: list[float]) -> None:
    backoff = Backoff(0.1, 5.0, lambda: jitter)
    assert [backoff.wait_s(failures) for failures in (1, 2, 3, 4)] == pytest.approx(expected)


@given(failures=st.integers(1, 10**9), jitter=st.floats(0, 1, exclude_max=True))
def test_no_wait_exceeds_the_maximum(failures: int, jitter: float) -> None:
    assert 0 < Backoff(0.1, 5.0, lambda: jitter).wait_s(failures) <= 5.0
