"""Timestamps that cannot be right are rejected before they reach a window, and again in every replay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.schemas.failures import FailureKind
from forebay.stream.core.records import Chunk, Committed
from forebay.stream.core.rows import RowRecords
from forebay.stream.eventtime.plan import WindowPlan
from forebay.stream.eventtime.spec import WindowKind, WindowSpec
from forebay.stream.eventtime.stage import WindowStage
from forebay.stream.eventtime.timestamp_guard import MAX_LISTED, TimestampBounds
from forebay.stream.eventtime.window_chunk import WindowChunk
from tests.conftest import examples
from tests.core.build import EPOCH, JULY, MODEL, P0, FakeRecord, FakeSource, ManualClock
from tests.eventtime.build import plan, spans

A = b"a"
HOUR = 3_600_000
SPEC = WindowSpec(
    WindowKind.TUMBLING, size_ms=2 * HOUR, hop_ms=2 * HOUR, gap_ms=0, out_of_orderness_ms=0, lateness_ms=0
)
BOUNDS = TimestampBounds(ahead_ms=60_000, behind_ms=40 * 365 * 24 * HOUR)


def poll(first_offset: int, times: list[int], stamps: list[int] | None = None) -> Chunk:
    """Return a poll of events of one key. times, stamps: timestamps of events and records; by default they are equal."""
    offsets = [first_offset + index for index in range(len(times))]
    records = [FakeRecord(o, b"x", stamp, A) for o, stamp in zip(offsets, stamps or times, strict=True)]
    x_NF = np.array([[offset] for offset in offsets], dtype=np.float32).reshape(len(offsets), 1)
    end = first_offset + len(times)
    return Chunk(
        P0,
        EPOCH,
        MODEL,
        records=records,
        ids=[f"e{o}" for o in offsets],
        timestamps=times,
        x_BF=x_NF,
        rejections=[],
        num_records=len(times),
        num_bytes=10,
        next_offset=end,
    )


def of(spec: WindowSpec = SPEC) -> WindowPlan:
    return plan(
        spec, timestamps=BOUNDS, max_replay_records=100_000, max_buffered_rows=100_000, max_rows_per_window=10_000
    )


def started(clock: ManualClock, *, committed: Committed | None = None, broker_time: bool = False) -> WindowStage:
    windows = WindowStage(of(), clock=clock, broker_time=broker_time)
    windows.restore({P0: committed})
    return windows


def take(windows: WindowStage, chunk: Chunk) -> WindowChunk:
    (found,) = windows.take(chunk)
    return found


def refused(chunk: WindowChunk) -> list[tuple[FailureKind, int]]:
    return [(event.kind, event.record.offset) for event in chunk.events.refused]


def test_a_producer_whose_clock_is_ahead_cannot_make_the_events_of_others_late() -> None:
    clock = ManualClock()
    windows = started(clock)
    chunk = take(windows, poll(0, [JULY, JULY + 50 * 60_000, JULY + 1000, JULY + 60_000]))
    assert refused(chunk) == [(FailureKind.TIMESTAMP_AHEAD, 1)] and len(chunk.events.accepted) == 3
    assert chunk.events.refused[0].message == (
        f"timestamp {JULY + 3_000_000} is 3000000 ms ahead of this worker's clock (2013-07-01T00:00:00.000Z): check the "
        "clocks of its producer and of this worker; window.max_timestamp_ahead_ms is 60000"
    )
    assert windows.status()[P0].watermark_ms == JULY + 60_000


def test_with_broker_timestamps_the_workers_clock_is_not_used() -> None:
    clock = ManualClock()
    clock.now_ms -= 2 * HOUR
    assert refused(take(started(clock, broker_time=True), poll(0, [JULY, JULY + 60_001], [JULY, JULY]))) == [
        (FailureKind.TIMESTAMP_AHEAD, 1)
    ]
    assert len(refused(take(started(clock), poll(0, [JULY, JULY + 60_001], [JULY, JULY])))) == 2


def test_seconds_in_place_of_milliseconds_are_rejected_and_the_unit_named() -> None:
    found = take(started(ManualClock()), poll(0, [JULY // 1000, JULY], [JULY, JULY]))
    assert refused(found) == [(FailureKind.TIMESTAMP_BEHIND, 0)]
    assert found.events.refused[0].message.endswith(
        "window.max_timestamp_behind_ms is 1261440000000: it looks like seconds (2013-07-01)"
    )


def test_history_is_not_behind() -> None:
    assert not refused(take(started(ManualClock()), poll(0, [JULY - 20 * 365 * 24 * HOUR], [JULY])))


def test_the_first_rejection_of_each_kind_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    windows = started(ManualClock())
    with caplog.at_level("WARNING"):
        take(windows, poll(0, [JULY // 1000, JULY // 1000, JULY + HOUR], [JULY, JULY, JULY]))
        take(windows, poll(3, [JULY // 1000], [JULY]))
    assert [record.args[1:3] for record in caplog.records if record.args] == [  # type: ignore[index]
        (0, "timestamp_behind"),
        (2, "timestamp_ahead"),
    ]


def test_a_replay_rejects_the_same_events_although_the_clock_has_advanced() -> None:
    clock = ManualClock()
    windows = started(clock)
    take(windows, poll(0, [JULY, JULY + 50 * 60_000, JULY + 90 * 60_000]))
    clock.advance(3600)
    chunk = take(windows, poll(3, [JULY + HOUR]))
    # Both were rejected; the second is newer than all accepted events, so it need not be listed.
    assert chunk.metadata.split(" ")[5:] == ["1"]
    clock.advance(7200)
    again = started(clock, committed=Committed(4, chunk.metadata))
    assert again.take(poll(0, [JULY, JULY + 50 * 60_000, JULY + 90 * 60_000, JULY + HOUR])) == []
    found = take(again, poll(4, [JULY + 90 * 60_000, JULY + 2 * HOUR]))
    assert spans(found.windows) == [(A, 0, 2 * HOUR, 3)], "offsets 0, 3 and 4, as if nothing had happened"


def test_a_replay_rejects_the_same_rows_of_a_record() -> None:
    def rows(offset: int, times: list[int]) -> Chunk:
        source = FakeSource(offset, len(times), timestamp=-1, key=A)
        records = RowRecords([source], np.zeros(len(times), dtype=np.int64), np.arange(len(times)))
        return replace(poll(offset, times), records=records, next_offset=offset + 1)

    clock = ManualClock()
    windows = started(clock)
    take(windows, rows(0, [JULY, JULY + HOUR, JULY]))
    take(windows, rows(1, [JULY + 50 * 60_000]))
    clock.advance(3600)
    chunk = take(windows, rows(2, [JULY + HOUR]))
    assert chunk.metadata.split(" ")[5:] == ["0.1,1.0"]
    clock.advance(7200)
    again = started(clock, committed=Committed(3, chunk.metadata))
    for part in (rows(0, [JULY, JULY + HOUR, JULY]), rows(1, [JULY + 50 * 60_000]), rows(2, [JULY + HOUR])):
        assert again.take(part) == []
    found = take(again, rows(3, [JULY + 90 * 60_000, JULY + 2 * HOUR]))
    assert spans(found.windows) == [(A, 0, 2 * HOUR, 4)], "rows 0 and 2 of offset 0, and offsets 2 and 3"


def test_more_than_a_checkpoint_can_list_closes_all_windows() -> None:
    clock = ManualClock()
    windows = started(clock)
    take(windows, poll(0, [JULY]))
    ahead = take(windows, poll(1, [JULY + HOUR // 2] * (MAX_LISTED + 1)))
    assert not ahead.windows and len(ahead.metadata) < 200
    clock.advance(3600)
    full = take(windows, poll(MAX_LISTED + 2, [JULY + HOUR]))
    assert spans(full.windows) == [(A, 0, 2 * HOUR, 2)] and len(full.metadata.split(" ")) == 5


@settings(max_examples=examples(150))
@given(
    st.lists(
        # How far the clock advances before the event, how far the event is ahead of it, and whether a poll ends after it.
        st.tuples(st.sampled_from([0, 200, 700]), st.sampled_from([-900, 0, 800, 1500, 2500, 9000]), st.booleans()),
        min_size=4,
        max_size=40,
    ),
    st.integers(0, 30),
    st.integers(0, 20_000),
    st.sampled_from([0, 500]),
)
def test_a_replay_is_independent_of_the_clock(
    steps: list[tuple[int, int, bool]], crash: int, away_ms: int, out_of_orderness: int
) -> None:
    spec = WindowSpec(
        WindowKind.TUMBLING, size_ms=4000, hop_ms=4000, gap_ms=0, out_of_orderness_ms=out_of_orderness, lateness_ms=0
    )
    wanted = replace(of(spec), limits=replace(of(spec).limits, timestamps=TimestampBounds(1000, 1 << 40)))
    clock = ManualClock()
    whole = WindowStage(wanted, clock=clock)
    whole.restore({P0: None})
    log: list[int] = []
    committed, again, later = Committed(0, ""), None, ManualClock()
    for number, (moved_ms, ahead_ms, _) in enumerate(steps):
        clock.advance(moved_ms / 1000)
        t = clock.now_ms + ahead_ms
        log.append(t)
        expected = take(whole, poll(number, [t]))
        if again is not None:
            # The worker that took over, whose clock shows the same time for new events.
            later.now_ms = clock.now_ms
            found = take(again, poll(number, [t]))
            assert (refused(found), spans(found.windows)) == (refused(expected), spans(expected.windows))
            assert found.metadata == expected.metadata
        if number == min(crash, len(steps) - 1):
            committed = Committed(number + 1, expected.metadata)
            later.now_ms = clock.now_ms + away_ms
            again = WindowStage(wanted, clock=later)
            start = again.restore({P0: committed})[P0]
            assert start is not None
            if start < committed.offset:
                first = 0
                for end in [n + 1 for n in range(start, number + 1) if steps[n][2]] + [number + 1]:
                    begin = max(start, first)
                    if begin < end:
                        assert again.take(poll(begin, log[begin:end])) == []
                    first = end


def test_a_record_without_a_timestamp_is_compared_with_the_clock_alone() -> None:
    clock = ManualClock()
    windows = started(clock)
    times = [JULY, JULY + BOUNDS.ahead_ms + 1, JULY + 5]
    found = take(windows, poll(0, times, [-1, -1, -1]))
    assert refused(found) == [(FailureKind.TIMESTAMP_AHEAD, 1)]
    assert len(found.events.accepted) == 2
