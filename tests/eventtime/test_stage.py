"""Continuing from committed state, refusals, limits, and closing by the clock."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from forebay.models.artefacts.window_input import WindowInput
from forebay.schemas.errors import BrokerError
from forebay.schemas.failures import FailureKind
from forebay.stream.core.records import Committed
from forebay.stream.eventtime.plan import WindowPlan
from forebay.stream.eventtime.restore import WithoutWindows
from forebay.stream.eventtime.stage import WindowStage
from forebay.stream.eventtime.timestamp_guard import TimestampBounds
from forebay.stream.eventtime.window_chunk import WindowChunk
from tests.core.build import EPOCH, JULY, P0, P1, ManualClock
from tests.eventtime.build import COUNTS, TUMBLING, plan, poll, spans, stage

A, B = b"a", b"b"


def take(windows: WindowStage, *args: object, **more: object) -> WindowChunk:
    (found,) = windows.take(poll(*args, **more))  # type: ignore[arg-type]
    return found


def started(of: WindowPlan | None = None, clock: ManualClock | None = None) -> WindowStage:
    windows = stage(of, clock)
    assert windows.restore({P0: None, P1: Committed(7, "")}) == {P0: None, P1: 7}
    return windows


def test_a_poll_is_accepted_and_closes_windows_with_its_position_and_state() -> None:
    windows = started()
    first = take(windows, 0, [(A, 1), (B, 2), None, (A, 9)])
    assert not first.windows and (first.size, first.num_rows, first.num_records) == (1, 0, 4)
    assert first.events.accepted == [JULY] * 3
    assert [(event.kind, event.id) for event in first.events.refused] == [(FailureKind.NOT_JSON, None)]
    second = take(windows, 4, [(A, 12)])
    assert spans(second.windows) == [(A, 0, 10, 2), (B, 0, 10, 1)]
    assert second.x_BF.tolist() == [[2.0, 3.0], [1.0, 1.0]], "the count, and the sum of the offsets"
    assert (second.next_offset, second.record_timestamp) == (5, JULY)
    assert second.metadata == f"forebay1 {plan().digest} 4 {JULY + 9} {JULY + 12}"


def test_events_without_a_key_or_from_the_future_are_rejected_and_move_nothing() -> None:
    windows = started()
    chunk = take(windows, 0, [(A, 1), (None, 2), (A, 1001), (A, 1000), (A, 5)])
    assert [(event.kind, event.id, event.record.offset) for event in chunk.events.refused] == [
        (FailureKind.MISSING_KEY, "e1", 1),
        (FailureKind.TIMESTAMP_AHEAD, "e2", 2),
        (FailureKind.LATE, "e4", 4),
    ]
    assert chunk.events.refused[1].message == (
        f"timestamp {JULY + 1001} is 1001 ms ahead of its record; window.max_timestamp_ahead_ms is 1000"
    )
    assert chunk.events.refused[2].message == "the timestamp is 995 ms before the watermark"
    assert len(chunk.events.accepted) == 2
    assert windows.status()[P0].watermark_ms == JULY + 1000


def test_the_key_of_the_event_is_used_if_the_record_has_none() -> None:
    chunk = poll(0, [(None, 1), (None, 12)])
    chunk.keys[0] = A
    (found,) = started().take(replace(chunk, keys={0: A, 1: B}))
    assert spans(found.windows) == [(A, 0, 10, 1)]


def test_events_for_a_full_window_fail() -> None:
    windows = started(plan(max_rows_per_window=2))
    chunk = take(windows, 0, [(A, 1), (A, 2), (A, 3), (B, 3), (A, 10)])
    assert [(event.kind, event.id) for event in chunk.events.refused] == [(FailureKind.WINDOW_FULL, "e2")]
    assert spans(chunk.windows) == [(A, 0, 10, 2), (B, 0, 10, 1)] and chunk.windows[0].dropped == 1


# ---- replay


def committed_after(windows: WindowStage, *polls: tuple[int, list[tuple[bytes | None, int] | None]]) -> Committed:
    last = None
    for offset, events in polls:
        last = take(windows, offset, events)
    assert last is not None
    return Committed(last.next_offset, last.metadata)


def test_another_worker_replays_from_the_oldest_open_window_and_emits_nothing_twice() -> None:
    before = started()
    committed = committed_after(before, (0, [(A, 1), (A, 12), None, (None, 13), (B, 14)]))
    after = stage()
    assert after.restore({P0: committed}) == {P0: 1}
    assert after.status()[P0].replaying == 5 and after.metadata({P0: 3}) == {}
    assert after.take(poll(1, [(A, 12), None])) == []
    chunk = take(after, 3, [(None, 13), (B, 14), (A, 15), (A, 20)])
    assert chunk.num_records == 2 and not chunk.events.refused and len(chunk.events.accepted) == 2
    assert spans(chunk.windows) == [(A, 10, 20, 2), (B, 10, 20, 1)]
    assert after.status()[P0].replaying is None


def test_closed_windows_that_a_replay_sees_in_part_are_not_emitted_again() -> None:
    before = started()
    committed = committed_after(before, (0, [(A, 1), (B, 12), (A, 3), (A, 13), (A, 25), (A, 24)]))
    assert before.status()[P0].open_windows == 1
    state = stage()
    assert state.restore({P0: committed}) == {P0: 4}
    assert state.take(poll(4, [(A, 25), (A, 24)])) == []
    assert state.metadata({P0: 6}) == {}, "asking for it does not end the replay"
    state.advance({P0: 6})
    assert state.metadata({P0: 6}) == {P0: committed.metadata}, (
        "it is available again as soon as the position is reached"
    )
    assert state.status()[P0].replaying is None


def test_a_worker_that_still_has_the_state_keeps_it() -> None:
    windows = started()
    committed = committed_after(windows, (0, [(A, 1), (A, 12)]))
    assert windows.restore({P0: committed}) == {P0: 2}
    assert spans(take(windows, 2, [(A, 20)]).windows) == [(A, 10, 20, 1)]


def test_a_worker_ahead_of_the_committed_state_rebuilds_it() -> None:
    windows = started()
    committed = committed_after(windows, (0, [(A, 1), (A, 2)]))
    take(windows, 2, [(A, 3), (A, 12)])
    assert windows.restore({P0: committed}) == {P0: 0}
    assert windows.take(poll(0, [(A, 1), (A, 2)])) == []
    assert spans(take(windows, 2, [(A, 3), (A, 12)]).windows) == [(A, 0, 10, 3)]


def test_without_open_windows_nothing_is_replayed_and_the_watermark_is_restored() -> None:
    windows = stage()
    assert windows.restore({P0: Committed(9, f"forebay1 {plan().digest} 9 {JULY + 50} {JULY + 50}")}) == {P0: 9}
    chunk = take(windows, 9, [(A, 30), (A, 51)])
    assert [event.kind for event in chunk.events.refused] == [FailureKind.LATE]


def test_transaction_markers_at_the_end_do_not_keep_a_replay_open() -> None:
    before = started()
    committed = Committed(7, committed_after(before, (0, [(A, 1)])).metadata)
    windows = stage()
    assert windows.restore({P0: committed}) == {P0: 0}
    assert windows.take(poll(0, [(A, 1)])) == []
    windows.advance({P0: 6})
    assert windows.metadata({P0: 6}) == {}
    windows.advance({P0: 8, P1: 1})
    assert windows.metadata({P0: 8, P1: 1}) == {P0: committed.metadata}, "P1 is not assigned"


def test_positions_pass_records_without_events_and_never_go_back() -> None:
    windows = stage()
    windows.restore({P0: Committed(4, "")})
    windows.advance({P0: 7})
    assert windows.metadata({P0: 7}) == {P0: f"forebay1 {plan().digest} 7 - -"}
    windows.advance({P0: 5})
    assert windows.restore({P0: Committed(7, windows.metadata({P0: 7})[P0])}) == {P0: 7}
    assert take(windows, 7, [(A, 1)]).next_offset == 8


def test_a_replay_that_differs_from_the_committed_state_is_refused_even_if_no_event_follows() -> None:
    committed = committed_after(started(), (0, [(A, 1), (A, 7)]))
    windows = stage()
    windows.restore({P0: committed})
    assert windows.take(poll(0, [(A, 1)])) == []
    with pytest.raises(BrokerError, match="from offset 0 to 2 do not lead to the committed watermark") as caught:
        windows.advance({P0: 2})
    assert caught.value.kind == "window_state_lost"


def test_a_log_that_has_lost_events_is_refused() -> None:
    before = started()
    committed = committed_after(before, (0, [(A, 1), (A, 7), (A, 3)]))
    windows = stage()
    windows.restore({P0: committed})
    assert windows.take(poll(2, [(A, 3)])) == []
    with pytest.raises(BrokerError, match="from offset 0 to 3 do not lead to the committed watermark") as caught:
        windows.take(poll(3, [(A, 4)]))
    assert caught.value.kind == "window_state_lost" and "--to-offset 3" in str(caught.value.remedy)


def test_state_of_another_configuration_is_refused_unless_flush_is_set() -> None:
    committed = committed_after(started(), (0, [(A, 1), (B, 2)]))
    other = plan(replace(TUMBLING, size_ms=5, hop_ms=5))
    with pytest.raises(BrokerError, match="open windows of another configuration") as caught:
        stage(other).restore({P0: committed})
    assert caught.value.kind == "window_config_changed"
    windows = stage(replace(other, flush=True))
    assert windows.restore({P0: committed}) == {P0: 0}
    flushed, chunk = windows.take(poll(0, [(A, 1), (B, 2), (A, 3), (A, 4), (A, 6)]))
    assert spans(flushed.windows) == [(A, 0, 5, 1), (B, 0, 5, 1)]
    assert (flushed.num_records, chunk.num_records) == (0, 3)
    assert [event.kind for event in chunk.events.refused] == [FailureKind.LATE, FailureKind.LATE]
    assert windows.status()[P0].open_windows == 1


def test_windows_are_flushed_even_if_no_event_follows() -> None:
    committed = committed_after(started(), (0, [(A, 1), (B, 2)]))
    windows = stage(replace(plan(replace(TUMBLING, size_ms=5, hop_ms=5)), flush=True))
    windows.restore({P0: committed})
    assert windows.take(poll(0, [(A, 1), (B, 2)])) == []
    windows.advance({P0: 2})
    assert windows.metadata({P0: 2}) == {}, "not before the windows are emitted"
    (chunk,) = windows.close_idle(EPOCH, lambda _partition: True)
    assert len(chunk.windows) == 2 and (chunk.num_records, chunk.next_offset) == (0, 2)


def test_metadata_of_a_later_version_is_refused_and_that_of_others_ignored() -> None:
    for metadata in ("forebay2 whatever", "forebay2 01234567 1 2 3 0 4 0", "forebay3 01234567 1 2 3"):
        with pytest.raises(BrokerError, match="this version reads forebay1"):
            stage().restore({P0: Committed(3, metadata)})
    assert stage().restore({P0: Committed(3, "set by hand")}) == {P0: 3}


def test_a_worker_without_windows_refuses_only_open_windows() -> None:
    committed = committed_after(started(), (0, [(A, 1), (B, 2)]))
    with pytest.raises(BrokerError, match="configured without"):
        WithoutWindows().restore({P0: committed})
    closed = Committed(2, f"forebay1 {plan().digest} 2 5 5")
    assert WithoutWindows().restore({P0: closed, P1: None}) == {P0: 2, P1: None}


# ---- what closes all windows


@pytest.mark.parametrize(
    ("limits", "events"),
    [
        ({"max_open_windows": 2}, [(A, 1), (B, 2), (b"c", 3)]),
        ({"max_buffered_rows": 2}, [(A, 1), (A, 2), (B, 3)]),
        ({"max_buffered_bytes": 1000}, [(A, 1), (b"k" * 100, 2), (B, 3)]),
        ({"max_replay_records": 2}, [(A, 1), None, (A, 2)]),
    ],
)
def test_exceeding_a_limit_closes_all_windows_and_no_replay_crosses_it(
    limits: dict[str, int], events: list[tuple[bytes, int] | None], caplog: pytest.LogCaptureFixture
) -> None:
    windows = started(plan(**limits))
    chunk = take(windows, 0, events)
    assert sum(window.num_events for window in chunk.windows) == sum(event is not None for event in events)
    ((name, limit),) = limits.items()
    assert f"window.{name} is {limit}" in caplog.text
    assert chunk.metadata == f"forebay1 {plan(**limits).digest} 3 {JULY + 10} {JULY + 10}"
    late = take(windows, 3, [(A, 9), (A, 10)])
    assert [event.kind for event in late.events.refused] == [FailureKind.LATE]


def test_an_idle_partition_closes_its_windows_when_they_are_over_by_the_clock() -> None:
    clock = ManualClock()
    spec = replace(TUMBLING, size_ms=60_000, hop_ms=60_000, out_of_orderness_ms=2000, lateness_ms=3000)
    windows = started(plan(spec), clock)
    take(windows, 0, [(A, 100), (B, 200)])
    read_all = True

    def looked(seconds: float) -> list[WindowChunk]:
        clock.advance(seconds)
        return windows.close_idle(EPOCH, lambda partition: read_all and partition == P0)

    assert looked(4) == [], "it is not idle yet"
    assert looked(50) == [], "the windows are not over"
    assert looked(6) == [], "lateness and out-of-orderness count too"
    read_all = False
    assert looked(10) == [], "there is more to read"
    read_all = True
    (chunk,) = looked(1)
    assert spans(chunk.windows) == [(A, 0, 60_000, 1), (B, 0, 60_000, 1)]
    assert (chunk.num_records, chunk.next_offset, chunk.can_end_commit) == (0, 2, True)
    assert chunk.metadata.split()[2:] == ["2", str(JULY + 63_000), str(JULY + 63_000)]
    assert looked(60) == []


# ---- parts of a micro-batch


def test_split_windows_keep_the_records_in_the_first_or_last_part() -> None:
    windows = started(plan(window=WindowInput(3)))
    chunk = take(windows, 0, [(b"k%d" % key, 1) for key in range(5)] + [(A, 10)])
    size = chunk.windows[0].num_bytes
    assert chunk.size == 5 and chunk.num_bytes == 60 + 5 * size
    assert [chunk.size_within(limit) for limit in (size - 1, 2 * size, 5 * size)] == [0, 2, 5]
    head, tail = chunk.split(2)
    assert (head.num_rows, head.num_records, head.num_bytes, head.can_end_commit) == (2, 6, 60 + 2 * size, True)
    assert (tail.num_rows, tail.num_records, tail.num_bytes, tail.can_end_commit) == (3, 0, 3 * size, True)
    assert (head.is_last_part, tail.is_last_part, head.next_offset, tail.next_offset) == (False, True, 6, 6)
    chunk = replace(chunk, resume=None)
    head, tail = chunk.split(2)
    assert (head.num_rows, head.num_records, head.num_bytes, head.can_end_commit) == (2, 0, 2 * size, False)
    assert tail.num_bytes == 60 + 3 * size
    assert not head.events.accepted
    assert (tail.num_rows, tail.num_records, tail.can_end_commit, tail.next_offset) == (3, 6, True, 6)
    np.testing.assert_array_equal(np.concatenate([head.x_BF, tail.x_BF]), chunk.x_BF)
    assert chunk.x_BF.shape == (5, 6)


def test_the_digest_covers_all_that_decides_the_content_of_a_window() -> None:
    digests = {
        plan().digest,
        plan(replace(TUMBLING, lateness_ms=1)).digest,
        plan(replace(TUMBLING, out_of_orderness_ms=1)).digest,
        plan(window=WindowInput(2)).digest,
        plan(window=WindowInput(3)).digest,
        plan(max_rows_per_window=7).digest,
        plan(timestamps=TimestampBounds(7, 1_000_000)).digest,
        plan(timestamps=TimestampBounds(1000, 7)).digest,
    }
    assert len(digests) == 8
    assert plan(max_open_windows=7).digest == plan(window=COUNTS).digest, "bounds may change"
