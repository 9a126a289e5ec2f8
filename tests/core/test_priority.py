"""Weighted fair sharing among classes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from forebay.stream.core.priority import WEIGHTS, FairSchedule, Priority

HIGH, NORMAL, LOW = Priority


def test_a_class_that_was_idle_goes_first_and_gets_no_credit() -> None:
    schedule = FairSchedule()
    for _ in range(100):
        schedule.charge(LOW, 100)
    assert schedule.order([HIGH, LOW]) == [HIGH, LOW]
    schedule.charge(HIGH, 10)
    assert schedule.order([HIGH, LOW]) == [HIGH, LOW], "it has used little"
    taken = {HIGH: 0, LOW: 0}
    for _ in range(1700):
        first = schedule.order([HIGH, LOW])[0]
        schedule.charge(first, 100)
        taken[first] += 100
    assert 15.5 < taken[HIGH] / taken[LOW] < 16.5


def test_classes_that_have_more_than_can_be_taken_share_by_weight() -> None:
    schedule, taken = FairSchedule(), dict.fromkeys(Priority, 0)
    for _ in range(2100):
        first = schedule.order(list(Priority))[0]
        schedule.charge(first, 512)
        taken[first] += 512
    total = sum(taken.values())
    assert [round(21 * taken[priority] / total) for priority in Priority] == [16, 4, 1]


@given(st.lists(st.tuples(st.sampled_from([HIGH, NORMAL]), st.integers(1, 4096)), max_size=60), st.integers(1, 4096))
def test_no_class_waits_longer_than_the_bound(others: list[tuple[Priority, int]], size: int) -> None:
    """Whatever other classes want, and in which order, they get at most their share before the next turn of class low."""
    schedule = FairSchedule()
    schedule.charge(LOW, size)
    taken, largest = dict.fromkeys(Priority, 0), dict.fromkeys(Priority, 0)
    for priority, wanted in others:
        if schedule.order([priority, LOW])[0] is LOW:
            break
        schedule.charge(priority, wanted)
        taken[priority] += wanted
        largest[priority] = max(largest[priority], wanted)
    for priority in (HIGH, NORMAL):
        assert taken[priority] <= WEIGHTS[priority] * size / WEIGHTS[LOW] + largest[priority]
