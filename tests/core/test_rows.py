"""Rows of records are events: they can be cut anywhere, and a part that is cut inside a record says so."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from forebay.stream.core.record_sizes import record_bytes
from forebay.stream.core.records import Chunk
from forebay.stream.core.rows import Ints64, RowRecord, RowRecords, distinct_records, position_of, row_of, selected
from tests.core.build import FakeRecord, FakeSource, rows_chunk

COUNTS = st.dictionaries(st.integers(0, 30), st.integers(0, 6), min_size=1, max_size=6).map(
    lambda counts: dict(sorted(counts.items()))
)


def positions(chunk: Chunk) -> list[tuple[int, int]]:
    """Return the positions of all events, valid or not, in the order of the chunk."""
    rejected = {rejection.index: rejection.record for rejection in chunk.rejections}
    valid: Iterator[object] = iter(chunk.records)
    return [position_of(rejected.get(index) or next(valid)) for index in range(chunk.num_records)]


def all_positions(counts: dict[int, int]) -> list[tuple[int, int]]:
    return [(offset, row) for offset, count in counts.items() for row in range(max(1, count))]


@given(st.data(), COUNTS)
def test_a_chunk_with_rows_can_be_cut_anywhere(data: st.DataObject, counts: dict[int, int]) -> None:
    places = all_positions(counts)
    whole = rows_chunk(counts, rejected=data.draw(st.lists(st.sampled_from(places), unique=True)))
    assert positions(whole) == places and whole.ends_record
    rest, parts = whole, []
    while rest.num_records > 1 and data.draw(st.booleans()):
        head, rest = rest.split(data.draw(st.integers(1, rest.num_records - 1)))
        parts.append(head)
    parts.append(rest)

    assert [place for part in parts for place in positions(part)] == places
    assert sum(part.num_bytes for part in parts) == whole.num_bytes
    for part, following in itertools.pairwise(parts):
        last, first = positions(part)[-1][0], positions(following)[0][0]
        assert part.can_end_commit == part.is_last_part == (last != first)
        assert part.next_offset == (last if last == first else last + 1)
        assert part.end_offset == last + 1
        assert following.first_offset == first
    assert parts[-1].ends_record and parts[-1].next_offset == whole.next_offset
    for part in parts:
        assert part.x_BF[:, 0].tolist() == [sum(position_of(record)) for record in part.records]
        assert list(part.ids) == ["{}-{}".format(*position_of(record)) for record in part.records]


@given(st.data(), COUNTS, st.integers(0, 300))
def test_as_many_rows_fit_as_records_of_their_size(data: st.DataObject, counts: dict[int, int], limit: int) -> None:
    rejected = data.draw(st.lists(st.sampled_from(all_positions(counts)), max_size=2))
    chunk = rows_chunk(counts, rejected=rejected)
    sizes = [record_bytes(record) for record in (*chunk.records, *(r.record for r in chunk.rejections))]
    assert chunk.num_bytes == sum(sizes)
    fit = chunk.size_within(limit)
    assert fit == chunk.num_records or fit == limit // 10 or 0 in counts.values()
    without = rows_chunk(counts)
    total = np.cumsum([record_bytes(record) for record in without.records])
    assert without.size_within(limit) == int((total <= limit).sum())


@given(st.data(), COUNTS)
def test_selected_rows_are_those_of_a_list(data: st.DataObject, counts: dict[int, int]) -> None:
    records = rows_chunk(counts).records
    assert isinstance(records, RowRecords)
    chosen = data.draw(st.lists(st.sampled_from(range(len(records))), unique=True).map(sorted))
    taken = selected(records, np.array(chosen, dtype=np.intp))
    assert list(map(position_of, taken)) == [position_of(records[row]) for row in chosen]
    assert isinstance(taken, RowRecords)
    assert taken.offsets().tolist() == [record.offset for record in taken]
    assert taken.timestamps().tolist() == [record.timestamp for record in taken]
    assert taken.of_sources(lambda record: record.key) == [record.key for record in taken]
    # Only the records that are needed are kept.
    known = {record.offset for record in taken}
    assert not chosen or {min(known), max(known)} <= {source.offset for source in taken.sources}
    assert all(min(known) <= source.offset <= max(known) for source in taken.sources)


def test_a_row_has_the_form_of_a_record() -> None:
    source = FakeSource(7, 3, key=b"k", headers=[("a", b"1")])
    row = RowRecord(source, 2)
    assert (row.offset, row.row, row.key, row.timestamp, row.value) == (7, 2, b"k", source.timestamp, b"7/2")
    assert row.headers == [("a", b"1")] and record_bytes(row) == 10
    assert row_of(row) == 2 and position_of(row) == (7, 2)
    plain = FakeRecord(8, b"")
    assert row_of(plain) is None and position_of(plain) == (8, 0)
    records = RowRecords([source, plain], np.array([0, 1]), np.array([2, -1]))
    assert records[1] is plain and list(records)[1] is plain and distinct_records(records) == [source, plain]
    assert distinct_records([plain]) == [plain]


def test_integers_of_an_array_are_python_integers() -> None:
    values = Ints64(np.arange(5))
    assert list(values[1:3]) == [1, 2] and type(values[0]) is int and all(type(value) is int for value in values)
    assert list(selected(values, np.array([0, 4]))) == [0, 4] and selected(["a", "b"], np.array([1])) == ["b"]
    assert len(values) == 5 and max(values) == 4
