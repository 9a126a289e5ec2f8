"""The command `forebay demo`: a real worker in its own process, on the embedded broker and on Apache Kafka."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from tests.brokers.resolve import Broker
from tests.eventually import eventually_sync

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
EVENTS = 2000


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], list[str]]:
    """The cache folder with a model that a demo has trained, its report, and what it left in its temporary folder."""
    cache, folder = tmp_path_factory.mktemp("cache"), tmp_path_factory.mktemp("first")
    report = demo(cache, environment(folder))
    return cache, report, left_in(folder) + processes(str(folder))


@pytest.fixture
def cache(trained: tuple[Path, dict[str, Any], list[str]]) -> Path:
    """The model is trained once for the module."""
    return trained[0]


def environment(folder: Path) -> Mapping[str, str]:
    return {**os.environ, "TMPDIR": str(folder), "FOREBAY_KAFKA__GROUP_ID": "must not reach the worker"}


@pytest.fixture
def environ(tmp_path: Path) -> Mapping[str, str]:
    """A separate temporary folder, to see what is left in it."""
    return environment(tmp_path)


def command(cache: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "forebay", "demo", "--cache-dir", str(cache), *arguments]


def demo(cache: Path, environ: Mapping[str, str], *arguments: str) -> dict[str, Any]:
    """Run a demo that succeeds and return its report."""
    done = subprocess.run(
        command(cache, "--events", str(EVENTS), "--rate", "2000", "--json", *arguments),
        env=environ, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def left_in(folder: Path) -> list[str]:
    """Return the contents without the folder that torch creates when it trains."""
    return [path.name for path in folder.iterdir() if not path.name.startswith("torchinductor_")]


def processes(marker: str) -> list[str]:
    """Return the command lines of running processes that contain `marker`."""
    lines = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in lines if marker in line]


def check(report: dict[str, Any]) -> None:
    assert report["exact"] is True
    assert report["events"] == EVENTS == sum(report["outcomes"].values())
    # The first days of July 2013, when storms cancelled some flights.
    assert report["outcomes"]["rejected"] > 0 and report["outcomes"]["failed"] == 0
    assert {error["kind"] for error in report["errors"]} <= {"missing_value", "unknown_category"}
    assert (
        report["aggregator"]["equal"] is True and report["aggregator"]["predicted"] == report["outcomes"]["predicted"]
    )
    assert report["aggregator"]["kinds"] == {error["kind"]: error["count"] for error in report["errors"]}
    (version,) = report["evaluated"]
    assert report["evaluated_equal"] is True and version["matched"] == report["quality"]["rows"]
    assert version["accuracy"] == pytest.approx(report["quality"]["accuracy"])
    assert version["roc_auc"] == pytest.approx(report["quality"]["roc_auc"], abs=0.01)
    assert 0 < report["latency_ms"]["p50"] <= report["latency_ms"]["p99"]
    assert report["quality"]["roc_auc"] > 0.8
    assert report["quality"]["accuracy"] > report["quality"]["base_accuracy"]
    assert report["quality"]["log_loss"] < report["quality"]["base_log_loss"]


def test_the_demo_trains_a_model_and_runs_on_the_embedded_broker(
    trained: tuple[Path, dict[str, Any], list[str]],
) -> None:
    _, report, left = trained
    check(report)
    assert report["model"]["cached"] is False and left == []


@pytest.mark.long
def test_the_next_demo_reuses_the_model(
    trained: tuple[Path, dict[str, Any], list[str]], environ: Mapping[str, str], tmp_path: Path
) -> None:
    cache, first, _ = trained
    second = demo(cache, environ)
    check(second)
    assert second["model"]["cached"] is True
    assert second["outcomes"] == first["outcomes"]
    # The last digits depend on how the events fell into batches.
    assert second["quality"] == pytest.approx(first["quality"], rel=1e-6)
    assert left_in(tmp_path) == []
    assert processes(str(tmp_path)) == []


@pytest.mark.long
async def test_the_demo_leaves_nothing_on_a_real_kafka(cache: Path, environ: Mapping[str, str], kafka: Broker) -> None:
    check(demo(cache, environ, "--bootstrap-server", kafka.bootstrap))
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        assert not [topic for topic in await admin.list_topics() if topic.startswith("forebay-demo-")]
    finally:
        await admin.close()


@pytest.fixture
def kept(cache: Path, environ: Mapping[str, str], tmp_path: Path) -> Iterator[str]:
    """The output of a demo with --keep; its processes are killed afterwards."""
    done = subprocess.run(
        command(cache, "--events", "100", "--keep"), env=environ, capture_output=True, text=True, timeout=240
    )
    try:
        assert done.returncode == 0, done.stdout + done.stderr
        yield done.stdout
    finally:
        for line in subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True).stdout.splitlines():
            if str(tmp_path) in line:
                with suppress(ProcessLookupError):
                    os.kill(int(line.split()[0]), signal.SIGKILL)


@pytest.mark.long
def test_the_suggested_next_steps_work(kept: str, environ: Mapping[str, str], tmp_path: Path) -> None:
    lines = [line.strip() for line in kept.splitlines()]
    assert any("Aggregator" in line and "✓ same counts: " in line for line in lines)
    publish, predictions, dead_letters, errors, quality, status = (
        line for line in lines if line.startswith("forebay ")
    )

    def run(line: str, *more: str) -> str:
        _, *arguments = shlex.split(line)
        done = subprocess.run(
            [sys.executable, "-m", "forebay", *arguments, *more],
            env={name: value for name, value in environ.items() if not name.startswith("FOREBAY_")},
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    event_id = json.loads(run(publish, "--json"))["id"]
    assert len(run(predictions).splitlines()) == 5
    assert "missing_value" in run(dead_letters)
    everything = predictions.replace("--limit 5", "--timeout 3")
    assert event_id in run(everything)
    assert "missing_value" in run(errors)
    assert "accuracy" in run(quality)
    assert "ready" in run(status)
    (page,) = (line.split()[0] for line in lines if line.startswith("http"))
    with urllib.request.urlopen(page, timeout=10) as answer:
        assert b"<title>Forebay" in answer.read()
    stop = next(line for line in lines if line.startswith("kill "))
    subprocess.run(["bash", "-c", stop], check=True, timeout=60)
    eventually_sync(lambda: processes(str(tmp_path)), "the end of all processes", until=lambda left: left == [])
    assert left_in(tmp_path) == []


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing_behind(
    cache: Path, environ: Mapping[str, str], tmp_path: Path, number: signal.Signals
) -> None:
    process = subprocess.Popen(
        command(cache, "--rate", "100"),
        env=environ,
        stderr=subprocess.PIPE,
        text=True,
        # A shell lets background processes ignore SIGINT, which is inherited: this test may run in the background.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        assert process.stderr is not None
        assert any("replaying" in line for line in process.stderr)
        process.send_signal(number)
        assert process.wait(60) == 128 + number
    finally:
        process.kill()
        process.communicate()
    assert left_in(tmp_path) == []
    assert processes(str(tmp_path)) == []


@pytest.mark.long
def test_a_worker_that_cannot_start_is_reported_with_its_log(
    cache: Path, environ: Mapping[str, str], tmp_path: Path
) -> None:
    assert tempfile.gettempdir() != str(tmp_path)
    damaged = tmp_path / "damaged"
    subprocess.run(["cp", "-r", str(cache), str(damaged)], check=True)
    for weights in damaged.rglob("weights.safetensors"):
        weights.write_bytes(b"x" * weights.stat().st_size)
    done = subprocess.run(command(damaged, "--events", "10"), env=environ, capture_output=True, text=True, timeout=240)
    assert done.returncode == 1
    assert "the worker ended by itself" in done.stderr and "weights.safetensors" in done.stderr
    assert "--retrain" in done.stderr
    assert left_in(tmp_path) == ["damaged"]
