"""Records as lines and as JSON, also with unexpected content."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.schemas.examples import good_examples
from forebay.schemas.topics import ALL_TOPICS, TopicKey
from forebay.stream.core.records import TopicPartition
from forebay.stream.terminal.record_format import as_json, as_line
from tests.core.build import FakeRecord, unreadable

P3 = TopicPartition("topic", 3)
PREDICTION = (
    b'{"id":"e1","model":"late","version":2,"prediction":[0.25],"confidence":0.75,"class":0,"label":"on time",'
    b'"source":{"topic":"features","partition":1,"offset":42,"timestamp":5}}'
)
REGRESSION = (
    b'{"id":"e1","model":"price","version":1,"prediction":[1.5,-2],"confidence":null,"class":null,"label":null,'
    b'"source":{"topic":"features","partition":1,"offset":42,"timestamp":5}}'
)
DELTA = (
    b'{"format":1,"window_start":1700000040000,"window_end":1700000100000,"outcome":"rejected","stage":"decode",'
    b'"kind":"not_json","model":"late","version":2,"count":1234,"first_seen":1,"last_seen":2,"sample_ids":["a"],'
    b'"exemplar":null,"worker":"w"}'
)


def line(
    kind: TopicKey,
    value: bytes | None,
    *,
    key: bytes | None = None,
    headers: Sequence[tuple[str, bytes]] = (),
    timestamp: int = 1_700_000_000_000,
) -> str:
    return as_line(kind, P3, FakeRecord(7, value, timestamp=timestamp, key=key, headers=headers))


def test_a_prediction_shows_label_confidence_model_and_source() -> None:
    text = line("predictions", PREDICTION)
    assert "  3@7  e1  →  on time (75.0%)  [0.25]  late v2  from features 1@42" in text
    assert "e1  →  [1.5, -2]  price v1  from features 1@42" in line("predictions", REGRESSION)
    unnamed = PREDICTION.replace(b'"on time"', b"null")
    assert "class 0 (75.0%)" in line("predictions", unnamed)


def test_an_abstention_shows_its_reason() -> None:
    abstained = PREDICTION.replace(b'"source"', b'"decision":"abstain","reason":"low_confidence","source"')
    assert "on time (75.0%)  [0.25]  abstains: low_confidence  late v2  from" in line("review", abstained)


def test_a_dead_letter_shows_its_reason_and_source() -> None:
    headers = [
        ("forebay.error.stage", b"decode"),
        ("forebay.error.kind", b"not_json"),
        ("forebay.error.message", b"unexpected end"),
        ("forebay.error.topic", b"features"),
        ("forebay.error.partition", b"1"),
        ("forebay.error.offset", b"42"),
    ]
    assert "decode/not_json: unexpected end  from features 1@42  {oh" in line("dead-letters", b"{oh", headers=headers)
    model = [("forebay.error.model", b"late"), ("forebay.error.version", b"2")]
    assert "  late v2  from" in line("dead-letters", None, headers=headers + model)
    assert "unexpected content" in line("dead-letters", b"{oh")


def test_a_delta_shows_its_count_outcome_and_minute() -> None:
    assert "minute 2023-11-14 22:14    1,234 rejected  decode/not_json  late v2  ids a" in line("outcome-deltas", DELTA)


def test_aggregates_and_alerts_are_shown_as_in_the_examples() -> None:
    shown = {example.name: example.value for example in good_examples()}
    failed = line("error-aggregates", shown["error-aggregate-failed"])
    assert "minute 2013-07-01 08:30        2 failed  model/model_error  flight-delay v3" in failed
    assert failed.endswith("  0.41% of 482  revision 6  ids UA-1545, AA-1141")
    assert line("error-aggregates", shown["error-aggregate-final"]).endswith("revision 7, final")
    assert "3 late_delta  decode/not_json" in line("error-aggregates", shown["error-aggregate-late-delta"])
    assert "firing  critical  too many bad events: rate 0.12" in line("alerts", shown["alert-firing"])


def test_a_record_of_drift_shows_how_many_rows_were_counted() -> None:
    (value,) = (example.value for example in good_examples() if example.schema == "drift")
    shown = "2013-07-01 08:05  flight-delay v3  1,000 of 12,400 rows, 4 columns"
    assert as_line("drift", P3, FakeRecord(7, value)).endswith(shown)


def test_a_record_of_quality_shows_what_was_counted() -> None:
    shown = {example.name: line("quality", example.value) for example in good_examples() if example.schema == "quality"}
    window = "window 2013-07-01 08:00  "
    assert f"{window}flight-delay v3  +3 predictions, +2 with a label" in shown["quality-binary"]
    assert f"{window}arrival-minutes v1  origin=JFK  +1 predictions" in shown["quality-slice"]
    assert shown["quality-labels"].endswith("+480 labels, +471 used, +5 refused")


def test_a_shadow_prediction_shows_both_sides() -> None:
    (value,) = (example.value for example in good_examples() if example.schema == "shadow-prediction")
    shown = "UA-1545  →  v3: on time [0.125]  shadow v4: late [0.625]  flight-delay  from features 3@1041"
    assert as_line("shadow-predictions", P3, FakeRecord(7, value)).endswith(shown)


def test_an_event_as_json_and_as_raw_floats() -> None:
    assert "key k  id 5  [1,2]" in line("features", b'{"id":5,"timestamp":1,"features":[1,2]}', key=b"k")
    values = struct.pack("<8f", *range(8))
    raw = line("features", values, key=b"e1", headers=[("Content-Type", b"application/x-forebay-f32")])
    assert "id e1  float32 [0, 1, 2, 3, 4, 5, … 8 in total]" in raw
    assert "tombstone" in line("features", None, key=b"k")
    cut = line("features", values[:-1], headers=[("content-type", b"application/x-forebay-f32")])
    assert "unexpected content" in cut


def test_long_values_are_cut_and_control_characters_escaped() -> None:
    text = line("features", b"\x1b[2Jx" + b"y" * 10_000 + "\u202e".encode())
    assert "\x1b" not in text and "\\x1b[2Jx" in text
    assert len(text) < 300 and "…" in text and "10," in text


@pytest.mark.parametrize("kind", [spec.name for spec in ALL_TOPICS])
@given(
    value=st.one_of(st.none(), st.binary(), st.sampled_from([b"[]", b"{}", PREDICTION[:-1] + b',"id":[]}', DELTA])),
    key=st.one_of(st.none(), st.binary()),
    headers=st.lists(st.tuples(st.sampled_from(["content-type", "forebay.error.kind", "x"]), st.binary()), max_size=4),
    timestamp=st.integers(-(2**63), 2**63 - 1),
)
def test_any_bytes_give_one_line_and_one_document(
    kind: TopicKey, value: bytes | None, key: bytes | None, headers: list[tuple[str, bytes]], timestamp: int
) -> None:
    text = line(kind, value, key=key, headers=headers, timestamp=timestamp)
    assert text.isprintable() and "3@7" in text
    document = json.loads(as_json(P3, FakeRecord(7, value, timestamp=timestamp, key=key, headers=headers)))
    assert (document["topic"], document["partition"], document["offset"]) == ("topic", 3, 7)


def test_a_json_document_has_the_value_parsed_or_in_base64() -> None:
    good = json.loads(as_json(P3, FakeRecord(7, b'{"a":1}', timestamp=5, key=b"k", headers=[("h", b"v")])))
    assert good["value"] == {"a": 1} and good["key"] == "k" and good["headers"] == {"h": "v"} and good["timestamp"] == 5
    assert "value_base64" not in good
    odd = json.loads(as_json(P3, FakeRecord(7, b"\xff{", timestamp=5, key=b"\xff", headers=[])))
    assert odd["value"] is None and odd["value_base64"] == "/3s=" and odd["key"] == "\\xff"
    assert json.loads(as_json(P3, FakeRecord(7, None)))["value"] is None


@pytest.mark.parametrize("kind", [spec.name for spec in ALL_TOPICS])
@pytest.mark.parametrize("depth", [250, 254, 300, 1000, 5000])
def test_deeply_nested_json_gives_a_line_and_a_document(kind: TopicKey, depth: int) -> None:
    value = b'{"id":"x","timestamp":1,"features":' + b"[" * depth + b"]" * depth + b"}"
    assert "3@7" in line(kind, value)
    document = json.loads(as_json(P3, FakeRecord(7, value)))
    assert (
        document["value"] == json.loads(value) if depth == 250 else base64.b64decode(document["value_base64"]) == value
    )


def test_unreadable_records_have_a_line_and_an_object() -> None:
    found = unreadable(10, 19, 5)
    assert "  3@10  (cannot be read) offsets 10 to 19 (5 records): too large  raw" in as_line("features", P3, found)
    document = json.loads(as_json(P3, found))
    assert (document["offset"], document["value_base64"]) == (10, "cmF3")
    assert document["unreadable"] == {"kind": "batch_too_large", "message": "too large", "last_offset": 19, "count": 5}


def test_a_repeated_header_has_all_its_values() -> None:
    record = FakeRecord(
        7, b"1", timestamp=0, key=None, headers=[("a", b"1"), ("b", b"x"), ("a", b"2"), ("A", b"3"), ("a", None)]
    )  # type: ignore[list-item]
    assert json.loads(as_json(P3, record))["headers"] == {"a": ["1", "2", None], "b": "x", "A": "3"}


def test_a_missing_timestamp_is_shown_as_such() -> None:
    assert line("features", b"{}", timestamp=-1).startswith("(no time)  3@7")
