"""The command `forebay publish`: its output, the records that it sends, and its exit status."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from forebay.models.artefacts.signature import Feature, Signature
from forebay.stream.cli import main
from forebay.stream.config.sections import KafkaSection, Settings, TopicsSection
from forebay.stream.kafka.cluster.topics import create_topics
from tests.brokers.resolve import Broker
from tests.conftest import Names
from tests.models.build import make_net
from tests.models.build import publish as publish_model


@pytest.fixture
def arguments(embedded_broker: Broker, names: Names, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Create this test's topics; return the options that name them."""
    monkeypatch.chdir(tmp_path)
    settings = Settings(
        kafka=KafkaSection(bootstrap_servers=embedded_broker.bootstrap), topics=TopicsSection(prefix=names(""))
    )
    asyncio.run(create_topics(settings))
    return ["--bootstrap-server", embedded_broker.bootstrap, "--set", f"topics.prefix={names('')}"]


def published(arguments: list[str], capsys: pytest.CaptureFixture[str], count: int) -> list[dict[str, object]]:
    """Return the records of the topic, as `forebay tail --json` shows them."""
    capsys.readouterr()
    status = main(
        ["tail", "features", "--from-beginning", "--json", "--limit", str(count), "--timeout", "20", *arguments]
    )
    assert status == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(records) == count
    return records


def test_one_event(arguments: list[str], names: Names, capsys: pytest.CaptureFixture[str]) -> None:
    event = [
        "--features",
        "delay=3 carrier=UA",
        "--id",
        "e1",
        "--key",
        "UA1",
        "--model",
        "m",
        "--header",
        "source=test",
    ]
    assert main(["publish", *event, *arguments]) == 0
    assert capsys.readouterr().out.startswith(f"published e1 to {names('features')}, partition ")
    (record,) = published(arguments, capsys, 1)
    value = record["value"]
    assert isinstance(value, dict)
    assert value.pop("timestamp") == pytest.approx(record["timestamp"], abs=2000)
    assert value == {"id": "e1", "features": {"delay": 3, "carrier": "UA"}, "model": "m"}
    assert record["key"] == "UA1" and record["headers"] == {"source": "test"}


