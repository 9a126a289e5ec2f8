"""Records as columns are the same sequence as a list of them, with the compiled part and without."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forebay.stream import native
from forebay.stream.core.record_columns import (
    ByteColumn,
    RecordColumns,
    any_headers,
    headers_of,
    keys_of,
    offsets_of,
    timestamps_of,
)
from forebay.stream.core.record_sizes import records_bytes, records_within
from tests.core.build import FakeRecord, columns_of

HEADERS = st.lists(st.tuples(st.text(max_size=3), st.binary(max_size=3)), max_size=2)
RECORDS = st.lists(
    st.builds(
        FakeRecord,
        offset=st.just(0),
        value=st.none() | st.binary(max_size=9),
        timestamp=st.integers(-1, 2**62),
        key=st.none() | st.binary(max_size=3),
        headers=st.just(()) | HEADERS.map(tuple),
    ),
    max_size=7,
).map(lambda records: [replace(record, offset=100 + 2 * index) for index, record in enumerate(records)])


@pytest.fixture(params=["compiled", "in Python"], autouse=True)
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if request.param == "compiled" and native.record_columns is None:
        pytest.skip("the compiled part is not built")
    if request.param != "compiled":
        monkeypatch.setattr(native, "record_columns", None)
    yield


def facts(records: Sequence[Any]) -> list[object]:
    return [(r.offset, r.timestamp, r.key, r.value, tuple(r.headers)) for r in records]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(RECORDS, st.data())
def test_they_are_the_records(records: list[FakeRecord], data: st.DataObject) -> None:
    columns = columns_of(records)
    assert len(columns) == len(records) and facts(columns) == facts(records)
    assert facts([columns[index] for index in range(-len(records), len(records))]) == facts(records * 2)
    part = data.draw(st.slices(len(records)))
    assert facts(columns[part]) == facts(records[part])
    assert list(columns.values[part]) == [record.value for record in records[part]]
    rows = sorted(data.draw(st.sets(st.integers(0, max(0, len(records) - 1)), max_size=len(records))))
    assert facts(columns.take(np.array(rows, dtype=np.intp))) == facts([records[row] for row in rows])
    mask = np.array([row in rows for row in range(len(records))], dtype=np.bool_)
    assert facts(columns.take(mask)) == facts([records[row] for row in rows])
    assert facts(RecordColumns.joined([columns[:2], columns[2:], columns])) == facts(records * 2)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(RECORDS, st.integers(0, 400))
def test_their_sizes_and_columns_are_those_of_the_records(records: list[FakeRecord], num_bytes: int) -> None:
    columns = columns_of(records)
    assert records_bytes(columns) == records_bytes(records)
    assert records_within(columns, num_bytes) == records_within(records, num_bytes)
    assert columns.values.longest() == max((len(record.value or b"") for record in records), default=0)
    for of in (offsets_of, timestamps_of):
        assert of(columns).dtype == np.int64 and of(columns).tolist() == of(records).tolist()
    assert keys_of(columns) == keys_of(records)
    assert any_headers(columns) == any_headers(records)
    assert [tuple(headers) for headers in headers_of(columns)] == [tuple(record.headers) for record in records]


def test_a_string_outside_its_buffer_is_refused() -> None:
    if native.record_columns is None:
        return  # a slice in Python is always inside
    for buffer, begin, length in ((1, 0, 1), (-1, 0, 1), (0, -1, 1), (0, 2, 2), (0, 2**62, 2**62), (0, 4, 0)):
        column = ByteColumn(
            [b"abc"],
            *(np.array([number]) for number in (buffer,)),
            begin_N=np.array([begin]),
            length_N=np.array([length]),
        )
        with pytest.raises(ValueError, match="not in its buffer"):
            column.to_list()
    short = ByteColumn([b"abc"], np.array([0]), begin_N=np.array([0, 0]), length_N=np.array([1]))
    with pytest.raises(ValueError, match="same number"):
        short.to_list()
