"""Windows that close together are emitted in slices: wherever a worker dies between two, each window is emitted once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.schemas.errors import BrokerError
from forebay.stream.core.records import Committed
from forebay.stream.eventtime.spec import WindowSpec
from forebay.stream.eventtime.stage import WindowStage
from forebay.stream.eventtime.window_chunk import WindowChunk
from tests.conftest import examples
from tests.core.build import EPOCH, P0, ManualClock
from tests.eventtime.build import TUMBLING, plan, poll, stage
from tests.eventtime.test_partition_windows import described, specs

Log = list[tuple[bytes | None, int]]


class Commit(NamedTuple):
    """One commit: the position with its state, the windows, and the number of events with an outcome."""

    state: Committed
    windows: list[object]
    num_events: int


class Cut(NamedTuple):
    """The number of events in a poll, of events in a poll of a replay, and of windows in a slice."""

    poll: int
    replay: int
    slice: int


@st.composite
def logs(draw: st.DrawFn) -> Log:
    steps = draw(
        st.lists(
            st.tuples(st.sampled_from([b"a", b"b", b"c", b"d", None]), st.integers(-20, 20)), min_size=1, max_size=40
        )
    )
    t, found = 20, []
    for key, step in steps:
        found.append((key, max(0, t + step)))
        t = max(t, t + step)
    return found


def sliced(part: WindowChunk, size: int) -> Iterator[WindowChunk]:
    while part.size > size:
        head, part = part.split(size)
        yield head
    yield part


def committed(windows: WindowStage, clock: ManualClock, log: Log, at: int, head: int, cut: Cut) -> Iterator[Commit]:
    """Read the log from `at` on; then the partition is idle. Polls before `head` belong to a replay."""
    parts: list[WindowChunk] = []
    while at < len(log):
        end = min(at + cut.replay, head) if at < head else (at // cut.poll + 1) * cut.poll
        if end == head and cut.replay % 2:
            end = (head // cut.poll + 1) * cut.poll  # a poll over the head
        parts = windows.take(poll(at, log[at:end]))
        at = min(end, len(log))
        yield from commits(parts, cut)
    clock.advance(100_000)
    yield from commits(windows.close_idle(EPOCH, lambda partition: True), cut)


def commits(parts: list[WindowChunk], cut: Cut) -> Iterator[Commit]:
    for part in parts:
        for piece in sliced(part, cut.slice):
            assert piece.can_end_commit
            outcomes = len(piece.events.accepted) + len(piece.events.refused)
            assert outcomes == piece.num_records
            yield Commit(Committed(piece.next_offset, piece.metadata), list(map(described, piece.windows)), outcomes)


@settings(max_examples=examples(120), deadline=None)
@given(
    specs(),
    logs(),
    st.builds(Cut, st.integers(1, 12), st.integers(1, 12), st.integers(1, 4)),
    st.integers(1, 6),
    st.lists(st.integers(0, 12), min_size=1, max_size=4),
    st.booleans(),
)
def test_a_worker_that_takes_over_between_two_slices_continues_with_the_next(
    spec: WindowSpec, log: Log, cut: Cut, max_open: int, deaths: list[int], same_worker: bool
) -> None:
    of = plan(spec, max_open_windows=max_open)
    clock = ManualClock()
    windows = stage(of, clock)
    windows.restore({P0: None})
    expected = list(committed(windows, clock, log=log, at=0, head=0, cut=cut))

    windows, clock, at, done = stage(of, clock := ManualClock()), clock, 0, list[Commit]()
    windows.restore({P0: None})
    for death in deaths:
        # Not further: a worker that continues still has the windows as they were then.
        head = done[-1].state.offset if done else 0
        run = list(islice(committed(windows, clock, log=log, at=at, head=head, cut=cut), death + 1))
        if not run:
            break
        done += run
        if not same_worker:
            windows, clock = stage(of, clock := ManualClock()), clock
        start = windows.restore({P0: done[-1].state})[P0]
        assert start is not None
        at = start
    done += committed(windows, clock, log=log, at=at, head=done[-1].state.offset, cut=cut)
    assert [part for commit in done for part in commit.windows] == [
        part for commit in expected for part in commit.windows
    ]
    assert sum(commit.num_events for commit in done) == len(log)
    assert done[-1].state == expected[-1].state


def test_the_remaining_windows_are_emitted_as_soon_as_the_position_is_reached() -> None:
    windows = stage()
    windows.restore({P0: None})
    (part,) = windows.take(poll(0, [(b"a", 1), (b"b", 2), (b"c", 3), (b"a", 12)]))
    head, rest = part.split(2)
    again = stage()
    assert again.restore({P0: Committed(4, head.metadata)}) == {P0: 0}
    again.advance({P0: 4})
    assert again.metadata({P0: 4}) == {}, "there are more windows to emit at this position"
    (found,) = again.take(poll(0, [(b"a", 1), (b"b", 2), (b"c", 3), (b"a", 12)]))
    assert list(map(described, found.windows)) == list(map(described, rest.windows))
    assert (found.num_records, found.next_offset, found.metadata) == (0, 4, part.metadata)


def test_a_log_that_does_not_close_the_windows_again_is_refused() -> None:
    windows = stage()
    windows.restore({P0: None})
    (part,) = windows.take(poll(0, [(b"a", 1), (b"b", 2), (b"c", 3), (b"a", 12)]))
    head, _ = part.split(2)
    again = stage()
    again.restore({P0: Committed(4, head.metadata)})
    with pytest.raises(BrokerError, match="close 1 windows, but 2 were emitted already") as failed:
        again.take(poll(0, [(b"a", 1), (b"a", 2), (b"a", 3), (b"a", 12)]))
    assert failed.value.kind == "window_state_lost"


def test_another_configuration_is_refused_between_slices() -> None:
    windows = stage()
    windows.restore({P0: None})
    (part,) = windows.take(poll(0, [(b"a", 1), (b"b", 2), (b"a", 12)]))
    head, _ = part.split(1)
    other = plan(replace(TUMBLING, size_ms=20, hop_ms=20))
    with pytest.raises(BrokerError, match="of another"):
        stage(other).restore({P0: Committed(3, head.metadata)})
    flushing = stage(replace(other, flush=True))
    assert flushing.restore({P0: Committed(3, head.metadata)}) == {P0: 0}
