"""Records as rows of a table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.models.data.input_row import InvalidRow
from forebay.stream.core.records import TopicPartition
from forebay.stream.tables.event_row import EventRow, read_event
from tests.core.build import FakeRecord

PARTITION = TopicPartition("features", 3)


def test_features_and_labels_become_columns() -> None:
    event = b'{"id":7,"timestamp":"1970-01-01T00:00:01Z","features":{"x":1.5,"c":"UA"},"label":1,"model":"m"}'
    row = read_event(PARTITION, FakeRecord(9, event, key=b"N1"))
    assert row == EventRow("features-3@9", {"id": "7", "timestamp": 1000, "key": "N1", "label": 1, "x": 1.5, "c": "UA"})


def test_an_array_of_features_gets_names_and_the_key_of_the_event_is_used() -> None:
    row = read_event(PARTITION, FakeRecord(9, b'{"id":"a","timestamp":5,"key":"k","input":[1,null]}'))
    assert isinstance(row, EventRow)
    assert row.values == {"id": "a", "timestamp": 5, "key": "k", "feature_0": 1, "feature_1": None}


def test_an_image_stays_one_column() -> None:
    row = read_event(PARTITION, FakeRecord(9, b'{"id":"a","timestamp":5,"features":[[1],[2]]}'))
    assert isinstance(row, EventRow) and row.values["features"] == [[1], [2]]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (FakeRecord(1, None), "no value"),
        (FakeRecord(1, b"{"), "not JSON"),
        (FakeRecord(1, b"[1]"), "not an object"),
        (FakeRecord(1, b'{"id":"a","timestamp":5}'), "no features"),
        (FakeRecord(1, b'{"id":"a","timestamp":"now","features":[1]}'), "timestamp"),
        (FakeRecord(1, b'{"id":"a","timestamp":"2026-01-01T00:00:00","features":[1]}'), "no offset"),
        (FakeRecord(1, b'{"id":"a","timestamp":5,"features":[1]}', key=b"\xff"), "key is not UTF-8"),
    ],
)
def test_a_record_that_is_not_an_event_is_an_invalid_row(record: FakeRecord, reason: str) -> None:
    row = read_event(PARTITION, record)
    assert isinstance(row, InvalidRow)
    assert reason in row.reason and row.place == "features-3@1" and row.remedy


@given(st.binary(max_size=60) | st.sampled_from([b'{"features":[', b'{"features":{}}', b'{"features":[1],"id":[]}']))
def test_no_bytes_raise(value: bytes) -> None:
    assert isinstance(read_event(PARTITION, FakeRecord(1, value, key=value)), EventRow | InvalidRow)
