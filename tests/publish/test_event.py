"""Rows into events."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal

import orjson
import pytest

from schemas.errors import ConfigError
from stream.publish.event import Columns, EventBuilder, Message
from stream.publish.features import parse_features
from stream.publish.row import Row, RowFault

NOW = 1_700_000_000_000


def build(values: Mapping[str, object], *, line: bytes | None = None, **options: object) -> Message:
    return EventBuilder("file.csv", now_ms=lambda: NOW, **options).build(Row(3, values, line))  # type: ignore[arg-type]


def event(values: Mapping[str, object], **options: object) -> object:
    return orjson.loads(build(values, **options).value)


def test_columns_become_features_and_what_is_missing_is_made() -> None:
    assert event({"a": 1, "b": "x", "c": None, "d": True, "e": 0.5}) == {
        "id": "file.csv:3",
        "timestamp": NOW,
        "features": {"a": 1, "b": "x", "c": None, "d": True, "e": 0.5},
    }


def test_id_and_time_are_taken_by_name_and_leave_the_features_the_key_stays() -> None:
    columns = Columns("flight", "at", "tail")
    message = build({"flight": "F1", "at": "2026-01-01T00:00:00Z", "tail": "N7", "a": 1}, columns=columns)
    assert message.key == b"N7"
    assert orjson.loads(message.value) == {
        "id": "F1",
        "timestamp": "2026-01-01T00:00:00Z",
        "features": {"tail": "N7", "a": 1},
    }


def test_a_whole_event_is_sent_byte_by_byte_as_it_stands() -> None:
    line = b'{"timestamp": 5,  "id": "a", "features": [1.0], "key": "k", "more": 1}'
    assert build(orjson.loads(line), line=line) == Message(b"k", line)


@pytest.mark.parametrize("name", ["features", "input"])
def test_an_event_gets_what_it_lacks(name: str) -> None:
    line = b'{"id": 4, "%b": {"a": 1}}' % name.encode()
    assert event(orjson.loads(line), line=line) == {"id": 4, "timestamp": NOW, name: {"a": 1}}


def test_model_and_deadline_are_written_into_the_event() -> None:
    line = b'{"id":"a","timestamp":5,"features":[1]}'
    assert event(orjson.loads(line), line=line, model="m", deadline_after_ms=250) == {
        "id": "a",
        "timestamp": 5,
        "features": [1],
        "model": "m",
        "deadline_ms": NOW + 250,
    }


def test_what_only_parquet_has() -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    ms = int(moment.timestamp() * 1000)
    naive, nan = moment.replace(tzinfo=None), float("nan")
    values = {"timestamp": moment, "a": Decimal("1.5"), "b": date(2026, 1, 1), "c": naive, "d": nan}
    assert event(values) == {"id": "file.csv:3", "timestamp": ms, "features": {"a": 1.5, "b": ms, "c": ms, "d": None}}


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"id": "a"}, "no features"),
        ({"features": 3}, "features is neither"),
        ({"id": True, "a": 1}, "id is True"),
        ({"id": "", "a": 1}, "id is ''"),
        ({"id": 1.5, "features": []}, "id is 1.5"),
        ({"timestamp": 1.5, "a": 1}, "timestamp is 1.5"),
        ({"feature": [1, 2]}, "column feature is a list"),
        ({"a": {"b": 1}}, "column a is an object"),
        ({"a": float("inf")}, "column a is infinite"),
        ({"a": b"bytes"}, "column a is bytes"),
    ],
)
def test_what_cannot_be_an_event_says_why(values: Mapping[str, object], reason: str) -> None:
    with pytest.raises(RowFault, match=reason) as caught:
        build(values)
    assert caught.value.remedy


def test_a_key_that_is_no_text_is_only_taken_where_it_was_asked_for() -> None:
    assert build({"key": 3, "a": 1}).key is None
    assert build({"key": 3, "a": 1}, columns=Columns(key="key")).key == b"3"
    with pytest.raises(RowFault, match="the key k"):
        build({"k": [1], "features": [1]}, columns=Columns(key="k"))


def test_a_raw_row_passes_untouched() -> None:
    assert EventBuilder("f", now_ms=lambda: NOW).build(Row(1, None, b"{x")) == Message(None, b"{x")


def test_a_column_that_is_not_there_is_told_with_the_nearest() -> None:
    Columns().check(["a"])
    with pytest.raises(ConfigError, match="--id-column 'idd'") as caught:
        Columns(id="idd").check(["id", "x"])
    assert caught.value.remedy == "did you mean 'id'?"


@pytest.mark.parametrize(
    ("text", "features"),
    [
        ("[1, 2.5, null]", [1, 2.5, None]),
        (' {"a": 1}', {"a": 1}),
        ("a=1 b=x c= d=-2.5", {"a": 1, "b": "x", "c": None, "d": -2.5}),
        ("a=1,b=2", {"a": 1, "b": 2}),
        ("name='two words, and a comma' q=\"it's\"", {"name": "two words, and a comma", "q": "it's"}),
        ("a=b=c", {"a": "b=c"}),
    ],
)
def test_features_as_they_are_typed(text: str, features: object) -> None:
    assert parse_features(text) == features


@pytest.mark.parametrize("text", ["", "a", "=1", "a=1 a=2", "[1,", "a='open", '{"a": NaN}'])
def test_features_that_cannot_be_read_are_told_with_examples(text: str) -> None:
    with pytest.raises(ConfigError, match="--features") as caught:
        parse_features(text)
    assert "name=0.5" in str(caught.value.remedy)
