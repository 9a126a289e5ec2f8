"""`forebay run --with-aggregator`: the aggregator runs as long as the worker, and restarts if it ends by itself."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from forebay.stream.aggregate import sidecar_process
from forebay.stream.cli.options import ConfigSource
from tests.eventually import eventually_sync

STUB = """\
import os, signal, sys, time
with open(sys.argv[1], "a") as file:
    file.write(f"{os.getpid()} {sys.argv[2:]}\\n")
if sys.argv[2] == "dies" and sum(1 for _ in open(sys.argv[1])) == 1:
    sys.exit(3)
signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.1), sys.exit(0)))
while True:
    time.sleep(0.05)
"""


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Replace the aggregator by a process that logs its start."""
    stub, log = tmp_path / "stub.py", tmp_path / "log"
    stub.write_text(STUB)
    monkeypatch.setattr(sidecar_process, "RESTART_AFTER_S", 0.05)
    monkeypatch.setattr(
        sidecar_process, "tied_to_parent", lambda command, _pid: [sys.executable, str(stub), str(log), *command[5:]]
    )
    return log


def lines(log: Path, count: int) -> list[str]:
    def written() -> list[str]:
        return log.read_text().splitlines() if log.exists() else []

    return eventually_sync(written, f"{count} starts of the stub", until=lambda found: len(found) >= count)


def test_the_aggregator_runs_as_long_as_the_block(started: Path) -> None:
    with sidecar_process.sidecar_aggregator(["-c", "x.toml"], os.environ):
        (line,) = lines(started, 1)
        pid = int(line.split()[0])
        assert "['-c', 'x.toml', '--set', 'admin.port=0']" in line
        os.kill(pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_an_aggregator_that_ends_is_restarted(started: Path, caplog: pytest.LogCaptureFixture) -> None:
    with sidecar_process.sidecar_aggregator(["dies"], os.environ):
        first, second = lines(started, 2)
        assert first != second
    assert "the aggregator ended with exit status 3" in caplog.text


def test_the_aggregator_gets_the_arguments_of_the_worker() -> None:
    source = ConfigSource(Path("a b.toml"), {}, {"kafka.group_id": "g", "input.topics": "a,b"})
    assert source.arguments() == ["-c", "a b.toml", "--set", "kafka.group_id=g", "--set", "input.topics=a,b"]
    assert ConfigSource(None, {}, {}).arguments() == []


def test_the_aggregator_ends_with_its_parent_process() -> None:
    command = sidecar_process._Sidecar(["-c", "x"], {})._command
    assert command[-8:] == ["-P", "-m", "forebay", "aggregate", "-c", "x", "--set", "admin.port=0"]
