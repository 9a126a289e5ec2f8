"""Long work on a helper thread leaves half of the time to other threads."""

from __future__ import annotations

import pytest

from forebay.stream.admin.time_slices import MAX_REST_S, SLICE, Abandoned, TimeSlices
from tests.core.build import ManualClock


def test_a_rest_is_as_long_as_the_work_before_it() -> None:
    clock, rests = ManualClock(), list[float]()

    def sleep(seconds: float) -> None:
        rests.append(seconds)
        clock.advance(seconds)

    time_slices = TimeSlices(clock, sleep)
    for work_s in (0.0, 0.002, 0.004, 100.0):
        clock.advance(work_s)
        time_slices.rest()
    assert rests == pytest.approx([0.0, 0.002, 0.004, MAX_REST_S])


def test_items_come_in_slices_with_a_rest_before_each() -> None:
    rests = list[float]()
    time_slices = TimeSlices(ManualClock(), rests.append)
    items = list(range(2 * SLICE + 1))
    assert [len(part) for part in time_slices.slices(items)] == [SLICE, SLICE, 1]
    assert list(time_slices.items(items)) == items
    assert len(rests) == 6
    assert list(time_slices.slices([])) == []


def test_abandoned_work_ends_at_its_next_rest() -> None:
    time_slices = TimeSlices(ManualClock(), lambda _seconds: None)
    slices = time_slices.slices(range(3 * SLICE))
    next(slices)
    time_slices.abandon()
    with pytest.raises(Abandoned):
        next(slices)
