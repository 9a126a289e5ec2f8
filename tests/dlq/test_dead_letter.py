"""The parser reads back every field that the worker writes, and no bytes make it raise."""

from __future__ import annotations

import io
import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from forebay.schemas import headers as names
from forebay.schemas.examples import good_examples
from forebay.schemas.failures import FAILURES, FailureKind
from forebay.stream.core.rows import RowRecord
from forebay.stream.dlq.dead_letter import DeadLetter, Position, parse_dead_letter
from forebay.stream.dlq.render import dead_letter_text, list_table
from forebay.stream.dlq.replay_plan import ReplayTarget, SkipReason, reason_to_skip
from forebay.stream.dlq.stats import Stats
from forebay.stream.output.encoder import dead_letter
from tests.core.build import JULY, FakeRecord, FakeSource, unreadable
from tests.dlq.build import DEAD_0, EVENT, FEATURES_1, dead_letter_record, make_dead_letter

ERROR_NAMES = [name for key, name in vars(names).items() if key.startswith("ERROR_") and key != "ERROR_PREFIX"]
REPLAY_NAMES = [names.REPLAY_COUNT, names.REPLAY_FROM]


def test_a_dead_letter_is_parsed_back() -> None:
    headers = [("tenant", b"x"), ("forebay.replay.count", b"2"), ("forebay.replay.from", b"dead-letters-0@3")]
    parsed = make_dead_letter(kind=FailureKind.MODEL_ERROR, message="it chokes", headers=headers, model="late")
    assert parsed.position == Position("dead-letters", 0, 7) and parsed.timestamp == JULY
    assert (parsed.stage, parsed.kind, parsed.message) == ("model", "model_error", "it chokes")
    assert parsed.source == Position("features", 1, 42) and parsed.source_timestamp == JULY - 1000
    assert (parsed.model, parsed.version, parsed.truncated) == ("late", 2, None)
    assert (parsed.replay_count, parsed.replay_from) == (2, "dead-letters-0@3")
    assert (parsed.key, parsed.value, parsed.headers) == (b"k", EVENT, tuple(headers))
    assert parsed.spec is FAILURES[FailureKind.MODEL_ERROR] and parsed.event_id == "e1"


def test_a_row_of_a_record_is_named_with_its_record() -> None:
    key, value, headers = dead_letter(
        RowRecord(FakeSource(42, 3), 2), FEATURES_1, FailureKind.WRONG_TYPE, "no number", max_bytes=100_000
    )
    parsed = parse_dead_letter(DEAD_0, FakeRecord(7, value, timestamp=JULY, key=key, headers=headers))
    assert parsed is not None and (parsed.source.offset, parsed.source_row, parsed.value) == (42, 2, b"42/2")
    assert json.loads(parsed.to_json())["source"]["row"] == 2
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(dead_letter_text(parsed, max_bytes=10))
    assert "features-1@42 row 2" in console.export_text()


def test_a_cut_value_is_marked() -> None:
    assert str(make_dead_letter(value=b"x" * 5000, max_bytes=1000).truncated).startswith("5000 sha256:")


@pytest.mark.parametrize("missing", ["stage", "kind", "topic", "partition", "offset"])
def test_a_record_without_a_required_header_is_not_a_dead_letter(missing: str) -> None:
    record = dead_letter_record(1)
    headers = [(name, value) for name, value in record.headers if name != f"forebay.error.{missing}"]
    assert parse_dead_letter(DEAD_0, FakeRecord(1, b"{}", timestamp=JULY, key=None, headers=headers)) is None


def test_header_names_ignore_case_and_the_last_duplicate_wins() -> None:
    record = dead_letter_record(1)
    doubled = [*record.headers, ("Forebay.Error.Kind", b"later_kind"), ("forebay.replay.count", b"many")]
    parsed = parse_dead_letter(DEAD_0, FakeRecord(1, b"{}", timestamp=JULY, key=None, headers=doubled))
    assert parsed is not None and parsed.kind == "later_kind" and parsed.spec is None and parsed.replay_count == 0


