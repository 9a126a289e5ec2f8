"""The windows of a partition against a slow reference, however polls split the events and wherever a replay begins."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.stream.eventtime.checkpoint import CommittedState, MetadataError, decode, encode
from forebay.stream.eventtime.partition_windows import Checkpoint, PartitionWindows
from forebay.stream.eventtime.row_buffer import RowKeeper
from forebay.stream.eventtime.spec import WindowKind, WindowSpec
from forebay.stream.eventtime.types import NO_WATERMARK, Events, Window, columns_of
from tests.conftest import examples
from tests.eventtime import reference
from tests.eventtime.reference import Event

MAX_ROWS = 6


def tumbling(size: int = 10, *, out_of_orderness: int = 0, lateness: int = 0) -> WindowSpec:
    return WindowSpec(
        WindowKind.TUMBLING,
        size_ms=size,
        hop_ms=size,
        gap_ms=0,
        out_of_orderness_ms=out_of_orderness,
        lateness_ms=lateness,
    )


def hopping(size: int = 10, hop: int = 5, *, out_of_orderness: int = 0, lateness: int = 0) -> WindowSpec:
    return WindowSpec(
        WindowKind.HOPPING,
        size_ms=size,
        hop_ms=hop,
        gap_ms=0,
        out_of_orderness_ms=out_of_orderness,
        lateness_ms=lateness,
    )


def session(gap: int = 5, longest: int = 100, *, out_of_orderness: int = 0, lateness: int = 0) -> WindowSpec:
    return WindowSpec(
        WindowKind.SESSION,
        size_ms=longest,
        hop_ms=0,
        gap_ms=gap,
        out_of_orderness_ms=out_of_orderness,
        lateness_ms=lateness,
    )


@st.composite
def specs(draw: st.DrawFn) -> WindowSpec:
    delays = {"out_of_orderness": draw(st.integers(0, 8)), "lateness": draw(st.integers(0, 8))}
    match draw(st.sampled_from(WindowKind)):
        case WindowKind.TUMBLING:
            return tumbling(draw(st.integers(1, 12)), **delays)
        case WindowKind.HOPPING:
            size = draw(st.integers(1, 12))
            return hopping(size, draw(st.integers(1, size)), **delays)
    gap = draw(st.integers(1, 8))
    return session(gap, draw(st.integers(gap, 25)), **delays)


@st.composite
def logs(draw: st.DrawFn) -> list[Event]:
    """Generate events of few keys, mostly in order, some much older, with gaps between their offsets."""
    steps = draw(
        st.lists(st.tuples(st.integers(1, 3), st.sampled_from([b"a", b"b", b"c"]), st.integers(-25, 30)), max_size=60)
    )
    offset = t = 0
    found = []
    for skip, key, step in steps:
        offset += skip
        at = max(0, t + step)
        if step <= 12:  # a step back is that event's alone
            t = max(t, at)
        found.append(Event(offset, key, at))
    return found


def keeper(keep_last: int = 0) -> RowKeeper:
    return RowKeeper(1, keep_last=keep_last, max_rows=MAX_ROWS)


def machine(spec: WindowSpec, at: Checkpoint | None = None, keep_last: int = 0) -> PartitionWindows:
    if at is None:
        return PartitionWindows(spec, keeper(keep_last), head=0)
    return PartitionWindows(spec, keeper(keep_last), head=at.replay_from, watermark=at.watermark_before)


def feed(windows: PartitionWindows, events: list[Event]) -> reference.Result:
    """Add one poll. The feature of an event is its offset, so that windows show their content."""
    result = reference.Result()
    if not events:
        return result
    x_NF = np.array([[event.offset] for event in events], dtype=np.float32)
    columns = Events([e.offset for e in events], [e.key for e in events], [e.t for e in events], x_NF)
    added = windows.add(columns, events[-1].offset + 1)
    result.late = [events[index].offset for index in added.late]
    result.full = [events[index].offset for index in added.full]
    result.closed = [(-1, *described(window)) for window in added.closed]
    return result


def described(window: Window) -> tuple[bytes, int, int, tuple[int, ...], int]:
    x_NF, t_N = columns_of([window], 1)
    order = np.argsort(t_N, kind="stable")
    return window.key, window.start, window.end, tuple(int(x) for x in x_NF[order, 0]), window.dropped


def unordered(result: reference.Result) -> tuple[list[int], list[int], list[Any]]:
    return result.late, result.full, sorted(window[1:] for window in result.closed)


def cut(events: list[Event], indices: list[int]) -> list[list[Event]]:
    bounds = [0, *sorted(index % (len(events) + 1) for index in indices), len(events)]
    return [events[bounds[at] : bounds[at + 1]] for at in range(len(bounds) - 1)]


@settings(max_examples=examples(150))
@given(specs(), logs(), st.lists(st.integers(0, 60), max_size=4))
def test_windows_agree_with_the_reference_however_polls_split_the_events(
    spec: WindowSpec, events: list[Event], indices: list[int]
) -> None:
    windows, result = machine(spec), reference.Result()
    for poll in cut(events, indices):
        part = feed(windows, poll)
        result.late += part.late
        result.full += part.full
        result.closed += part.closed
    expected, still_open, watermark = reference.windows(spec, events, max_rows=MAX_ROWS)
    assert unordered(result) == unordered(expected)
    assert [window[3] for window in result.closed] == [window[3] for window in expected.closed], (
        "in the order of their ends"
    )
    assert windows.watermark == (NO_WATERMARK if watermark is None else watermark)
    assert windows.num_windows == len(still_open)
    assert windows.num_rows == sum(len(window.events) for window in still_open)
    num_bytes = windows.num_bytes
    checkpoint = windows.checkpoint()
    assert checkpoint.replay_from == min(
        (e.offset for window in still_open for e in window.events), default=windows.head
    )
    assert all(window.end <= windows.max_end_ms() for window in still_open)
    closed = windows.close_all()
    assert sorted(map(described, closed)) == sorted(map(reference.described, still_open))
    assert num_bytes == sum(window.num_bytes for window in closed)
    assert (windows.num_windows, windows.num_rows, windows.num_bytes) == (0, 0, 0)
    assert windows.checkpoint().replay_from == windows.head


@settings(max_examples=examples(150))
@given(specs(), logs(), st.integers(0, 60), st.integers(0, 3))
def test_a_replay_continues_as_if_nothing_had_happened(
    spec: WindowSpec, events: list[Event], index: int, keep_last: int
) -> None:
    """After a crash at any place, a replay from the checkpoint emits nothing up to the head, and the same from there on."""
    before, after = events[: index % (len(events) + 1)], events[index % (len(events) + 1) :]
    unbroken = machine(spec, keep_last=keep_last)
    feed(unbroken, before)
    checkpoint = unbroken.checkpoint()
    again = machine(spec, checkpoint, keep_last)
    feed(again, [event for event in before if event.offset >= checkpoint.replay_from])
    assert again.watermark == checkpoint.watermark
    again.head = checkpoint.head
    assert again.checkpoint() == checkpoint
    assert (again.num_windows, again.num_rows) == (unbroken.num_windows, unbroken.num_rows)
    expected, found = feed(unbroken, after), feed(again, after)
    assert (found.late, found.full, found.closed) == (expected.late, expected.full, expected.closed)
    assert again.checkpoint() == unbroken.checkpoint()
    assert list(map(described, again.close_all())) == list(map(described, unbroken.close_all()))


@settings(max_examples=examples(100))
@given(specs(), logs(), st.integers(0, 60))
def test_windows_closed_early_are_never_emitted_again(spec: WindowSpec, events: list[Event], index: int) -> None:
    """After all windows were closed early, no emitted window is emitted again, whatever follows."""
    at = index % (len(events) + 1)
    windows = machine(spec)
    emitted = [window[1:4] for window in feed(windows, events[:at]).closed]
    emitted += [described(window)[:3] for window in windows.close_all()]
    checkpoint = windows.checkpoint()
    assert checkpoint.replay_from == checkpoint.head
    again = machine(spec, checkpoint)
    emitted += [window[1:4] for window in feed(again, events[at:]).closed]
    emitted += [described(window)[:3] for window in again.close_all()]
    assert len(emitted) == len(set(emitted))


@settings(max_examples=examples(100))
@given(specs(), logs(), st.integers(1, 5))
def test_a_sequence_keeps_at_least_its_last_events_and_not_many_more(
    spec: WindowSpec, events: list[Event], keep_last: int
) -> None:
    windows, all_of_them = (
        machine(spec, keep_last=keep_last),
        PartitionWindows(spec, RowKeeper(1, keep_last=0, max_rows=1000), head=0),
    )
    trimmed, whole = feed(windows, events), feed(all_of_them, events)
    assert not trimmed.full and trimmed.late == whole.late
    for short, long in zip(trimmed.closed, whole.closed, strict=True):
        assert short[1:4] == long[1:4]
        assert short[4][-keep_last:] == long[4][-keep_last:]
        assert len(short[4]) < 2 * keep_last or len(short[4]) == len(long[4]) == 1


def feed_one_key(spec: WindowSpec, *times: int) -> reference.Result:
    return feed(machine(spec), [Event(offset, b"k", t) for offset, t in enumerate(times)])


@pytest.mark.parametrize(
    ("spec", "times", "closed", "late"),
    [
        # An event at the end of a window is in the next window and closes the first.
        (tumbling(10), [0, 9, 10], [(0, 10)], []),
        (tumbling(10), [0, 9], [], []),
        (hopping(10, 5), [4, 5, 10], [(-5, 5), (0, 10)], []),
        (hopping(10, 10), [9, 10], [(0, 10)], []),
        # An event exactly the gap after the last one begins a session of its own.
        (session(5), [0, 4, 9], [(0, 9)], []),
        (session(5), [0, 4, 8, 13], [(0, 13)], []),
        # A session never crosses a multiple of its maximum length.
        (session(5, 10), [7, 9, 10, 20], [(7, 10), (10, 15)], []),
        # An event merges two sessions.
        (session(5, out_of_orderness=6), [0, 6, 3, 30], [(0, 11)], []),
        # Out-of-orderness delays closing; lateness delays it further.
        (tumbling(10, out_of_orderness=3), [0, 12], [], []),
        (tumbling(10, out_of_orderness=3), [0, 13, 9], [(0, 10)], [2]),
        (tumbling(10, lateness=3), [0, 12, 9, 13], [(0, 10)], []),
        (tumbling(10, lateness=3), [0, 13, 9], [(0, 10)], [2]),
        (hopping(10, 5), [0, 5, 4], [(-5, 5)], []),
        (session(5), [0, 6, 2], [(0, 5)], []),
        (session(5), [0, 6, 1], [(0, 5)], [2]),
    ],
)
def test_boundaries(spec: WindowSpec, times: list[int], closed: list[tuple[int, int]], late: list[int]) -> None:
    """Check each row of the table in docs/windows.md."""
    result = feed_one_key(spec, *times)
    assert [(start, end) for _, _, start, end, _, _ in result.closed] == closed
    assert result.late == late


def test_a_full_window_counts_the_events_that_it_drops() -> None:
    result = feed_one_key(tumbling(10), *range(8), 10)
    assert result.full == [6, 7]
    assert result.closed == [(-1, b"k", 0, 10, tuple(range(6)), 2)]


@given(st.integers(0, 2**62), st.integers(0, 1000), st.integers(0, 2**50), st.integers(0, 2**50))
def test_a_checkpoint_survives_encoding_as_metadata(head: int, back: int, before: int, further: int) -> None:
    state = CommittedState("01234567", Checkpoint(head, max(0, head - back), before, before + further))
    text = encode(state)
    assert decode(head, text) == state and len(text) < 120 and text.isascii()
    listed = CommittedState("01234567", state.checkpoint, tuple(range(max(0, head - back), head, 7)))
    assert decode(head, encode(listed)) == listed
    fresh = CommittedState("01234567", Checkpoint(head, head, NO_WATERMARK, NO_WATERMARK))
    assert decode(head, encode(fresh)) == fresh


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "forebay2 01234567 1 2 3",
        "forebay1 01234567 x 2 3",
        "forebay1 01234567 9 2 3",
        "forebay1 01234567 1 4 3",
        "forebay1 01234567 1 2 3 x",
        "forebay1 01234567 1 2 3 2,2",
        "forebay1 01234567 1 2 3 -1",
        "forebay1 01234567 1 2 3 1 1",
    ],
)
def test_metadata_of_other_programs_is_refused(text: str) -> None:
    with pytest.raises(MetadataError):
        decode(5, text)
    assert decode(5, "") is None


@pytest.mark.parametrize(
    "spec",
    [
        WindowSpec(WindowKind.HOPPING, size_ms=1000, hop_ms=1, gap_ms=0, out_of_orderness_ms=0, lateness_ms=0),
        WindowSpec(WindowKind.SESSION, size_ms=10**6, hop_ms=0, gap_ms=5, out_of_orderness_ms=2000, lateness_ms=0),
    ],
)
def test_windows_of_one_key_share_its_bytes(spec: WindowSpec) -> None:
    windows = machine(spec)
    for offset in range(50):
        key = b"".join([b"k" * 1000])  # bytes of its own, as those of each record are
        feed(windows, [Event(offset, key, 10 * offset)])
    closed = windows.close_all()
    assert len(closed) >= 50 and len({id(window.key) for window in closed}) == 1
