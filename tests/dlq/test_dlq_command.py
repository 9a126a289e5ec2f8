"""The command `forebay dlq`: its output, its questions and its exit status."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from aiokafka import TopicPartition as ClientTopicPartition

from forebay.schemas.failures import FailureKind
from forebay.stream.cli import main
from forebay.stream.config.sections import KafkaSection, Settings, TopicsSection
from forebay.stream.core.clock import SystemClock
from forebay.stream.core.records import TopicPartition
from forebay.stream.kafka.cluster.topics import create_topics
from tests.brokers.clients import producer, send_batch
from tests.brokers.resolve import Broker
from tests.conftest import Names
from tests.dlq.build import EVENT, dead_letter_record

NOW_MS = SystemClock().wall_ms()
HOUR_MS = 3_600_000
ROOT = Path(__file__).resolve().parent.parent.parent

Forebay = Callable[..., tuple[int, str, str]]


def dead_letter_records(topic: str) -> list[list[object]]:
    """Return value, key, headers and timestamp of six dead letters: four of decode, one of a model, and one that is cut."""
    at = TopicPartition(topic, 1)
    records = [
        dead_letter_record(0, source=at, source_offset=1, timestamp=NOW_MS - 50 * HOUR_MS, value=b'{"id":'),
        dead_letter_record(0, source=at, source_offset=2, timestamp=NOW_MS - 40 * HOUR_MS, value=b"\xff\x00"),
        dead_letter_record(
            0,
            source=at,
            source_offset=3,
            timestamp=NOW_MS - 30 * HOUR_MS,
            kind=FailureKind.MODEL_ERROR,
            message="it chokes",
            model="late",
            headers=[("tenant", b"x")],
        ),
        dead_letter_record(
            0, source=at, source_offset=4, timestamp=NOW_MS - 20 * HOUR_MS, kind=FailureKind.UNKNOWN_MODEL
        ),
        dead_letter_record(
            0,
            source=at,
            source_offset=5,
            timestamp=NOW_MS - 10 * HOUR_MS,
            kind=FailureKind.TOO_LARGE,
            value=b"x" * 5000,
            max_bytes=2000,
        ),
        dead_letter_record(
            0,
            source=at,
            source_offset=6,
            timestamp=NOW_MS - 5 * HOUR_MS,
            kind=FailureKind.UNKNOWN_MODEL,
            headers=[("forebay.replay.count", b"3"), ("forebay.replay.from", b"elsewhere-0@1")],
        ),
    ]
    return [[record.value or b"", record.key, record.headers, record.timestamp] for record in records]


@pytest.fixture
def broker(embedded_broker: Broker) -> Broker:
    """The embedded broker suffices: test_reader.py and test_replay.py read and write on a real one, too."""
    return embedded_broker


@pytest.fixture
def place(broker: Broker, names: Names, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Create this test's topics with dead letters; return the options that name them."""
    monkeypatch.chdir(tmp_path)
    settings = Settings(kafka=KafkaSection(bootstrap_servers=broker.bootstrap), topics=TopicsSection(prefix=names("")))

    async def prepare() -> None:
        await create_topics(settings)
        values, keys, headers, timestamps = zip(*dead_letter_records(names("features")), strict=True)
        async with producer(broker.bootstrap) as writer:
            where = ClientTopicPartition(names("dead-letters"), 1)
            await send_batch(writer, where, values, keys=keys, headers=headers, timestamps=timestamps)  # type: ignore[arg-type]
            await send_batch(writer, ClientTopicPartition(names("dead-letters"), 2), [b"not a dead letter"])

    asyncio.run(prepare())
    return ["--bootstrap-server", broker.bootstrap, "--set", f"topics.prefix={names('')}"]


@pytest.fixture
def forebay(place: list[str], capsys: pytest.CaptureFixture[str]) -> Forebay:
    """`forebay("list")` runs `forebay dlq list` and returns status, output and errors."""

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(["dlq", *arguments, *place])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return status, captured.out, captured.err

    return run


def listed(forebay: Forebay, *arguments: str) -> list[int]:
    """Return the offsets of the events in the list."""
    status, out, _ = forebay("list", "--json", *arguments)
    assert status == 0
    return [json.loads(line)["source"]["offset"] for line in out.splitlines()]


