"""Conversion of rows to events."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
import pytest

from forebay.models.data.input_row import InputRow
from forebay.models.data.values import Instant, LocalTime, Unreadable
from forebay.schemas.errors import ConfigError
from forebay.stream.publish.event_builder import Columns, EventBuilder, Message
from forebay.stream.publish.event_times import TimeRule, parse_zone
from forebay.stream.publish.features import parse_features
from forebay.stream.publish.row_fault import RowFault

NOW = 1_700_000_000_000


def build(values: Mapping[str, object], *, line: bytes | None = None, **options: object) -> Message:
    return EventBuilder("file.csv", now_ms=lambda: NOW, **options).build(InputRow(3, values, line))  # type: ignore[arg-type]


def event(values: Mapping[str, object], **options: object) -> Any:
    return orjson.loads(build(values, **options).value)


def test_columns_become_features_and_missing_fields_are_added() -> None:
    assert event({"a": 1, "b": "x", "c": None, "d": True, "e": 0.5}) == {
        "id": "file.csv:3",
        "timestamp": NOW,
        "features": {"a": 1, "b": "x", "c": None, "d": True, "e": 0.5},
    }


def test_the_id_and_time_columns_leave_the_features_and_the_key_column_stays() -> None:
    columns = Columns("flight", "at", "tail")
    message = build({"flight": "F1", "at": "2026-01-01T00:00:00Z", "tail": "N7", "a": 1}, columns=columns)
    assert message.key == b"N7"
    assert orjson.loads(message.value) == {
        "id": "F1",
        "timestamp": "2026-01-01T00:00:00Z",
        "features": {"tail": "N7", "a": 1},
    }


def test_a_complete_event_is_sent_unchanged() -> None:
    line = b'{"timestamp": 5,  "id": "a", "features": [1.0], "key": "k", "more": 1}'
    assert build(orjson.loads(line), line=line) == Message(b"k", line)


@pytest.mark.parametrize("name", ["features", "input"])
def test_missing_fields_of_an_event_are_added(name: str) -> None:
    line = b'{"id": 4, "%b": {"a": 1}}' % name.encode()
    assert event(orjson.loads(line), line=line) == {"id": "4", "timestamp": NOW, name: {"a": 1}}


def test_model_and_deadline_are_written_into_the_event() -> None:
    line = b'{"id":"a","timestamp":5,"features":[1]}'
    assert event(orjson.loads(line), line=line, model="m", deadline_after_ms=250) == {
        "id": "a",
        "timestamp": 5,
        "features": [1],
        "model": "m",
        "deadline_ms": NOW + 250,
    }


def test_types_that_only_parquet_has_are_converted() -> None:
    values = {"timestamp": Instant(7), "a": Decimal("1.5"), "b": Instant(8), "c": LocalTime(9), "d": float("nan")}
    assert event(values, times=TimeRule(UTC)) == {
        "id": "file.csv:3",
        "timestamp": 7,
        "features": {"a": 1.5, "b": 8, "c": 9, "d": None},
    }


def test_a_nested_time_without_an_offset_needs_a_zone() -> None:
    berlin = TimeRule(parse_zone("Europe/Berlin"))
    for values in (
        {"timestamp": LocalTime(0), "a": 1},
        {"timestamp": "1970-01-01 00:00:00", "a": 1},
        {"a": LocalTime(0)},
    ):
        with pytest.raises(RowFault, match="a time without an offset") as caught:
            build(values)
        assert "--timezone" in caught.value.remedy
    winter = LocalTime(1_767_225_600_000)
    assert event({"timestamp": winter, "a": winter}, times=berlin) == {
        "id": "file.csv:3",
        "timestamp": winter.ms - 3_600_000,
        "features": {"a": winter.ms - 3_600_000},
    }


@pytest.mark.parametrize(
    ("features", "path"),
    [
        ([1.0, float("inf")], r"features\[1\]"),
        ([1.0, None, -float("inf")], r"features\[2\]"),
        ({"a": float("inf")}, r"features\.a"),
        ({"a": {"b": [[1.0], [float("inf")]]}}, r"features\.a\.b\[1\]\[0\]"),
        ([Decimal("1e400")], r"features\[0\]"),
        ([1e308, 1e308, float("inf")], r"features\[2\]"),
    ],
)
def test_an_infinity_is_found_at_any_depth(features: object, path: str) -> None:
    with pytest.raises(RowFault, match=f"column {path} is infinite"):
        build({"features": features})


def test_nested_values_are_converted_like_top_level_ones() -> None:
    nested = [Decimal("0.5"), float("nan"), Instant(7), None, True, "x", [1e308, 1e308]]
    assert event({"features": nested})["features"] == [0.5, None, 7, None, True, "x", [1e308, 1e308]]


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ("00123", b"00123"),
        (2**63, b"9223372036854775808"),
        (-5, b"-5"),
        (Decimal(10**37), b"1" + b"0" * 37),
        (b"\xff\x00", b"\xff\x00"),
        (True, b"true"),
        (UUID(int=5), b"00000000-0000-0000-0000-000000000005"),
        (None, None),
        (float("nan"), None),
    ],
)
def test_a_key_is_exact(value: object, key: bytes | None) -> None:
    columns = Columns(key="k")
    assert build({"k": value, "features": []}, columns=columns).key == key


@pytest.mark.parametrize("value", [123.0, Decimal("1.50"), [1], {"a": 1}, Instant(5), Unreadable("bad")])
def test_a_key_or_id_that_would_not_be_exact_is_refused(value: object) -> None:
    with pytest.raises(RowFault, match=r"^k is"):
        build({"k": value, "features": []}, columns=Columns(key="k"))
    with pytest.raises(RowFault, match=r"^k is"):
        build({"k": value, "features": []}, columns=Columns(id="k"))


def test_ids_and_keys_in_csv_are_the_text_as_written() -> None:
    written = {"id": "1E5", "key": "00123", "timestamp": "1700000000000.0", "n": "00123"}
    values = {"id": 1e5, "key": 123, "timestamp": 1.7e12, "n": 123}
    message = EventBuilder("f", now_ms=lambda: NOW).build(InputRow(1, values, None, written))
    assert message.key == b"00123"
    assert orjson.loads(message.value) == {"id": "1E5", "timestamp": NOW, "features": {"key": 123, "n": 123}}
    infinite = InputRow(1, {"key": float("inf"), "n": 1}, None, {"key": "INF", "n": "1"})
    assert orjson.loads(EventBuilder("f", now_ms=lambda: NOW).build(infinite).value)["features"]["key"] == "INF"
    empty = EventBuilder("f", now_ms=lambda: NOW).build(
        InputRow(1, {"id": None, "key": None, "n": 1}, None, {"id": "", "key": "", "n": "1"})
    )
    assert empty.key is None and orjson.loads(empty.value)["id"] == "f:1"


def test_features_in_csv_can_be_json() -> None:
    row = InputRow(1, {"features": "[1, 2.5]"}, None, {"features": "[1, 2.5]"})
    assert orjson.loads(EventBuilder("f", now_ms=lambda: NOW).build(row).value)["features"] == [1, 2.5]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"id": "a"}, "no features"),
        ({"features": 3}, "features is neither"),
        ({"id": True, "a": 1}, "id is True"),
        ({"id": "", "a": 1}, "id is empty text"),
        ({"id": 1.5, "features": []}, "id is the floating-point number 1.5"),
        ({"timestamp": 1.5, "a": 1}, "timestamp is 1.5"),
        ({"feature": [1, 2]}, "column feature is a list"),
        ({"a": {"b": 1}}, "column a is an object"),
        ({"a": float("inf")}, "column a is infinite"),
        ({"a": b"bytes"}, "column a is bytes"),
    ],
)
def test_a_row_that_cannot_be_an_event_is_refused_with_a_reason(values: Mapping[str, object], reason: str) -> None:
    with pytest.raises(RowFault, match=reason) as caught:
        build(values)
    assert caught.value.remedy


def test_a_column_named_key_is_the_key_unless_it_cannot_be_one() -> None:
    assert build({"key": 3, "a": 1}).key == b"3"
    assert build({"key": 3.5, "a": 1}).key is None
    assert orjson.loads(build({"key": 3, "features": [1]}).value).keys() == {"id", "timestamp", "features"}


def test_the_key_of_an_event_in_json_is_text() -> None:
    line = b'{"id": "a", "timestamp": 5, "features": [1], "key": 3}'
    with pytest.raises(RowFault, match="key is 3"):
        build(orjson.loads(line), line=line)


def test_a_raw_row_is_sent_unchanged() -> None:
    assert EventBuilder("f", now_ms=lambda: NOW).build(InputRow(1, None, b"{x")) == Message(None, b"{x")


def test_a_missing_column_is_reported_with_the_nearest_name() -> None:
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
def test_features_on_the_command_line_are_parsed(text: str, features: object) -> None:
    assert parse_features(text) == features


@pytest.mark.parametrize("text", ["", "a", "=1", "a=1 a=2", "[1,", "a='open", '{"a": NaN}'])
def test_invalid_features_are_refused_with_examples(text: str) -> None:
    with pytest.raises(ConfigError, match="--features") as caught:
        parse_features(text)
    assert "name=0.5" in str(caught.value.remedy)
