"""The windows of several models in one partition: replays, positions, states, closing by the clock, and status."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.schemas.errors import ForebayError
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import BatchPart, Chunk, Committed
from forebay.stream.eventtime.combined_state import max_listed
from forebay.stream.eventtime.lane_windows import LaneWindows
from forebay.stream.eventtime.plan import WindowPlan
from forebay.stream.eventtime.spec import WindowSpec
from forebay.stream.eventtime.window_chunk import WindowChunk
from tests.conftest import examples
from tests.core.build import EPOCH, JULY, P0, P1, ManualClock
from tests.eventtime.build import TUMBLING, plan, poll, routed_poll, spans, stage
from tests.eventtime.test_lane_crashes import DAILY, HOURLY, PLAIN
from tests.eventtime.test_partition_windows import described, specs

A, B = b"a", b"b"
LONG = replace(TUMBLING, size_ms=100, hop_ms=100)
SHORT = plan(model=HOURLY)
PLANS = [SHORT, plan(LONG, model=DAILY)]

Event = tuple[ModelRef, bytes | None, int]


def lanes(of: Sequence[WindowPlan] = PLANS, clock: ManualClock | None = None) -> LaneWindows:
    return LaneWindows(of, clock=clock or ManualClock())


def started(of: Sequence[WindowPlan] = PLANS, clock: ManualClock | None = None) -> LaneWindows:
    windows = lanes(of, clock)
    assert windows.restore({P0: None, P1: Committed(7, "")}) == {P0: None, P1: 7}
    return windows


def by_model(parts: Sequence[BatchPart]) -> dict[ModelRef, list[BatchPart]]:
    found: dict[ModelRef, list[BatchPart]] = {}
    for part in parts:
        found.setdefault(part.model, []).append(part)
    return found


def committed(windows: LaneWindows, parts: Sequence[BatchPart]) -> Committed:
    """Commit these parts, all windows of a part together."""
    states = {part.model: part.metadata for part in parts if isinstance(part, WindowChunk)}
    position = max(part.next_offset for part in parts)
    return Committed(position, windows.commit_metadata(P0, position, states))


def offsets(part: BatchPart) -> list[int]:
    assert isinstance(part, Chunk)
    return [record.offset for record in part.records]


def bounds(part: BatchPart) -> tuple[int, int]:
    return part.first_offset, part.next_offset


def window_spans(part: BatchPart) -> list[tuple[bytes, int, int, int]]:
    assert isinstance(part, WindowChunk)
    return spans(part.windows)


# ---- polls


def test_each_poll_passes_through_all_window_lanes_and_ends_at_the_same_offset() -> None:
    windows = started()
    parts = windows.take(routed_poll(0, [(HOURLY, A, 1), (PLAIN, A, 2), (PLAIN, B, 3)]))
    plain, hourly, daily = parts
    assert (offsets(plain), plain.model) == ([1, 2], PLAIN)
    assert [(part.model, bounds(part), part.num_records) for part in (hourly, daily)] == [
        (HOURLY, (0, 3), 1),
        (DAILY, (0, 3), 0),
    ]
    parts = windows.take(routed_poll(3, [(DAILY, A, 5), (HOURLY, A, 12), (PLAIN, None, 7)]))
    found = by_model(parts)
    assert [bounds(part) for part in found[HOURLY] + found[DAILY]] == [(3, 6), (3, 6)]
    assert window_spans(found[HOURLY][0]) == [(A, 0, 10, 1)]
    assert committed(windows, parts) == Committed(
        6,
        f"forebay3 hourly 1 {PLANS[0].digest} 4 {JULY + 1} {JULY + 12};daily 1 {PLANS[1].digest} 3 - {JULY + 5}",
    )


def test_several_partitions_of_a_poll_are_taken_together() -> None:
    windows = started()
    parts = windows.take([*routed_poll(0, [(HOURLY, A, 1)]), *routed_poll(7, [(PLAIN, A, 1)], partition=P1)])
    assert [(part.partition, part.model, part.next_offset) for part in parts] == [
        (P0, HOURLY, 1),
        (P0, DAILY, 1),
        (P1, PLAIN, 8),
        (P1, HOURLY, 8),
        (P1, DAILY, 8),
    ]


@settings(max_examples=examples(100), deadline=None)
@given(
    specs(),
    st.lists(st.tuples(st.sampled_from([A, B, None]), st.integers(0, 60)), min_size=2, max_size=20),
    st.integers(1, 5),
    st.integers(1, 19),
)
def test_with_one_model_the_result_is_that_of_the_window_stage(
    spec: WindowSpec, events: list[tuple[bytes | None, int]], size: int, crash: int
) -> None:
    of, crash = plan(spec), min(crash, len(events) - 1)
    one, several = stage(of), lanes([of])
    state: Committed | None = None
    for first, last in ((0, crash), (crash, len(events))):
        start = one.restore({P0: state})[P0]
        assert several.restore({P0: state})[P0] == start
        at = start or 0
        while at < last:
            chunk = poll(at, events[at : at + size])
            at = chunk.next_offset
            expected, found = one.take(chunk), several.take([chunk])
            assert list(map(fields, expected)) == list(map(fields, found))
            if at >= first and expected:
                state = Committed(at, several.commit_metadata(P0, at, {of.model: expected[-1].metadata}))
                assert state.metadata == expected[-1].metadata
        assert one.status() == several.status()
        one.advance({P0: at})
        several.advance({P0: at})
        assert one.metadata({P0: at}) == several.metadata({P0: at})
        one, several = stage(of), lanes([of])


def fields(part: BatchPart) -> dict[str, object]:
    assert isinstance(part, WindowChunk)
    values: dict[str, object] = {name: getattr(part, name) for name in WindowChunk.__slots__}
    return values | {"windows": list(map(described, part.windows))}


def test_a_model_takes_part_in_partitions_of_its_topics_and_where_an_event_names_it() -> None:
    topics = {HOURLY: ["another"], DAILY: [P0.topic]}
    windows = LaneWindows(PLANS, clock=ManualClock(), topics=topics)
    windows.restore({P0: Committed(0, "")})
    assert [part.model for part in windows.take(routed_poll(0, [(PLAIN, A, 1)]))] == [PLAIN, DAILY]
    assert P0 not in windows.status_by_model()[HOURLY]
    parts = windows.take(routed_poll(1, [(PLAIN, A, 2), (HOURLY, A, 3), (HOURLY, A, 4)]))
    assert [(part.model, bounds(part)) for part in parts[1:]] == [(DAILY, (1, 4)), (HOURLY, (2, 4))]
    assert windows.commit_metadata(P0, 1, {DAILY: f"forebay1 {PLANS[1].digest} 1 - -"}).count(";") == 0, "not yet"
    state = committed(windows, parts)
    assert windows.status_by_model()[HOURLY][P0].open_windows == 1
    again = LaneWindows(PLANS, clock=ManualClock(), topics=topics)
    assert again.restore({P0: state}) == {P0: 2}
    again.take(routed_poll(2, [(HOURLY, A, 3), (HOURLY, A, 4)]))
    (daily, hourly) = by_model(again.take(routed_poll(4, [(HOURLY, A, 10)]))).values()
    assert [*map(bounds, [*daily, *hourly])] == [(4, 5), (4, 5)]
    assert again.metadata({P0: 5})[P0].startswith("forebay3 hourly 1 ")


def test_partitions_without_windows_are_committed_without_metadata() -> None:
    windows = LaneWindows(PLANS, clock=ManualClock(), topics={HOURLY: ["another"], DAILY: ["another"]})
    windows.restore({P0: Committed(3, "")})
    (part,) = windows.take(routed_poll(3, [(PLAIN, A, 1)]))
    assert (part.model, windows.commit_metadata(P0, 4, {})) == (PLAIN, "")
    windows.advance({P0: 4})
    assert windows.metadata({P0: 4}) == {P0: ""}
    assert windows.status() == {}


# ---- replays


def restarted(windows: LaneWindows, parts: Sequence[BatchPart], of: Sequence[WindowPlan] = PLANS) -> LaneWindows:
    again = lanes(of)
    again.restore({P0: committed(windows, parts)})
    return again


def test_reading_begins_at_the_oldest_window_of_any_model_and_others_ignore_what_is_before_theirs() -> None:
    log: list[Event] = [
        (PLAIN, A, 0),
        (DAILY, A, 1),
        (HOURLY, A, 2),
        (PLAIN, A, 3),
        (HOURLY, A, 12),
        (PLAIN, A, 4),
        (HOURLY, A, 13),
        (PLAIN, A, 5),
        (DAILY, A, 101),
        (HOURLY, A, 23),
    ]
    before = started()
    state = committed(before, before.take(routed_poll(0, log[:6])))
    windows = lanes()
    assert windows.restore({P0: state}) == {P0: 1}, "the windows of daily begin at 1, those of hourly at 4"
    assert windows.take(routed_poll(1, log[1:4])) == []
    assert windows.status_by_model()[HOURLY][P0].open_windows == 0, "its window of the event at 2 was closed before"
    assert windows.status()[P0].replaying == 6
    windows.advance({P0: 4})
    assert windows.metadata({P0: 4}) == {}
    found = by_model(windows.take(routed_poll(4, log[4:])))
    assert [offsets(part) for part in found[PLAIN]] == [[7]]
    assert [(bounds(part), window_spans(part)) for part in found[HOURLY]] == [((6, 10), [(A, 10, 20, 2)])]
    assert [(bounds(part), window_spans(part)) for part in found[DAILY]] == [((6, 10), [(A, 0, 100, 1)])]
    assert windows.status()[P0].replaying is None


def test_a_lane_whose_events_are_all_replayed_continues_at_the_committed_offset() -> None:
    log: list[Event] = [(HOURLY, A, 1), (DAILY, A, 2), (HOURLY, A, 3)]
    before = started()
    windows = restarted(before, before.take(routed_poll(0, log)))
    found = by_model(windows.take(routed_poll(0, [*log, (PLAIN, A, 4), (PLAIN, A, 5)])))
    assert [offsets(part) for part in found[PLAIN]] == [[3, 4]]
    assert [(bounds(part), part.num_records) for part in found[HOURLY] + found[DAILY]] == [((3, 5), 0), ((3, 5), 0)]
    assert windows.status()[P0].buffered_rows == 3


def test_a_position_past_transaction_markers_ends_the_replays_of_all_models_together() -> None:
    log: list[Event] = [(HOURLY, A, 1), (DAILY, A, 2)]
    before = started()
    before.take(routed_poll(0, log))
    before.advance({P0: 5})
    text = before.metadata({P0: 5})[P0]
    windows = lanes()
    assert windows.restore({P0: Committed(5, text)}) == {P0: 0}
    assert windows.take(routed_poll(0, log)) == []
    windows.advance({P0: 6})
    assert windows.metadata({P0: 6}) == {P0: text}
    assert [bounds(part) for part in windows.take(routed_poll(6, [(PLAIN, A, 5)])) if part.model != PLAIN] == [
        (6, 7)
    ] * 2


def pending() -> tuple[list[Event], Committed, list[WindowChunk]]:
    """Return a log, the state after one of three slices of hourly at its end, and the other slices."""
    log: list[Event] = [(HOURLY, A, 1), (DAILY, A, 1), (HOURLY, B, 2), (HOURLY, b"c", 3), (HOURLY, A, 12)]
    windows = started()
    (hourly,), (daily,) = by_model(windows.take(routed_poll(0, log))).values()
    assert isinstance(hourly, WindowChunk) and isinstance(daily, WindowChunk)
    first, rest = hourly.split(1)
    state = committed(windows, [first, daily])
    assert state.metadata.startswith(f"forebay3 hourly 2 {SHORT.digest} 0 ") and ";daily 1 " in state.metadata
    second, third = rest.split(1)
    assert committed(windows, [second]).metadata.split(";")[1] == state.metadata.split(";")[1]
    return log, state, [second, third]


def test_the_remaining_slices_of_one_model_are_committed_with_the_state_of_the_other() -> None:
    log, state, rest = pending()
    windows = lanes()
    assert windows.restore({P0: state}) == {P0: 0}
    assert windows.take(routed_poll(0, log[:3])) == []
    (found,) = windows.take(routed_poll(3, log[3:]))
    assert isinstance(found, WindowChunk)
    assert (found.model, bounds(found), found.num_records) == (HOURLY, (5, 5), 0)
    assert list(map(described, found.windows)) == [described(window) for part in rest for window in part.windows]
    done = committed(windows, [found])
    assert done.offset == 5 and done.metadata.split(";")[1] == state.metadata.split(";")[1]
    assert done.metadata.startswith(f"forebay3 hourly 1 {SHORT.digest} 4 ")
    assert lanes().restore({P0: done}) == {P0: 1}


def test_a_position_does_not_pass_windows_that_are_still_to_be_emitted() -> None:
    log, state, _ = pending()
    windows = lanes()
    windows.restore({P0: state})
    assert [part.model for part in windows.take(routed_poll(0, log[:4]))] == []
    windows.advance({P0: 7})
    assert windows.metadata({P0: 7}) == {}, "hourly has windows to emit at 5"
    assert windows.status_by_model()[DAILY][P0].replaying == 5, "so daily waits there too"
    windows.take(routed_poll(4, log[4:]))
    windows.advance({P0: 7})
    assert set(windows.metadata({P0: 7})) == {P0}


def test_a_worker_that_still_has_the_state_of_one_model_rebuilds_only_the_other() -> None:
    windows = started()
    log: list[Event] = [(HOURLY, A, 1), (DAILY, A, 2), (PLAIN, A, 3)]
    state = committed(windows, windows.take(routed_poll(0, log)))
    windows.stages[DAILY].take(poll(3, [(A, 9)], model=DAILY))
    assert windows.restore({P0: state}) == {P0: 1}
    status = windows.status_by_model()
    assert (status[HOURLY][P0].replaying, status[DAILY][P0].replaying) == (None, 3)
    found = by_model(windows.take(routed_poll(1, [*log[1:], (HOURLY, A, 10)])))
    assert PLAIN not in found
    assert [window_spans(part) for part in found[HOURLY]] == [[(A, 0, 10, 1)]]


def test_a_commit_without_the_state_of_a_model_is_refused() -> None:
    windows = started()
    parts = windows.take(routed_poll(0, [(HOURLY, A, 1)]))
    with pytest.raises(ForebayError, match="features-0: the commit of offset 1 has no state of the windows of daily"):
        committed(windows, [part for part in parts if part.model == HOURLY])


# ---- the clock


def test_a_model_without_events_closes_its_windows_although_others_have_events() -> None:
    clock = ManualClock()
    windows = started(clock=clock)
    state = committed(windows, windows.take(routed_poll(0, [(HOURLY, A, 1), (DAILY, A, 1)])))
    clock.advance(3)
    state = committed(windows, windows.take(routed_poll(2, [(DAILY, A, 2)])))
    clock.advance(3)
    assert windows.close_idle(EPOCH, lambda partition: False) == []
    (part,) = windows.close_idle(EPOCH, lambda partition: True)
    assert (part.model, bounds(part), window_spans(part)) == (HOURLY, (3, 3), [(A, 0, 10, 1)])
    after = committed(windows, [part])
    assert after.offset == 3 and after.metadata.split(";")[1] == state.metadata.split(";")[1]
    assert lanes().restore({P0: after}) == {P0: 1}, "only the window of daily is open"
    clock.advance(3)
    windows.advance({P0: 6})
    (part,) = windows.close_idle(EPOCH, lambda partition: True)
    assert (part.model, bounds(part), part.num_rows) == (DAILY, (6, 6), 1), "after transaction markers"
    assert lanes().restore({P0: committed(windows, [part])}) == {P0: 6}


def test_all_replays_of_a_partition_end_before_windows_close_by_the_clock() -> None:
    clock = ManualClock()
    log, state, rest = pending()
    windows = lanes(clock=clock)
    windows.restore({P0: state})
    assert windows.take(routed_poll(0, log[:4])) == []
    assert windows.close_idle(EPOCH, lambda partition: False) == []
    (part,) = windows.take(routed_poll(4, log[4:]))
    assert (part.model, part.num_rows) == (HOURLY, len(rest))
    status = windows.status_by_model()
    assert (status[HOURLY][P0].replaying, status[DAILY][P0].replaying) == (None, 5)
    clock.advance(6)
    parts = windows.close_idle(EPOCH, lambda partition: True)
    assert [(part.model, bounds(part), part.num_rows) for part in parts] == [(HOURLY, (5, 5), 1), (DAILY, (5, 5), 1)]
    assert windows.status()[P0].replaying is None


def test_windows_that_are_flushed_end_the_replays_of_all_models() -> None:
    log: list[Event] = [(HOURLY, A, 1), (DAILY, A, 2)]
    before = started()
    of = [replace(plan(replace(TUMBLING, size_ms=5, hop_ms=5), model=HOURLY), flush=True), PLANS[1]]
    windows = restarted(before, before.take(routed_poll(0, log)), of)
    assert windows.take(routed_poll(0, log)) == []
    (part,) = windows.close_idle(EPOCH, lambda partition: True)
    assert (part.model, bounds(part), window_spans(part)) == (HOURLY, (1, 2), [(A, 0, 5, 1)])
    assert windows.status()[P0].replaying is None
    assert committed(windows, [part]).metadata.endswith(f";daily 1 {PLANS[1].digest} 1 - {JULY + 2}")


# ---- limits and status


@pytest.mark.parametrize("more", [0, 1])
def test_models_share_the_space_for_events_that_the_clock_rejected(more: int) -> None:
    models = [ModelRef(f"model-{index}-{'x' * 60}", 1) for index in range(8)]
    of = [plan(LONG, model=model) for model in models]
    clock = ManualClock()
    windows = started(of, clock)
    limit = max_listed([model.name for model in models])
    assert 10 < limit < 50
    clock.now_ms = JULY - 990  # later than 10 ms is ahead of the clock
    log: list[Event] = [(model, A, 5) for model in models] + [(model, A, 50) for model in models] * (limit + more)
    windows.take(routed_poll(0, log))
    clock.now_ms = JULY
    last: list[Event] = [(model, A, 60) for model in models]
    parts = windows.take(routed_poll(len(log), last))
    assert [part.num_rows for part in parts] == [more] * len(models), "one too many closes the window early"
    state = committed(windows, parts)
    assert len(state.metadata) <= 4096
    again = lanes(of)
    if more:
        assert again.restore({P0: state}) == {P0: state.offset}
        return
    assert state.metadata.count(",") == (limit - 1) * len(models)
    assert again.restore({P0: state}) == {P0: 0}
    again.take(routed_poll(0, log + last))
    again.advance({P0: state.offset})
    assert again.metadata({P0: state.offset}) == {P0: state.metadata}, "the same events are rejected"


def test_status_is_the_sum_over_the_models_with_the_lowest_watermark() -> None:
    windows = started()
    windows.take(routed_poll(0, [(HOURLY, A, 1), (HOURLY, A, 2), (DAILY, A, 9)]))
    status = windows.status()
    assert status[P0] == (2, 3, JULY + 2, None)
    assert status[P1] == (0, 0, None, None)
    assert windows.status_by_model()[DAILY][P0] == (1, 1, JULY + 9, None)