def test_one_event_is_printed_as_json_for_scripts(
    arguments: list[str], names: Names, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["publish", "--features", "[1, 2]", "--json", *arguments]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["topic"] == names("features") and document["offset"] == 0
    (record,) = published(arguments, capsys, 1)
    assert record["partition"] == document["partition"]
    value = record["value"]
    assert isinstance(value, dict) and value["id"] == document["id"] and value["features"] == [1, 2]


def test_bad_lines_end_the_run_or_are_skipped_or_sent_raw(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"features": [1]}\n{"features": [2]}\nbroken\n{"features": [3]}\n')
    assert main(["publish", str(path), *arguments]) == 1
    error = capsys.readouterr().err
    assert "events.jsonl, line 3: not JSON" in error and "2 events were published before" in error
    assert main(["publish", str(path), "--skip-bad-lines", "--json", *arguments]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["events"], document["skipped"], document["bad_lines"][0]["place"]) == (
        3,
        1,
        "events.jsonl, line 3",
    )
    assert main(["publish", str(path), "--raw", *arguments]) == 0
    values = [record["value"] for record in published(arguments, capsys, 2 + 3 + 4)]
    ids = sorted(str(value.get("id", "raw")) if isinstance(value, dict) else "broken" for value in values)
    assert ids == ["broken", *sorted(["events.jsonl:1", "events.jsonl:2"] * 2 + ["events.jsonl:4"]), *["raw"] * 3]


def test_an_unusable_header_is_refused_even_if_bad_lines_are_skipped(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "flights.csv"
    path.write_text("tail;delay\nN1;5\n")
    assert main(["publish", str(path), "--skip-bad-lines", *arguments]) == 1
    error = capsys.readouterr().err
    assert "separated by semicolons" in error and "nothing was published" in error and "--delimiter ';'" in error
    assert main(["publish", str(path), "--delimiter", ";", *arguments]) == 0
    assert published(arguments, capsys, 1)[0]["value"]["features"] == {"tail": "N1", "delay": 5}  # type: ignore[index]


def test_times_without_an_offset_need_a_zone_in_csv_and_parquet(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, parquet = tmp_path / "a.csv", tmp_path / "a.parquet"
    text.write_text("timestamp,x\n2026-01-02 03:04:05,1\n")
    pq.write_table(pa.table({"timestamp": [datetime(2026, 1, 2, 3, 4, 5)], "x": [1]}), parquet)
    for path in (text, parquet):
        assert main(["publish", str(path), *arguments]) == 1
        assert "--timezone UTC" in capsys.readouterr().err
        assert main(["publish", str(path), "--timezone", "Europe/Berlin", *arguments]) == 0
    records = published(arguments, capsys, 2)
    assert [record["value"]["timestamp"] for record in records] == [1_767_319_445_000] * 2  # type: ignore[index]


@pytest.fixture
def room_model(tmp_path: Path) -> list[str]:
    """Publish a model with a category and a number; return the options that name it."""
    features = (Feature("sensor", "category", ("01", "NA")), Feature("temperature"))
    signature = Signature(features, (2,), "binary", 1)
    publish_model(tmp_path / "models", "room", net=make_net(2, 1), signature=signature, preprocessing=None)
    return ["--set", "model.name=room"]


def test_events_are_checked_against_the_configured_model(
    arguments: list[str], room_model: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*arguments, *room_model]
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    good.write_text("sensor,temperature\n01,5\n03,6\nNA,7\n")
    bad.write_text("sensor,temprature\n01,5\n")
    assert main(["publish", str(bad), *arguments]) == 1
    error = capsys.readouterr().err
    assert "model 'room' would reject the event" in error and "is it 'temprature' here?" in error
    assert main(["publish", "--features", "sensor=1 temperature=5", *arguments]) == 1
    assert "a category that the model does not know" in capsys.readouterr().err
    assert main(["publish", str(good), *arguments]) == 0
    assert "warning: model 'room' would reject 1 of the first 3 events" in capsys.readouterr().err
    assert main(["publish", str(good), "--check", *arguments]) == 1
    assert "good.csv, line 3: model 'room' rejects it" in capsys.readouterr().err
    assert main(["publish", str(bad), "--no-check", *arguments]) == 0
    assert capsys.readouterr().err == ""
    assert main(["publish", str(bad), "--topic", "elsewhere", *arguments]) == 1
    assert "there is no topic" in capsys.readouterr().err
    sensors = [record["value"]["features"]["sensor"] for record in published(arguments, capsys, 3 + 1 + 1)]  # type: ignore[index]
    assert sorted(map(str, sensors)) == ["01", "01", "03", "1", "NA"]


@pytest.fixture
def several(names: Names) -> list[str]:
    """Two models with different features; the second takes the topic rides; the options that configure them."""
    publish_model(
        Path("models"),
        "flights",
        signature=Signature((Feature("delay"), Feature("dist"), Feature("hour")), (3,), "multiclass", 2),
    )
    publish_model(
        Path("models"),
        "rides",
        signature=Signature((Feature("km"), Feature("fare"), Feature("tip")), (3,), "multiclass", 2),
    )
    models = [{"name": "flights"}, {"name": "rides", "topics": ["rides"], "window": {"kind": "session", "gap_ms": 9}}]
    return ["--set", f"models={json.dumps(models)}"]


@pytest.mark.parametrize(
    ("features", "options", "model"),
    [
        ("delay=1 dist=2 hour=3", [], None),
        ("km=1 fare=2 tip=3", [], "flights"),
        ("km=1 fare=2 tip=3", ["--model", "rides"], None),
        ("delay=1 dist=2 hour=3", ["--model", "rides"], "rides"),
        ("delay=1 dist=2 hour=3", ["--header", "forebay-model=rides"], "rides"),
        ("delay=1 dist=2 hour=3", ["--topic", "{rides}"], "rides"),
        ("delay=1 dist=2 hour=3", ["--topic", "{rides}", "--model", "flights"], None),
    ],
)
def test_of_several_models_the_named_one_or_else_that_of_the_topic_checks_events(
    features: str,
    options: list[str],
    model: str | None,
    arguments: list[str],
    names: Names,
    several: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    create = ["topics", "create", *arguments, *several]
    assert main(create) == 0
    options = [option.replace("{rides}", names("rides")) for option in options]
    status = main(["publish", "--features", features, *options, *arguments, *several])
    error = capsys.readouterr().err
    assert (status, "is a feature of model" in error) == ((0, False) if model is None else (1, True))
    assert model is None or f"is a feature of model {model!r}" in error


def test_a_file_can_name_a_model_in_each_event(
    arguments: list[str], several: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    events = [
        {"id": "a", "features": {"delay": 1, "dist": 2, "hour": 3}},
        {"id": "b", "features": {"km": 1, "fare": 2, "tip": 3}, "model": "rides"},
        {"id": "c", "features": {"km": 1, "fare": 2, "tip": 3}},
    ]
    path = tmp_path / "events.jsonl"
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    assert main(["publish", str(path), *arguments, *several]) == 0
    error = capsys.readouterr().err
    assert "model 'flights' would reject 1 of the first 2 events; the first, " in error and "'rides'" not in error
    (tmp_path / "models" / "rides" / "1" / "manifest.json").unlink()
    assert main(["publish", str(path), *arguments, *several]) == 0
    assert "events that name the model rides are not checked before they are sent: " in capsys.readouterr().err
    assert main(["publish", str(path), "--check", *arguments, *several]) == 1


def test_waiting_is_refused_for_the_model_with_windows_only(
    arguments: list[str], several: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["publish", "--features", "km=1 fare=2 tip=3", "--model", "rides", "--wait", "1", *arguments, *several]
    assert main(command) == 2
    assert "--wait works only if single events are predicted" in capsys.readouterr().err
    assert main(["publish", "--features", "[1, 2, 3]", "--wait", "0.1", *arguments, *several]) == 1
    assert "--wait works" not in capsys.readouterr().err


def test_a_missing_model_is_reported_only_if_it_was_named(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    event = ["publish", "--features", "[1]", *arguments]
    assert main(event) == 0
    assert capsys.readouterr().err == ""
    assert main([*event, "--set", "model.name=none"]) == 0
    assert "warning: the events are not checked before they are sent" in capsys.readouterr().err
    assert main([*event, "--check"]) == 1
    assert "there is no such model repository" in capsys.readouterr().err


def test_a_key_column_and_a_limit(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "flights.csv"
    path.write_text("tail,delay\nN1,5\nN2,NA\nN3,7\n")
    assert main(["publish", str(path), "--key-column", "tail", "--limit", "2", *arguments]) == 0
    assert "published 2 events" in capsys.readouterr().out
    records = sorted(published(arguments, capsys, 2), key=lambda record: str(record["key"]))
    assert [(record["key"], record["value"]["features"]) for record in records] == [  # type: ignore[index]
        ("N1", {"tail": "N1", "delay": 5}),
        ("N2", {"tail": "N2", "delay": None}),
    ]


def test_a_pipe_is_published_line_by_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-m", "forebay", "publish", "-", "--json", *arguments]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ)
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(b'{"features": [1]}\n')
        process.stdin.flush()
        # The event arrives while the pipe is still open.
        assert published(arguments, capsys, 1)[0]["value"]["id"] == "stdin:1"  # type: ignore[index]
        out, _ = process.communicate(b'{"features": [2]}\n', timeout=30)
        assert json.loads(out)["events"] == 2
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "either a FILE"),
        (["a.csv", "--features", "[1]"], "either a FILE"),
        (["a.csv", "--id", "x"], "--id can only be used with --features"),
        (["--features", "[1]", "--raw"], "--raw can only be used with a FILE"),
        (["a.csv", "--raw", "--check"], "--check cannot be used with --raw"),
        (["--features", "nothing"], "is not name=value"),
        (["a.csv", "--delimiter", ";;"], "not one character"),
        (["a.csv", "--timezone", "Mars/Olympus"], "no such time zone"),
        (["--features", "[1]", "--timezone", "UTC"], "--timezone can only be used with a FILE"),
        (["--features", "[1]", "--header", "x"], "NAME=VALUE"),
    ],
)
def test_wrong_use_is_reported(arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["publish", *arguments]) == 2
    assert expected in capsys.readouterr().err


def test_a_missing_topic_is_reported(embedded_broker: Broker, names: Names, capsys: pytest.CaptureFixture[str]) -> None:
    server = ["--bootstrap-server", embedded_broker.bootstrap]
    assert main(["publish", "--features", "[1]", "--topic", names("none"), *server]) == 1
    assert "there is no topic" in capsys.readouterr().err


def test_importing_it_imports_no_client() -> None:
    code = "import sys, forebay.stream.cli.publish, forebay.stream.cli.tail, forebay.stream.cli.demo\n"
    code += "print([m for m in sys.modules if m in {bad}])"
    heavy = "('aiokafka', 'torch', 'numpy', 'pyarrow', 'rich', 'pydantic')"
    done = subprocess.run([sys.executable, "-c", code.format(bad=heavy)], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
