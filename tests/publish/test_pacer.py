"""The time at which each event is due. No clock is read here."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.stream.publish.pacer import Pacer


def test_events_are_due_at_even_intervals_from_the_start() -> None:
    pacer = Pacer(rate=100.0, start_s=50.0)
    assert pacer.due_s(0) == 50.0
    assert pacer.due_s(25) == 50.25
    assert pacer.num_due(49.999, 0, 1000) == 0
    assert pacer.num_due(50.0, 0, 1000) == 1
    assert pacer.num_due(50.25, 0, 1000) == 26
    assert pacer.num_due(50.25, 20, 1000) == 6
    assert pacer.wait_s(50.25, 26) == pytest.approx(0.01)


def test_a_delay_does_not_move_the_schedule() -> None:
    pacer = Pacer(rate=10.0, start_s=0.0)
    assert pacer.num_due(5.0, 1, 1000) == 50  # all events that became due in the meantime, at once
    assert pacer.due_s(51) == 5.1
    assert pacer.wait_s(7.0, 51) == 0.0


def test_the_number_due_is_between_zero_and_the_limit() -> None:
    pacer = Pacer(rate=10.0, start_s=0.0)
    assert pacer.num_due(100.0, 0, 7) == 7
    assert pacer.num_due(0.0, 5, 7) == 0


def test_without_a_rate_everything_is_due() -> None:
    pacer = Pacer(rate=None, start_s=3.0)
    assert pacer.num_due(3.0, 10**9, 500) == 500
    assert pacer.due_s(10**9) == 3.0
    assert pacer.wait_s(3.0, 10**9) == 0.0


@pytest.mark.parametrize("rate", [0.0, -1.0, float("inf"), float("nan")])
def test_an_invalid_rate_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="rate"):
        Pacer(rate, 0.0)


@given(
    rate=st.floats(0.01, 1e6),
    start_s=st.floats(0, 1e6),
    steps=st.lists(st.floats(0, 10), min_size=1, max_size=30),
)
def test_no_event_is_sent_early_or_held_back(rate: float, start_s: float, steps: list[float]) -> None:
    pacer = Pacer(rate, start_s)
    now_s, sent = start_s, 0
    for step in steps:
        now_s += step
        sent += pacer.num_due(now_s, sent, 10**9)
        slack = 1e-6 + 1e-9 / rate
        assert pacer.due_s(sent - 1) <= now_s + slack
        assert pacer.due_s(sent) > now_s - slack
