"""The totals that a worker logs when it ends."""

from __future__ import annotations

from forebay.schemas.failures import Outcome
from forebay.stream.pipeline.totals import Totals


def test_events_by_outcome() -> None:
    totals = Totals()
    totals.outcomes.update({Outcome.PREDICTED: 1200, Outcome.REJECTED: 3})
    assert str(totals) == "1,203 events committed = 1,200 predicted + 3 rejected + 0 failed"
    one = Totals()
    one.outcomes[Outcome.PREDICTED] = 1
    assert str(one) == "1 event committed = 1 predicted + 0 rejected + 0 failed"


def test_windows_are_shown_after_their_events() -> None:
    totals = Totals()
    totals.outcomes.update(
        {Outcome.ACCEPTED: 9, Outcome.LATE: 2, Outcome.WINDOW_PREDICTED: 4, Outcome.WINDOW_FAILED: 1}
    )
    assert str(totals) == (
        "11 events committed = 0 rejected + 0 failed + 9 accepted + 2 late; 5 windows = 4 predicted + 1 failed"
    )
    late = Totals()
    late.outcomes[Outcome.LATE] = 2
    assert str(late).startswith("2 events committed = 0 rejected + 0 failed + 0 accepted + 2 late")


def test_windows_that_only_closed_are_shown_too() -> None:
    totals = Totals()
    totals.outcomes.update({Outcome.ACCEPTED: 0, Outcome.WINDOW_PREDICTED: 3})
    assert str(totals) == "0 events committed = 0 rejected + 0 failed + 0 accepted; 3 windows = 3 predicted + 0 failed"
    totals.outcomes[Outcome.PREDICTED] = 2
    assert str(totals).startswith("2 events committed = 2 predicted + 0 rejected + 0 failed + 0 accepted; 3 windows")