@pytest.mark.parametrize(
    ("value", "key", "headers", "expected"),
    [
        (b'{"id":5}', None, [], "5"),
        (b'{"id":true}', None, [], None),
        (b'[{"id":5}]', None, [], None),
        (b"\xff", b"k", [], None),
        (None, b"k", [], None),
        (b"\0\0\0\0", b"k", [("Content-Type", b"application/x-forebay-f32; v=1")], "k"),
        (b"\0\0\0\0", b"k", [("content-type", b"application/x-forebay-f32"), ("forebay-id", b"f")], "f"),
    ],
)
def test_the_event_id_is_found(
    value: bytes | None, key: bytes | None, headers: list[tuple[str, bytes]], expected: str | None
) -> None:
    assert make_dead_letter(value=value, key=key, headers=headers).event_id == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("features-3@42", Position("features", 3, 42)),
        ("features:3:42", Position("features", 3, 42)),
        ("team-a.features-0-3@0", Position("team-a.features-0", 3, 0)),
        ("features@42", None),
        ("3:42", None),
        ("features-3@-1", None),
        ("", None),
    ],
)
def test_positions_are_parsed(text: str, expected: Position | None) -> None:
    assert Position.parse(text) == expected
    assert expected is None or Position.parse(str(expected)) == expected


def test_the_json_has_all_fields() -> None:
    document = json.loads(make_dead_letter(headers=[("a", b"\xff")]).to_json())
    assert document["source"] == {"topic": "features", "partition": 1, "offset": 42, "timestamp": JULY - 1000}
    assert document["value"]["id"] == document["id"] == "e1" and document["headers"] == {"a": "\\xff"}
    assert json.loads(make_dead_letter(value=b"\xff").to_json())["value_base64"] == "/w=="


@given(
    key=st.none() | st.binary(),
    value=st.none() | st.binary() | st.sampled_from([EVENT, b"[" * 5000, b'{"id":1e999}']),
    timestamp=st.integers(-(2**63), 2**63 - 1),
    headers=st.lists(
        st.tuples(
            st.sampled_from([*ERROR_NAMES, *REPLAY_NAMES, "content-type", "x"]),
            st.none() | st.binary() | st.sampled_from([b"1", b"-1", b"9" * 40, names.F32_CONTENT_TYPE.encode()]),
        ),
        max_size=12,
    ),
)
def test_any_bytes_can_be_parsed_and_shown(
    key: bytes | None, value: bytes | None, timestamp: int, headers: list[tuple[str, bytes]]
) -> None:
    whole = [*dead_letter_record(1).headers, *headers]
    for record_headers in (headers, whole):
        parsed = parse_dead_letter(DEAD_0, FakeRecord(1, value, timestamp=timestamp, key=key, headers=record_headers))
        if parsed is not None:
            assert json.loads(parsed.to_json())["offset"] == 1
            dead_letter_text(parsed, max_bytes=10)
            list_table([parsed], 100)


def test_a_failed_window_is_distinguished_from_an_event() -> None:
    (example,) = (example for example in good_examples() if example.name == "dead-letter-window")
    record = FakeRecord(3, example.value, timestamp=JULY, key=example.key, headers=example.headers)
    parsed = parse_dead_letter(DEAD_0, record)
    assert parsed is not None and parsed.window == "1372665600000-1372669200000"
    assert (
        orjson.loads(parsed.to_json())["window"] == parsed.window
        and parsed.event_id == "JFK|1372665600000|1372669200000"
    )
    assert make_dead_letter().window is None


def unreadable_dead_letter() -> DeadLetter:
    record = unreadable(10, 19, 5)
    key, value, carried = dead_letter(record, FEATURES_1, record.kind, record.description, max_bytes=10_000)
    parsed = parse_dead_letter(DEAD_0, FakeRecord(7, value, timestamp=JULY, key=key, headers=carried))
    assert parsed is not None
    return parsed


def test_a_dead_letter_of_unreadable_records_has_their_range_and_number() -> None:
    parsed = unreadable_dead_letter()
    assert parsed.is_raw and parsed.source.offset == 10 and (parsed.last_offset, parsed.count) == (19, 5)
    document = json.loads(parsed.to_json())
    assert (document["last_offset"], document["count"]) == (19, 5)
    shown = io.StringIO()
    console = Console(file=shown, width=200)
    console.print(dead_letter_text(parsed, max_bytes=100))
    console.print(list_table([parsed], 200))
    assert "records  5, up to offset 19" in shown.getvalue()
    assert "features-1@10" in shown.getvalue() and "offsets 10 to 19 (5 records): too large" in shown.getvalue()
    assert reason_to_skip(parsed, ReplayTarget(1, None)) is SkipReason.UNREADABLE
    stats = Stats()
    stats.add(parsed)
    assert (stats.count, stats.unreadable, stats.to_dict()["records"]) == (1, 1, 5)


def test_a_missing_record_timestamp_is_none() -> None:
    parsed = make_dead_letter(source_timestamp=-1)
    assert parsed.source_timestamp is None and json.loads(parsed.to_json())["source"]["timestamp"] is None
