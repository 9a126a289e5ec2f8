"""Models that are added, removed or changed while windows are open: nothing is lost silently, and what can continue does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from forebay.schemas.errors import BrokerError
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import Committed
from forebay.stream.eventtime.lane_windows import LaneWindows
from forebay.stream.eventtime.plan import WindowPlan
from forebay.stream.eventtime.restore import WithoutWindows
from forebay.stream.eventtime.window_chunk import WindowChunk
from tests.core.build import JULY, P0, P1, ManualClock
from tests.eventtime.build import plan, routed_poll
from tests.eventtime.test_lane_crashes import DAILY, HOURLY, PLAIN
from tests.eventtime.test_lane_windows import LONG, A, B, Event, by_model, committed, lanes, window_spans

HOURS, DAYS = plan(model=HOURLY), plan(LONG, model=DAILY)
LOG: list[Event] = [(HOURLY, A, 1), (DAILY, A, 2), (HOURLY, B, 3)]
CLOSED = 1000
"""The time of an event that closes all windows before it."""


def state_of(of: Sequence[WindowPlan], log: Sequence[Event] = LOG) -> Committed:
    windows = lanes(of)
    windows.restore({P0: None})
    return committed(windows, windows.take(routed_poll(0, log)))


def restored(of: Sequence[WindowPlan], state: Committed) -> tuple[LaneWindows, int | None]:
    windows = lanes(of)
    return windows, windows.restore({P0: state})[P0]


def refusal(of: Sequence[WindowPlan], state: Committed) -> BrokerError:
    with pytest.raises(BrokerError) as caught:
        lanes(of).restore({P0: state})
    return caught.value


def test_the_windows_of_the_only_model_continue_when_a_model_is_added() -> None:
    state = state_of([HOURS])
    assert state.metadata.startswith("forebay1 ")
    windows, start = restored([DAYS, HOURS], state)
    assert start == 0
    found = by_model(windows.take(routed_poll(0, [*LOG, (HOURLY, A, 10), (DAILY, A, 5)])))
    assert [window_spans(part) for part in found[HOURLY]] == [[(A, 0, 10, 1), (B, 0, 10, 1)]]
    assert [part.num_records for part in found[DAILY]] == [1], "it begins at the committed offset"
    assert windows.status_by_model()[DAILY][P0].buffered_rows == 1
    states = {part.model: part.metadata for parts in found.values() for part in parts if isinstance(part, WindowChunk)}
    assert windows.commit_metadata(P0, 5, states).startswith("forebay3 daily 1 ")


def test_of_several_models_with_the_same_windows_the_first_continues_those_of_the_only_model() -> None:
    same = plan(model=DAILY)
    assert same.digest == HOURS.digest
    windows, start = restored([HOURS, same], state_of([HOURS]))
    assert start == 0
    status = windows.status_by_model()
    assert (status[HOURLY][P0].replaying, status[DAILY][P0].replaying) == (3, None)


def test_of_several_models_with_the_same_windows_that_of_the_topic_takes_precedence() -> None:
    windows = LaneWindows([HOURS, plan(model=DAILY)], clock=ManualClock(), topics={HOURLY: ["another"]})
    assert windows.restore({P0: state_of([HOURS])}) == {P0: 0}
    assert windows.status_by_model()[DAILY][P0].replaying == 3


def test_a_model_that_is_added_to_several_begins_at_the_committed_offset() -> None:
    weekly = plan(replace(LONG, size_ms=700, hop_ms=700), model=ModelRef("weekly", 1))
    windows, start = restored([HOURS, weekly, DAYS], state_of([HOURS, DAYS]))
    assert start == 0
    assert [status[P0].replaying for status in windows.status_by_model().values()] == [3, None, 3]
    windows.take(routed_poll(0, LOG))
    windows.advance({P0: 3})
    assert windows.metadata({P0: 3})[P0].count(";") == 2


def test_the_version_of_a_model_may_change() -> None:
    newer = plan(LONG, model=ModelRef(DAILY.name, DAILY.version + 1))
    _, start = restored([HOURS, newer], state_of([HOURS, DAYS]))
    assert start == 0


@pytest.mark.parametrize("flush", [False, True])
@pytest.mark.parametrize("of", [[HOURS], [HOURS, plan(model=ModelRef("other", 1))]])
def test_open_windows_of_a_model_that_is_no_longer_served_are_refused(of: list[WindowPlan], flush: bool) -> None:
    error = refusal([replace(one, flush=flush) for one in of], state_of([HOURS, DAYS]))
    assert error.kind == "window_config_changed"
    assert "open windows of the model daily, from offset 1 to 3" in error.message
    assert "serve the model daily" in str(error.remedy)


def test_a_model_without_open_windows_may_be_removed() -> None:
    state = state_of([HOURS, DAYS], [(HOURLY, A, 1), (PLAIN, A, 2)])
    windows, start = restored([HOURS], state)
    assert start == 0
    windows.take(routed_poll(0, [(HOURLY, A, 1), (PLAIN, A, 2)]))
    windows.advance({P0: 2})
    assert windows.metadata({P0: 2}) == {P0: f"forebay1 {HOURS.digest} 0 - {JULY + 1}"}


def test_another_configuration_of_one_of_several_models_is_refused_or_flushed() -> None:
    state = state_of([HOURS, DAYS])
    other = plan(replace(LONG, size_ms=50, hop_ms=50), model=DAILY)
    error = refusal([HOURS, other], state)
    assert error.kind == "window_config_changed" and "another model than daily" in error.message
    windows, start = restored([HOURS, replace(other, flush=True)], state)
    assert start == 0
    found = by_model(windows.take(routed_poll(0, [*LOG, (PLAIN, A, 4)])))
    assert [window_spans(part) for part in found[DAILY]] == [[(A, 0, 50, 1)], []]
    assert [(part.first_offset, part.next_offset) for part in found[DAILY]] == [(2, 3), (3, 4)]
    assert [window_spans(part) for part in found[HOURLY]] == [[]]


def test_windows_without_a_name_that_fit_no_model_are_refused_or_flushed() -> None:
    state = state_of([plan(replace(LONG, size_ms=50, hop_ms=50), model=HOURLY)])
    error = refusal([HOURS, DAYS], state)
    assert error.kind == "window_config_changed" and "than hourly, daily" in error.message
    assert "on_changed" in str(error.remedy)
    windows, start = restored([HOURS, replace(DAYS, flush=True)], state)
    assert start == 0
    assert [status[P0].replaying for status in windows.status_by_model().values()] == [None, 3]


def test_a_state_without_windows_that_fits_no_model_is_dropped() -> None:
    state = state_of([plan(replace(LONG, size_ms=50, hop_ms=50), model=HOURLY)], [(PLAIN, A, 1)])
    assert restored([HOURS, DAYS], state)[1] == 1


def test_slices_that_are_still_to_be_emitted_count_as_open_windows() -> None:
    windows = lanes([HOURS, DAYS])
    windows.restore({P0: None})
    found = by_model(windows.take(routed_poll(0, [(HOURLY, A, 1), (HOURLY, B, 2), (HOURLY, A, CLOSED)])))
    hourly = found[HOURLY][0]
    assert isinstance(hourly, WindowChunk)
    first, _ = hourly.split(1)
    state = committed(windows, [first, *found[DAILY]])
    assert "model hourly, from offset 0 to 3" in refusal([DAYS], state).message
    again, start = restored([HOURS], state)
    assert start == 0
    (part,) = again.take(routed_poll(0, [(HOURLY, A, 1), (HOURLY, B, 2), (HOURLY, A, CLOSED)]))
    assert window_spans(part) == [(B, 0, 10, 1)]
    assert again.commit_metadata(P0, 3, {HOURLY: hourly.metadata}) == hourly.metadata


def test_a_worker_without_windows_refuses_open_windows_and_names_their_models() -> None:
    state = state_of([HOURS, DAYS], [*LOG, (HOURLY, A, CLOSED)])
    with pytest.raises(BrokerError, match="open windows of the model hourly, daily, and this worker") as caught:
        WithoutWindows().restore({P0: state})
    assert caught.value.kind == "window_config_changed"
    closed = state_of([HOURS, DAYS], [(PLAIN, A, 1)])
    assert WithoutWindows().restore({P0: closed, P1: None}) == {P0: 1, P1: None}


@pytest.mark.parametrize(
    "metadata", ["forebay3 hourly", "forebay3 hourly 1 nonsense", "forebay3 hourly 9 1 2 3", "forebay4 x"]
)
def test_metadata_of_a_later_version_is_refused(metadata: str) -> None:
    for of in ([HOURS], [HOURS, DAYS]):
        error = refusal(of, Committed(3, metadata))
        assert error.kind == "window_state_unknown" and "this version reads forebay1 to forebay3" in error.message
    with pytest.raises(BrokerError, match="this version reads"):
        WithoutWindows().restore({P0: Committed(3, metadata)})


def test_metadata_of_other_programs_is_ignored_and_replaced() -> None:
    windows = LaneWindows([HOURS, DAYS], clock=ManualClock())
    assert windows.restore({P0: Committed(3, "set by hand")}) == {P0: 3}
    windows.advance({P0: 3})
    assert windows.metadata({P0: 3}) == {P0: f"forebay3 hourly 1 {HOURS.digest} 3 - -;daily 1 {DAYS.digest} 3 - -"}
