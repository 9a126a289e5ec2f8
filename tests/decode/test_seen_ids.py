"""The ids of the last events, against a slow reference that reads the log once, however often a worker rewinds."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.stream.decode.seen_ids import BLOCK_EVENTS, MAX_ID_CHARS, DuplicateWindow, SeenIds


class Row(NamedTuple):
    id: str
    offset: int
    time: int
    may_repeat: bool


ROWS = st.lists(
    st.tuples(
        st.sampled_from("abcdefgh"), st.integers(1, 3), st.integers(-3, 9), st.sampled_from([False] * 9 + [True])
    ),
    min_size=1,
    max_size=60,
)


def log_of(drawn: list[tuple[str, int, int, bool]]) -> list[Row]:
    """Return rows with increasing offsets, which have gaps, and times that are not always in order."""
    rows, offset, time = [], 0, 100
    for name, gap, step, may_repeat in drawn:
        offset, time = offset + gap, time + step
        # Every other id is too long to be remembered as it is.
        rows.append(Row(name * (1 if name < "e" else MAX_ID_CHARS + 1), offset, time, may_repeat))
    return rows


def reference(rows: list[Row], window: DuplicateWindow) -> list[int | None]:
    """Return for each row the offset of the event that it repeats, from one pass that forgets nothing."""
    accepted: list[tuple[str, int, int]] = []
    found: list[int | None] = []
    latest = -(10**9)
    for row in rows:
        now = max(latest, row.time)
        inside = [
            entry for entry in accepted[-window.max_events :] if not window.max_ms or now - entry[2] <= window.max_ms
        ]
        known = next((offset for key, offset, _ in reversed(inside) if key == row.id), None)
        if known is None or row.may_repeat:
            latest = now
            accepted.append((row.id, row.offset, now))
            known = None
        found.append(known)
    return found


@given(drawn=ROWS, max_events=st.integers(1, 12), max_ms=st.sampled_from([0, 1, 10, 40]), data=st.data())
def test_a_rewind_makes_no_difference(
    drawn: list[tuple[str, int, int, bool]], max_events: int, max_ms: int, data: st.DataObject
) -> None:
    """Poll, commit and rewind in any order: each row is judged as in one pass, and memory stays within its limit."""
    rows, window = log_of(drawn), DuplicateWindow(max_events, max_ms)
    expected, seen = reference(rows, window), SeenIds(window)
    position = committed = 0
    for _ in range(3 * len(rows)):
        match data.draw(st.sampled_from(["poll", "poll", "poll", "commit", "rewind"])):
            case "poll":
                part = rows[position : position + data.draw(st.integers(1, 20))]
                found = seen.take(
                    [row.id for row in part],
                    [row.offset for row in part],
                    [row.time for row in part],
                    may_repeat=lambda index, part=part: part[index].may_repeat,  # type: ignore[misc]
                )
                assert [found.get(index) for index in range(len(part))] == expected[position : position + len(part)]
                position += len(part)
            case "commit":
                committed = data.draw(st.integers(committed, position))
                seen.forget_before(rows[committed - 1].offset + 1 if committed else 0)
                assert len(seen) <= max_events + BLOCK_EVENTS + position - committed
            case _:
                position = committed
        if position == len(rows) == committed:
            break


def test_what_is_out_of_the_window_is_forgotten_once_it_is_committed() -> None:
    seen = SeenIds(DuplicateWindow(2 * BLOCK_EVENTS))
    for first in range(0, 100 * BLOCK_EVENTS, BLOCK_EVENTS):
        offsets = range(first, first + BLOCK_EVENTS)
        assert not seen.take([f"id-{offset}" for offset in offsets], offsets, offsets)
        if first < 50 * BLOCK_EVENTS:
            assert len(seen) == first + BLOCK_EVENTS, "nothing is committed, so a rewind may need everything"
        else:
            seen.forget_before(first + BLOCK_EVENTS)
            assert len(seen) <= 3 * BLOCK_EVENTS
    assert len(seen._numbers) == len(seen)


def test_the_window_in_time_follows_the_records() -> None:
    seen = SeenIds(DuplicateWindow(1_000_000, max_ms=10))
    assert not seen.take(["a"], [0], [100])
    assert seen.take(["a", "a"], [1, 2], [105, 110]) == {0: 0, 1: 0}, "the first event counts, not the last duplicate"
    assert not seen.take(["a"], [3], [111])
    assert seen.take(["a"], [4], [50]) == {0: 3}, "records whose timestamps are late find what is in the window"


@pytest.mark.parametrize("length", [MAX_ID_CHARS, MAX_ID_CHARS + 1, 100_000])
def test_ids_of_any_length_are_compared_exactly(length: int) -> None:
    seen = SeenIds(DuplicateWindow(10))
    ids = ["x" * (length - 1) + "a", "x" * (length - 1) + "b", "short", "x" * (length - 1) + "a"]
    assert seen.take(ids, range(4), range(4)) == {3: 0}
    assert all(len(key) <= MAX_ID_CHARS for key in seen._numbers)
