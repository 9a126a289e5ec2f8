"""The end of a worker process, with programs in place of the worker."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from forebay.schemas.errors import BrokerError
from forebay.stream.core.clock import SystemClock
from forebay.stream.core.log_lines import READY_LINE
from forebay.stream.embedded.worker_process import WorkerProcess
from tests.eventually import eventually


def worker(folder: Path, script: str) -> WorkerProcess:
    package = folder / "forebay"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(script)
    return WorkerProcess(
        folder / "forebay.toml",
        folder / "log",
        environ={**os.environ, "PYTHONPATH": str(folder)},
        clock=SystemClock(),
        die_with_parent=True,
    )


def ends_at_once(line: str) -> str:
    """A program that SIGTERM ends at once, as a worker while it starts."""
    return (
        "import os, signal, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: os._exit(143))\n"
        f"print({line!r}, flush=True)\n"
        "time.sleep(60)\n"
    )


async def test_a_worker_that_is_stopped_while_it_starts_has_nothing_to_drain(tmp_path: Path) -> None:
    starting = worker(tmp_path, ends_at_once("importing"))
    starting.start()
    await eventually(starting.log_tail, "the program to run", until="importing".__eq__)
    await starting.stop()


async def test_a_worker_that_is_stopped_before_it_runs_any_code_has_nothing_to_drain(tmp_path: Path) -> None:
    starting = worker(tmp_path, "import time; time.sleep(60)")
    starting.start()
    await starting.stop()


async def test_a_ready_worker_must_drain(tmp_path: Path) -> None:
    ready = worker(tmp_path, ends_at_once(READY_LINE))
    ready.start()
    await ready.wait_ready()
    with pytest.raises(BrokerError, match="ended with status 143 instead of draining"):
        await ready.stop()


async def test_a_worker_that_fails_while_it_starts_is_reported(tmp_path: Path) -> None:
    failing = worker(tmp_path, "raise SystemExit(2)")
    failing.start()
    await eventually(lambda: failing, "the program to end", until=has_ended)
    with pytest.raises(BrokerError, match="ended with status 2 instead of draining"):
        await failing.stop()


def has_ended(process: WorkerProcess) -> bool:
    try:
        process.check()
    except BrokerError:
        return True
    return False
