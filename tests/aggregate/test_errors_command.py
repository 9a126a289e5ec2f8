"""The commands `forebay errors` and `forebay aggregate`."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from aiokafka import TopicPartition

from forebay.stream.aggregate.delta import Exemplar
from forebay.stream.aggregate.state import PartitionState
from forebay.stream.cli import main
from tests.aggregate.build import MODEL_ERROR, NOT_JSON, PREDICTED, TIMING, delta
from tests.aggregate.harness import PARTITIONS, AggregatorGroup
from tests.brokers.clients import create_topic, producer, send_batch
from tests.brokers.resolve import Broker
from tests.conftest import Names

Forebay = Callable[..., tuple[int, str, str]]


@pytest.fixture
def place(embedded_broker: Broker, names: Names, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    return ["--bootstrap-server", embedded_broker.bootstrap, "--set", f"topics.prefix={names('')}"]


@pytest.fixture
def forebay(place: list[str], capsys: pytest.CaptureFixture[str]) -> Forebay:
    def call(*arguments: str) -> tuple[int, str, str]:
        status = main(["errors", *arguments, *place])
        output = capsys.readouterr()
        return status, output.out, output.err

    return call


async def fill(broker: Broker, topic: str) -> None:
    """Write aggregates of the current minute, one of them also in an earlier revision."""
    now_ms = time.time_ns() // 1_000_000
    start = now_ms // 60_000 * 60_000
    at = {"window_start": start, "window_end": start + 60_000, "first_seen": now_ms, "last_seen": now_ms}
    state = PartitionState(1)
    deltas = [
        delta(0, PREDICTED, 90, **at),
        delta(0, NOT_JSON, 4, sample_ids=("e1",), **at),
        delta(0, NOT_JSON, 4, **at),
        delta(0, MODEL_ERROR, 2, exemplar=Exemplar("boom …", "1", "File m.py"), **at),
    ]
    rows = []
    for offset, one in enumerate(deltas):
        state.apply(offset, now_ms, one)
        rows += state.take_updates(None, TIMING)
    await create_topic(broker.bootstrap, topic, 2)
    async with producer(broker.bootstrap) as client:
        values = [value or b"" for _, value in rows]
        await send_batch(client, TopicPartition(topic, 1), values, keys=[key for key, _ in rows])


def test_errors_shows_the_last_hour(embedded_broker: Broker, names: Names, forebay: Forebay) -> None:
    asyncio.run(fill(embedded_broker, names("error-aggregates")))
    status, out, err = forebay()
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[2].split()[:5] == ["not_json", "decode", "m", "v1", "8"] and "8.00%" in lines[2]
    assert lines[3].split()[:5] == ["model_error", "model", "m", "v1", "2"] and "boom …" in lines[3]
    assert "10 of 100 events since" in out and "File m.py" not in out
    assert "File m.py" in forebay("--stacks")[1]
    told = json.loads(forebay("--json")[1])
    assert [(one["kind"], one["count"], one["rate"]) for one in told["errors"]] == [
        ("not_json", 8, 0.08),
        ("model_error", 2, 0.02),
    ]
    assert [one["kind"] for one in json.loads(forebay("--json", "--kind", "model_error")[1])["errors"]] == [
        "model_error"
    ]
    assert "no events since" in forebay("--model", "nobody")[1]


def test_watch_refreshes_until_it_is_stopped(
    embedded_broker: Broker, names: Names, place: list[str], tmp_path: Path
) -> None:
    asyncio.run(fill(embedded_broker, names("error-aggregates")))
    command = [sys.executable, "-m", "forebay", "errors", "--watch", "--json", "--interval", "0.2", *place]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as process:
        assert process.stdout is not None
        told = [json.loads(process.stdout.readline()) for _ in range(3)]
        process.send_signal(2)
        assert process.wait(20) == 130
    assert [one["failures"] for one in told] == [10, 10, 10]


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        ([], 1, "there is no topic"),
        (["--since", "yesterday"], 2, "--since 'yesterday' is not a time"),
        (["--kind", "not_jsn"], 2, "did you mean 'not_json'?"),
        (["--interval", "0"], 2, "--interval"),
    ],
)
def test_invalid_options_are_reported(forebay: Forebay, arguments: list[str], status: int, told: str) -> None:
    found, out, err = forebay(*arguments)
    assert (found, out) == (status, "") and told in err and "Traceback" not in err


@pytest.mark.parametrize("command", ["errors", "aggregate"])
def test_help_has_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert "Examples:" in capsys.readouterr().out


def test_the_aggregator_reports_what_is_missing(
    embedded_broker: Broker, names: Names, tmp_path: Path, unused_tcp_port: int
) -> None:
    def run(*settings: str) -> subprocess.CompletedProcess[str]:
        options = [part for setting in settings for part in ("--set", setting)]
        command = [sys.executable, "-P", "-m", "forebay", "aggregate", *options]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False)

    away = run(f"kafka.bootstrap_servers=127.0.0.1:{unused_tcp_port}")
    assert away.returncode == 1 and "error: cannot reach Kafka at" in away.stderr and "Traceback" not in away.stderr
    empty = run(f"kafka.bootstrap_servers={embedded_broker.bootstrap}", f"topics.prefix={names('')}")
    assert empty.returncode == 1 and f"topic {names('outcome-deltas')} does not exist" in empty.stderr
    wrong = run('aggregate.alerts=[{"name":"a"}]')
    assert wrong.returncode == 2 and "must have either count or rate" in wrong.stderr


async def test_a_recreated_delta_topic_ends_the_aggregator_with_the_reason(aggregator_group: AggregatorGroup) -> None:
    await aggregator_group.create()
    changelog = aggregator_group.topic("aggregator-changelog")
    await create_topic(aggregator_group.bootstrap, changelog, PARTITIONS, configs={"cleanup.policy": "compact"})
    async with producer(aggregator_group.bootstrap) as client:
        position = b'{"format":1,"next_offset":7,"closed_before":0}'
        await send_batch(client, TopicPartition(changelog, 1), [position], keys=[b"1|position"])
    aggregator = aggregator_group.start()
    assert await asyncio.to_thread(aggregator.process.wait, 60) == 1
    source = aggregator_group.topic("outcome-deltas")
    assert (
        f"partition 1 of {source} ends at offset 0, but the aggregator has counted it up to 7: "
        "the topic was deleted and created again"
    ) in aggregator.log
    assert f"hint: delete the topic {changelog}" in aggregator.log and "Traceback" not in aggregator.log