def test_list_prints_a_table(forebay: Forebay, names: Names) -> None:
    status, out, err = forebay("list")
    lines = out.splitlines()
    assert status == 0 and err == ""
    assert lines[0].split() == ["record", "time", "kind", "stage", "from", "key", "message"]
    assert [line.split()[0] for line in lines[2:]] == [f"1:{offset}" for offset in range(6)]
    assert f"{names('features')}-1@3" in lines[4] and "model_error" in lines[4] and "it chokes" in lines[4]
    status, out, err = forebay("list", "--limit", "2")
    assert [line.split()[0] for line in out.splitlines()[2:]] == ["1:4", "1:5"]
    assert "the newest 2 of 6" in err
    assert forebay("list", "--model", "nobody")[1] == (
        f"no dead letter in {names('dead-letters')} matches (6 dead letters read, and 1 other record)\n"
    )


def test_each_filter_selects_its_dead_letters(forebay: Forebay, names: Names) -> None:
    assert listed(forebay) == [1, 2, 3, 4, 5, 6]
    assert listed(forebay, "--limit", "2") == [5, 6]
    assert listed(forebay, "--kind", "not_json", "--kind", "model_error") == [1, 2, 3]
    assert listed(forebay, "--stage", "model") == [3]
    assert listed(forebay, "--model", "late") == [3]
    assert listed(forebay, "--topic", names("features")) == listed(forebay, "--topic", "features") == [1, 2, 3, 4, 5, 6]
    assert listed(forebay, "--topic", "other") == []
    assert listed(forebay, "--since", "25h") == [4, 5, 6]
    assert listed(forebay, "--until", "25h") == [1, 2, 3]
    assert listed(forebay, "--since", "45h", "--until", str(NOW_MS - 20 * HOUR_MS)) == [2, 3]
    assert listed(forebay, "--since", "25h", "--kind", "unknown_model") == [4, 6]


def test_show_prints_a_dead_letter_in_full(forebay: Forebay, names: Names) -> None:
    status, out, _ = forebay("show", "1:2")
    assert status == 0
    for words in (
        f"{names('dead-letters')}-1@2",
        "model_error at model, failed",
        "it chokes",
        "tenant = x",
        "late v2",
    ):
        assert words in out
    assert "fix the model and publish a new version" in out and '  "id": "e1",' in out
    assert forebay("show", "--source", f"{names('features')}-1@3") == (0, out, "")
    status, out, err = forebay("show", "--id", "e1", "--json")
    assert (status, json.loads(out)["source"]["offset"], err) == (
        0,
        6,
        "showing the newest of 3 dead letters of this event\n",
    )
    assert "\\xff" not in forebay("show", "1:1")[1] and "00000000  ff 00" in forebay("show", "1:1")[1]
    assert "replayed" in forebay("show", "1:5")[1] and "truncated" in forebay("show", "1:4")[1]


@pytest.mark.parametrize(("where", "value"), [("1:1", b"\xff\x00"), ("1:2", EVENT), ("1:4", None)])
def test_show_value_writes_only_the_original_bytes(place: list[str], where: str, value: bytes | None) -> None:
    command = [sys.executable, "-m", "forebay", "dlq", "show", where, "--value", *place]
    done = subprocess.run(command, capture_output=True, check=True, cwd=ROOT)
    assert done.stdout == value or (value is None and set(done.stdout) == {ord("x")})


@pytest.mark.parametrize(
    ("arguments", "status", "expected"),
    [
        (["show"], 2, "give exactly one of PARTITION:OFFSET, --source and --id"),
        (["show", "1:2", "--id", "e1"], 2, "give exactly one of"),
        (["show", "12"], 2, "'12' is not PARTITION:OFFSET"),
        (["show", "--source", "features"], 2, "'features' is not TOPIC-PARTITION@OFFSET"),
        (["show", "1:99"], 1, "partition 1 holds offsets 0 to 5"),
        (["show", "99:0"], 1, "has no partition 99"),
        (["show", "2:0"], 1, "the record is not a dead letter"),
        (["show", "--id", "nobody"], 1, "none of the 6 dead letters"),
        (["list", "--kind", "not_jsn"], 2, "did you mean 'not_json'?"),
        (["list", "--stage", "lunch"], 2, "lunch"),
        (["list", "--since", "yesterday"], 2, "--since 'yesterday' is not a time"),
        (["list", "--since", "1h", "--until", "2h"], 2, "from --since 1h to --until 2h is empty"),
        (["list", "--limit", "0"], 2, "--limit"),
        (["stats", "--dead-letter-topic", "nowhere"], 1, "there is no topic 'nowhere'"),
        (["replay"], 2, "standard input is not a terminal"),
        (["replay", "--yes", "--max-replays", "0"], 2, "--max-replays"),
    ],
)
def test_mistakes_are_reported(forebay: Forebay, arguments: list[str], status: int, expected: str) -> None:
    exit_status, out, err = forebay(*arguments)
    assert (exit_status, out) == (status, "") and expected in err


