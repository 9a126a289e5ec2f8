"""The sums are right whenever a process dies, whatever is read again, and even if a member presumed dead still writes.

The machine below has a source, a changelog and an output, all of them logs that only grow. Members come and go; each may die
between any two records that it writes.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.schemas.aggregates import LATE
from forebay.stream.aggregate.delta import CellKey, Delta
from forebay.stream.aggregate.state import PartitionState, Rows, merge_changelog
from tests.aggregate.build import MODEL_ERROR, NOT_JSON, PREDICTED, TIMING, at, delta
from tests.conftest import examples

Source = list[tuple[int, Delta | None]]


class Member:
    """A process that owns the partition, or believes so."""

    def __init__(self, changelog: Rows, source: Source) -> None:
        rows: dict[bytes, bytes] = {}
        merge_changelog(rows, changelog)
        self.state = PartitionState.restore(0, rows)
        self.source = source
        self.read = self.state.next_offset or 0

    def count(self, number: int, back: int) -> Rows:
        """Count the next records, after reading `back` of them again. Return the records to write."""
        start = max(0, self.read - back)
        for offset in range(start, min(self.read + number, len(self.source))):
            self.state.apply(offset, *self.source[offset])
        self.read = self.state.next_offset or 0
        return self.state.take_changes()


def last_revisions(output: Rows) -> dict[bytes, dict[str, Any]]:
    found: dict[bytes, dict[str, Any]] = {}
    for key, data in output:
        value = orjson.loads(data or b"")
        if value["revision"] >= found.get(key, {"revision": 0})["revision"]:
            if key in found and found[key]["revision"] == value["revision"]:
                assert found[key] == value, "one revision, two contents"
            found[key] = value
    return found


def by_kind(rows: dict[bytes, dict[str, Any]]) -> Counter[tuple[str, str]]:
    sums: Counter[tuple[str, str]] = Counter()
    for row in rows.values():
        sums[row["model"], row["kind"]] += row["count"]
    return sums


def slow_reference(source: Source) -> tuple[Counter[tuple[str, str]], Counter[tuple[int, CellKey, str]]]:
    sums: Counter[tuple[str, str]] = Counter()
    windows: Counter[tuple[int, CellKey, str]] = Counter()
    for _, one in source:
        if one is not None:
            sums[one.model, one.cell.kind] += one.count
            windows[one.window_start, one.cell, one.model] += one.count
    return sums, windows


@st.composite
def sources(draw: st.DrawFn) -> Source:
    """Generate deltas of an advancing time; some belong to buckets long ago or far ahead, and some records are not deltas."""
    now, source = 0.0, Source()
    for _ in range(draw(st.integers(1, 25))):
        now += draw(st.sampled_from([0.0, 0.2, 1.0, 7.0]))
        minute = int(now) - draw(st.sampled_from([0, 0, 0, 1, 4, 9, -100]))
        cell = draw(st.sampled_from([PREDICTED, NOT_JSON, MODEL_ERROR]))
        one = delta(minute, cell, draw(st.integers(1, 9)), model=draw(st.sampled_from(["m", "n"])))
        source.append((at(now), draw(st.sampled_from([one, one, one, one, None]))))
    return source


STEPS = st.lists(
    st.one_of(
        # count n records, some of them again; write m of the records (if not all, the member then dies)
        st.tuples(st.just("count"), st.integers(1, 6), st.integers(0, 3), st.integers(0, 8)),
        st.tuples(st.just("emit"), st.integers(0, 20), st.just(0), st.integers(0, 8)),
        st.tuples(st.just("close"), st.integers(0, 20), st.just(0), st.integers(0, 8)),
        st.tuples(st.just("die"), st.just(0), st.just(0), st.just(0)),
    ),
    max_size=25,
)


def run(source: Source, steps: list[tuple[str, int, int, int]], *, zombies: bool) -> tuple[Rows, bool]:
    """Return the output after everything is counted, published and closed; and whether a bucket closed before the end."""
    changelog: Rows = []
    output: Rows = []
    member = Member(changelog, source)
    closed = False
    dead: list[Rows] = []

    def write(log: Rows, rows: Rows, most: int) -> bool:
        """Return whether everything was written."""
        log += rows[:most]
        if most < len(rows) and zombies:
            dead.append(rows[most:])  # still under way
        return most >= len(rows)

    for action, number, back, most in steps:
        alive = True
        state = member.state
        if action == "count":
            alive = write(changelog, member.count(number, back), most)
        elif action == "emit":
            alive = write(output, state.take_updates(now_of(state, number), TIMING), most)
        elif action == "close":
            closing = state.close(now_of(state, number), TIMING)
            if closing is not None:
                closed = True
                for log, rows in (
                    (output, closing.finals),
                    (changelog, closing.position),
                    (changelog, closing.tombstones),
                ):
                    if not write(log, rows, most):
                        alive = False
                        break
                    most -= len(rows)
        else:
            alive = False
        if not alive:
            member = Member(changelog, source)
    # The successor has begun; now what was under way arrives.
    for rows in dead:
        changelog += [(key, value) for key, value in rows if value is not None and b"revision" not in value]
    member = Member(changelog, source)
    changelog += member.count(len(source), 0)
    output += member.state.take_updates(None, TIMING)
    closing = member.state.close(at(1_000_000), TIMING)
    if closing is not None:
        output += closing.finals
        changelog += closing.position + closing.tombstones
    assert Member(changelog, source).state.buckets == {}
    return output, closed


def now_of(state: PartitionState, minutes: int) -> int:
    """Return a time some minutes from the last event, because the sums must be right whatever time a process assumes."""
    return (state.last_timestamp or at(0)) + minutes * 60_000


@pytest.mark.slow
@settings(max_examples=examples(80))
@given(sources(), STEPS)
def test_the_published_sums_equal_the_sums_of_the_deltas(
    source: Source, steps: list[tuple[str, int, int, int]]
) -> None:
    output, closed = run(source, steps, zombies=False)
    sums, windows = slow_reference(source)
    rows = last_revisions(output)
    assert by_kind(rows) == sums
    if not closed:
        found = Counter(
            {
                (row["window_start"], CellKey(row["outcome"], row["stage"], row["kind"]), row["model"]): row["count"]
                for row in rows.values()
                if row["outcome"] != LATE
            }
        )
        assert found == Counter({key: count for key, count in windows.items() if key in found})
        for row in rows.values():
            if row["outcome"] != LATE:
                assert row["events"] == sum(
                    count
                    for (start, _, model), count in found.items()
                    if (start, model) == (row["window_start"], row["model"])
                )


@settings(max_examples=examples(50))
@given(sources(), STEPS)
def test_late_writes_of_a_dead_member_change_nothing(source: Source, steps: list[tuple[str, int, int, int]]) -> None:
    without_closing = [step for step in steps if step[0] != "close"]
    output, _ = run(source, without_closing, zombies=True)
    assert by_kind(last_revisions(output)) == slow_reference(source)[0]
