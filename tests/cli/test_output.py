"""Output of characters that the encoding does not support, and of invalid Unicode."""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from aiokafka import TopicPartition as ClientTopicPartition

from forebay.schemas.failures import FailureKind
from forebay.stream.aggregate.delta import Exemplar
from forebay.stream.aggregate.state import PartitionState
from forebay.stream.aggregate.topics import create_aggregator_topics
from forebay.stream.cli import main
from forebay.stream.cli.group import COMMANDS
from forebay.stream.cli.output import echo, echo_json, prepare_streams
from forebay.stream.config.sections import KafkaSection, Settings, TopicsSection
from forebay.stream.core.records import TopicPartition
from forebay.stream.kafka.cluster.topics import create_topics
from forebay.stream.terminal.console import print_whole, stdout_console
from tests.aggregate.build import MODEL_ERROR, TIMING, delta
from tests.brokers.clients import producer, send_batch
from tests.brokers.resolve import Broker
from tests.conftest import Names
from tests.dlq.build import dead_letter_record
from tests.fork_server import start_module
from tests.models.build import publish

ENCODINGS = ("ascii", "latin-1", "cp1252", "utf-8")
TEXT = "größer → 𝄞 \ud800"
Forebay = Callable[..., tuple[int, str]]


def capture(monkeypatch: pytest.MonkeyPatch, encoding: str) -> io.BytesIO:
    """Replace standard output by one with this encoding, as strict as Python's own."""
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding, write_through=True))
    return written


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_any_text_can_be_written(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written = capture(monkeypatch, encoding)
    prepare_streams()
    echo(TEXT)
    stdout_console().print(TEXT, markup=False)
    print_whole(TEXT)
    shown = written.getvalue().decode(encoding)
    assert shown.count("\\ud800") == 3
    if encoding == "ascii":
        assert shown.splitlines()[0] == "gr\\u00f6\\u00dfer -> \\U0001d11e \\ud800"


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_json_is_not_changed(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written = capture(monkeypatch, encoding)
    prepare_streams()
    echo_json({"a": TEXT})
    text = written.getvalue().decode(encoding)
    assert json.loads(text) == {"a": TEXT}
    assert ("größer" in text) == (encoding == "utf-8")


@pytest.fixture
def place(embedded_broker: Broker, names: Names, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Settings of topics with a dead letter, a prediction, an event and an error, all with non-ASCII text."""
    monkeypatch.chdir(tmp_path)
    publish(tmp_path / "models")
    kafka = KafkaSection(bootstrap_servers=embedded_broker.bootstrap, group_id=names("group"))
    settings = Settings(kafka=kafka, topics=TopicsSection(prefix=names("")))
    text = TEXT.removesuffix(" \ud800")
    now_ms = time.time_ns() // 1_000_000
    start = now_ms // 60_000 * 60_000
    at = {"window_start": start, "window_end": start + 60_000, "first_seen": now_ms, "last_seen": now_ms}
    state = PartitionState(1)
    state.apply(0, now_ms, delta(0, MODEL_ERROR, 2, exemplar=Exemplar(text, "1", "File m.py"), **at))
    letter = dead_letter_record(
        0,
        source=TopicPartition(names("features"), 0),
        source_offset=1,
        timestamp=now_ms,
        kind=FailureKind.MODEL_ERROR,
        message=text,
        model="late",
        value=text.encode(),
    )

    async def prepare() -> None:
        await create_topics(settings)
        await create_aggregator_topics(settings, dry_run=False)
        async with producer(kafka.bootstrap_servers) as writer:
            event = json.dumps({"id": text, "timestamp": 1, "features": [1, 2, 3]}, ensure_ascii=False).encode()
            await send_batch(writer, ClientTopicPartition(names("features"), 0), [event])
            await send_batch(
                writer,
                ClientTopicPartition(names("dead-letters"), 0),
                [letter.value or b""],
                keys=[letter.key],
                headers=[letter.headers],
                timestamps=[letter.timestamp],
            )
            for key, value in state.take_updates(None, TIMING):
                await send_batch(writer, ClientTopicPartition(names("error-aggregates"), 0), [value or b""], keys=[key])

    asyncio.run(prepare())
    return [
        *("--set", f"kafka.bootstrap_servers={kafka.bootstrap_servers}", "--set", f"kafka.group_id={kafka.group_id}"),
        *(
            "--set",
            f"topics.prefix={names('')}",
            "--set",
            "model.name=delays",
            "--set",
            f"telemetry.service_name={TEXT[:6]}",
        ),
    ]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_every_command_can_write_its_output(encoding: str, place: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    expected = {
        ("check",): "+ broker",
        ("config",): "kafka",
        ("topics", "check"): "dead-letters",
        ("topics", "create"): "dead-letters",
        ("tail", "features", "--from-beginning", "--limit", "1"): "-> ",
        ("tail", "dead-letters", "--from-beginning", "--limit", "1"): "model_error",
        ("dlq", "list"): "model_error",
        ("dlq", "show", "0:0"): "model_error",
        ("dlq", "stats"): "model_error",
        ("dlq", "replay", "--dry-run"): "features",
        ("errors", "--stacks"): "model_error",
        ("status",): "group",
        ("acls", "worker"): "features",
        ("publish", "--features", "[1, 2, 3]", "--id", "größer → 𝄞"): "published",
    }
    for command, part in expected.items():
        for options in ([], ["--json"]) if command != ("acls", "worker") else ([],):
            written = capture(monkeypatch, encoding)
            main([*command, *options, *place])
            sys.stdout.flush()
            shown = written.getvalue()
            if options and command[0] not in ("tail", "dlq"):
                json.loads(shown.decode(encoding))
            elif not options:
                assert part in shown.decode(encoding), command


@pytest.mark.parametrize("encoding", ["ascii"])
def test_help_can_be_written(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for command in COMMANDS:
        written = capture(monkeypatch, encoding)
        assert main([command, "--help"]) == 0
        assert b"Examples:" in written.getvalue()


def test_commands_write_by_this_module_only() -> None:
    folder = Path(__file__).resolve().parents[2] / "stream" / "cli"
    others = {path.name for path in folder.glob("*.py") if "click.echo(" in path.read_text("utf-8")}
    assert others == {"output.py"}


@pytest.mark.parametrize(
    ("redirection", "status", "said"),
    [
        (">&-", 0, ""),
        ("2>&-", 0, ""),
        (">&- 2>&-", 0, ""),
        (">/dev/full", 1, "error: the output cannot be written: No space left on device\n"),
    ],
)
def test_outputs_that_are_closed_or_full(redirection: str, status: int, said: str, tmp_path: Path) -> None:
    command = f"'{sys.executable}' -m forebay config {redirection}"
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run(["sh", "-c", command], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (status, said)


def test_a_reader_that_closes_the_pipe_ends_every_command_quietly(
    place: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = tmp_path / "errors"
    for command in (
        "check",
        "config",
        "topics check",
        "topics create",
        "tail features --from-beginning --limit 1",
        "dlq list",
        "dlq show 0:0",
        "dlq stats",
        "dlq replay --dry-run",
        "errors",
        "status",
        "acls worker",
        "publish --features [1,2,3]",
    ):
        reader, writer = os.pipe()
        os.close(reader)
        with open(writer, "wb", buffering=0) as closed, said.open("wb") as errors:
            process = start_module(
                "forebay.stream.cli",
                [*command.split(), *place],
                closed.fileno(),
                errors=errors.fileno(),
                imports=["forebay.stream.cli.group", "forebay.stream.config.load", "aiokafka"],
            )
        status, written = process.wait(120), said.read_text()
        assert "Traceback" not in written and "Exception ignored" not in written, (command, written)
        assert status == 1, (command, written)