def test_stats_counts_dead_letters(forebay: Forebay, names: Names) -> None:
    status, out, _ = forebay("stats", "--json")
    document = json.loads(out)
    assert status == 0
    assert (document["topic"], document["letters"], document["truncated"], document["replayed"]) == (
        names("dead-letters"),
        6,
        1,
        1,
    )
    counts = {entry["kind"]: entry["count"] for entry in document["kinds"]}
    assert counts == {"not_json": 2, "unknown_model": 2, "model_error": 1, "too_large": 1}
    assert document["topics"][0]["topic"] == names("features") and document["first_seen"] == NOW_MS - 50 * HOUR_MS
    assert json.loads(forebay("stats", "--json", "--limit", "2")[1])["letters"] == 2
    assert json.loads(forebay("stats", "--json", "--kind", "not_finite")[1])["kinds"] == []
    status, out, _ = forebay("stats")
    assert out.startswith(f"6 dead letters in {names('dead-letters')}, from ") and "█" in out
    assert "no dead letter in" in forebay("stats", "--kind", "not_finite")[1]


def test_replay_publishes_and_reports(forebay: Forebay, names: Names) -> None:
    dry = json.loads(forebay("replay", "--dry-run", "--json")[1])
    assert dry == {
        "topic": names("dead-letters"),
        "dry_run": True,
        "planned": 5,
        "replayed": 0,
        "topics": {names("features"): 5},
        "skipped": {"truncated": 1},
        "beyond_limit": 0,
        "unproven_replays": 1,
        "without_token": 0,
        "seconds": 0.0,
    }
    lines = [" ".join(line.split()) for line in forebay("replay", "--dry-run")[1].splitlines()]
    assert f"would replay 5 to {names('features')}" in lines
    status, out, _ = forebay("replay", "--yes", "--kind", "unknown_model")
    assert status == 0 and "published 2 events again in" in out and "the dead letters stay in" in out
    document = json.loads(forebay("replay", "--yes", "--json", "--limit", "1")[1])
    assert (document["replayed"], document["beyond_limit"], document["dry_run"]) == (1, 4, False)
    status, out, _ = forebay("replay", "--yes", "--kind", "too_large")
    assert status == 0 and "skipped" in out and "published" not in out
    assert forebay("replay", "--yes", "--kind", "not_finite")[1] == "no dead letter matches: nothing to replay\n"


@pytest.mark.parametrize(
    ("answer", "status", "expected"), [("y", 0, "published 5 events again"), ("n", 1, "nothing was")]
)
def test_replay_asks_on_a_terminal(
    forebay: Forebay, answer: str, status: int, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions: list[str] = []

    def confirm(question: str, **_: object) -> bool:
        questions.append(question)
        return answer == "y"

    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.confirm", confirm)
    exit_status, out, err = forebay("replay")
    assert exit_status == status and expected in out + err
    assert "would replay" in out and questions == ["Publish 5 events again?"]


def test_an_unreachable_cluster_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("list", "stats", "replay"):
        yes = ["--yes"] if name == "replay" else []
        assert main(["dlq", name, *yes, "--bootstrap-server", "127.0.0.1:1"]) == 1
        assert "Kafka at 127.0.0.1:1" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["list", "show", "stats", "replay"])
def test_help_has_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dlq", name, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"forebay dlq {name}" in out.split("Examples:")[1]


def test_importing_it_imports_no_client() -> None:
    heavy = "{'aiokafka', 'torch', 'numpy', 'pyarrow', 'rich', 'pydantic', 'orjson'}"
    code = f"import sys, forebay.stream.cli.dlq; print(sorted({heavy} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
