"""`forebay publish` in other formats than JSON: the schema of the subject, all rows checked first, and the dry run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from forebay.models.data.input_row import InputRow, InvalidRow
from forebay.models.data.values import Instant
from forebay.stream.cli import main
from forebay.stream.decode.formats.arrow import ArrowFormat
from forebay.stream.publish.arrow_values import ArrowValues, grouped
from forebay.stream.publish.event_times import TimeRule
from tests.registry.stub import StubRegistry
from tests.registry.threaded import threaded_registry

SCHEMA = {
    "type": "record",
    "name": "Flight",
    "fields": [
        {"name": "tailnum", "type": "string"},
        {"name": "delay", "type": "double"},
        {"name": "plane", "type": {"type": "record", "name": "Plane", "fields": [{"name": "seats", "type": "int"}]}},
    ],
}
PROTO = """syntax = "proto3";
message Flight { string tailnum = 1; double delay = 2; message P { int32 seats = 1; } P plane = 3; }"""
FLIGHT = {"tailnum": "007", "delay": 1.5, "plane": {"seats": 149}}


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StubRegistry]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flights.csv").write_text("tailnum,delay,plane.seats\n007,1.5,149\nN8,2,x\n")
    with threaded_registry() as stub:
        monkeypatch.setenv("FOREBAY_SCHEMA_REGISTRY__URLS", stub.url)
        yield stub


def publish(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    # Nothing listens there: what these tests look at happens before anything is sent.
    status = main(
        ["publish", "flights.csv", "--bootstrap-server", "127.0.0.1:9", "--key-column", "tailnum", *arguments]
    )
    output = capsys.readouterr()
    return status, output.out, output.err


@pytest.mark.parametrize(("name", "text", "prefix"), [("avro", json.dumps(SCHEMA), 10), ("protobuf", PROTO, 12)])
def test_the_dry_run_shows_the_first_event_by_the_latest_schema(
    registry: StubRegistry, capsys: pytest.CaptureFixture[str], name: str, text: str, prefix: int
) -> None:
    kind = name.upper()
    registry.add("other", "{}", "JSON")
    added = registry.add("features-value", text, kind)
    status, out, _ = publish(capsys, "--format", name, "--dry-run", "--json")
    shown: dict[str, Any] = json.loads(out)
    assert status == 0 and shown["value"] == FLIGHT and shown["key"] == "007" and shown["format"] == name
    assert shown["begins_with"].startswith("00" + added.id.to_bytes(4, "big").hex())
    status, out, err = publish(capsys, "--event-format", name, "--dry-run", "--subject", "features-value")
    assert status == 0 and '"seats": 149' in out and err == "nothing was sent\n"


def test_all_rows_are_checked_before_any_is_sent(registry: StubRegistry, capsys: pytest.CaptureFixture[str]) -> None:
    registry.add("features-value", json.dumps(SCHEMA))
    status, _, err = publish(capsys, "--format", "avro")
    assert status != 0
    assert "flights.csv, line 3: field plane.seats is 'x'; it must be a whole number" in err
    assert "(nothing was published)" in err


@pytest.mark.parametrize(
    ("name", "header"), [("msgpack", "application/msgpack"), ("cloudevents", "application/cloudevents+json")]
)
def test_formats_without_a_schema_hold_the_whole_event(
    registry: StubRegistry, capsys: pytest.CaptureFixture[str], name: str, header: str
) -> None:
    status, out, _ = publish(capsys, "--format", name, "--dry-run", "--json", "--id-column", "tailnum")
    shown = json.loads(out)
    assert status == 0 and shown["headers"] == {"content-type": header} and not registry.requests
    event = shown["value"]["data"] if name == "cloudevents" else shown["value"]
    assert event["id"] == "007" and event["features"] == {"delay": 1.5, "plane.seats": 149}
    if name == "cloudevents":
        assert {**shown["value"], "data": None} == {
            "specversion": "1.0",
            "id": "007",
            "source": "forebay publish",
            "type": "forebay.event",
            "datacontenttype": "application/json",
            "data": None,
        }


def test_rows_become_one_record_in_arrow(registry: StubRegistry, capsys: pytest.CaptureFixture[str]) -> None:
    file = Path("flights.csv")
    file.write_text("tailnum,delay\nN7,1\nN8,2.5\nN9,\n")
    status = main(["publish", str(file), "--event-format", "arrow", "--dry-run", "--json"])
    shown = json.loads(capsys.readouterr().out)
    assert status == 0 and shown["headers"] == {"content-type": "application/vnd.apache.arrow.stream"}
    rows = [{"tailnum": "N7", "delay": 1}, {"tailnum": "N8", "delay": 2.5}, {"tailnum": "N9", "delay": None}]
    assert shown["value"] == {"num_rows": 3, "rows": rows} and shown["key"] is None
    file.write_text("tailnum,delay\nN7,1\nN8,x\n")
    assert main(["publish", str(file), "--event-format", "arrow", "--bootstrap-server", "127.0.0.1:9"]) != 0
    assert "column delay has values of several types in 2 rows" in capsys.readouterr().err


def test_the_rows_of_a_record_in_arrow_are_read_as_they_were_published() -> None:
    rows: list[dict[str, object]] = [{"id": "a", "x": 1, "at": Instant(5)}, {"id": "b", "x": None, "at": Instant(6)}]
    _, batch = ArrowFormat().batch(ArrowValues(TimeRule()).encode(rows))
    assert batch.to_pylist() == [{"id": "a", "x": 1, "at": 5}, {"id": "b", "x": None, "at": 6}]


def test_groups_end_at_their_size_and_at_rows_that_are_not_valid() -> None:
    rows = [InputRow(number, {"a": number}, None) for number in range(1, 6)]
    bad = InvalidRow("file, line 3", "bad", "fix it")
    found = list(grouped(iter([*rows[:3], bad, None, *rows[3:]]), 2))
    values = [item.values if isinstance(item, InputRow) else item for item in found]
    assert values == [
        {"rows": [{"a": 1}, {"a": 2}]},
        {"rows": [{"a": 3}]},
        bad,
        None,
        {"rows": [{"a": 4}, {"a": 5}]},
    ]


def test_json_can_be_looked_at_first_too(registry: StubRegistry, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = publish(capsys, "--dry-run", "--json")
    assert status == 0 and json.loads(out)["value"]["features"] == {"tailnum": 7, "delay": 1.5, "plane.seats": 149}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "avro", "--subject", "nowhere"], "nowhere"),
        (["--format", "protobuf"], "the schema of subject features-value is avro, not protobuf"),
        (["--format", "avro", "--schema", "other.avsc"], "does not have the schema in other.avsc"),
        (["--format", "avro", "--subject", "ruled"], "has rules that Forebay does not execute"),
        (["--format", "avro", "--subject", "odd"], "the schema of subject odd cannot be used"),
        (["--format", "avro", "--model", "m"], "--model cannot be used with --event-format avro"),
        (["--format", "avro", "--raw"], "--raw cannot be used"),
        (["--format", "avro", "--event-format", "msgpack"], "exclude each other"),
        (["--subject", "features-value"], "--subject needs --event-format"),
    ],
)
def test_what_cannot_be_is_refused(
    registry: StubRegistry,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: list[str],
    message: str,
) -> None:
    (tmp_path / "other.avsc").write_text('"string"')
    registry.add("features-value", json.dumps(SCHEMA))
    registry.add("odd", '"string"')
    rule = {"name": "encrypt", "kind": "TRANSFORM", "mode": "WRITEREAD", "type": "ENCRYPT"}
    registry.add("ruled", json.dumps(SCHEMA | {"doc": "x"}), ruleSet={"domainRules": [rule]})
    status, _, err = publish(capsys, *arguments)
    assert status != 0 and message in " ".join(err.split())
