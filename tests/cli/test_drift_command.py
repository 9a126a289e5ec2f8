"""The command `forebay drift`."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from aiokafka import TopicPartition

from forebay.stream.cli import main
from forebay.stream.core.clock import SystemClock
from forebay.stream.drift.wire import encode_drift
from tests.brokers.clients import create_topic, producer, send_batch
from tests.brokers.resolve import Broker
from tests.conftest import Names
from tests.drift.build import WINDOW_MS, CountingWorker, bins_of, key_of, signature_of

NUM_COLUMNS = 24


def records(model: str, *, windows: int, factor: float, newest: int) -> list[bytes]:
    """Return records of windows in which column x3 is `factor` times what it was in the training."""
    rng = np.random.default_rng(0)
    x_NF = rng.normal(5, 1, size=(5_000, NUM_COLUMNS)).astype(np.float32)
    worker = CountingWorker(bins_of(signature_of(NUM_COLUMNS), x_NF))
    values = []
    for number in range(windows):
        x_BF = rng.normal(5, 1, size=(1_200, NUM_COLUMNS)).astype(np.float32)
        x_BF[:, 3] *= factor
        counts = worker.count(key_of(newest - windows + 1 + number, model=model), x_BF)
        values.append(encode_drift(counts, worker="w", number=number + 1)[1])
    return values


@pytest.fixture
def place(embedded_broker: Broker, names: Names, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Create the topic with counts of two models; return the options that name it."""
    monkeypatch.chdir(tmp_path)
    now = SystemClock().wall_ms() // WINDOW_MS

    async def prepare() -> None:
        topic = names("drift")
        await create_topic(embedded_broker.bootstrap, topic, 1)
        async with producer(embedded_broker.bootstrap) as writer:
            values = [
                *records("fraud", windows=2, factor=1_000, newest=now - 2),
                *records("churn", windows=1, factor=1, newest=now - 2),
                *records("churn", windows=1, factor=1, newest=now + 1),
                b"{}",
            ]
            await send_batch(writer, TopicPartition(topic, 0), values)

    asyncio.run(prepare())
    return ["--bootstrap-server", embedded_broker.bootstrap, "--set", f"topics.prefix={names('')}"]


def test_columns_that_differ_are_named(place: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(["drift", *arguments, *place])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    status, out, err = run()
    assert status == 0, err
    assert "skipped 1 record that cannot be read as drift" in err
    churn, fraud = out.split("fraud version 1\n")
    assert churn.startswith("churn version 1\nthe window from ") and "is not over: 1,200 rows counted so far" in churn
    assert churn.count("no drift") == 1
    assert "skew alarm: feature x3: PSI" in fraud
    assert "100.0% out of the range of the training data" in fraud
    assert fraud.count("1 column beyond a threshold") == 2
    assert "6 more with --all" in fraud, "of 24 features, a score and the class"
    (row,) = (line for line in fraud.splitlines() if line.startswith("x3 "))
    assert row.split()[-3:] == ["–", "100.0%", "alarm"]

    status, out, _ = run("--model", "fraud", "--json")
    document = json.loads(out)
    assert {(one["column"], one["kind"], one["level"]) for one in document["findings"]} == {("x3", "skew", "alarm")}
    assert [window["state"] for window in document["windows"]] == ["judged"] * 2 and document["open"] == []

    status, out, err = run("--model", "other")
    assert (status, out) == (0, "")
    assert "holds no counts of this model or time; it holds those of churn, fraud" in err


def test_watch_shows_what_is_added(
    embedded_broker: Broker, names: Names, place: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    def num_open(line: bytes) -> int:
        return len(json.loads(line)["open"])

    async def add() -> None:
        newest = SystemClock().wall_ms() // WINDOW_MS + 2
        async with producer(embedded_broker.bootstrap) as writer:
            await send_batch(
                writer, TopicPartition(names("drift"), 0), records("churn", windows=1, factor=1, newest=newest)
            )

    command = [sys.executable, "-m", "forebay", "drift", "--watch", "--json", "--interval", "0.2", *place]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, b"")
        before = num_open(next(lines))
        asyncio.run(add())
        assert any(num_open(line) == before + 1 for line in lines)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    assert capfd.readouterr().err.count("cannot be read as drift") == 1
