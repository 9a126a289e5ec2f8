"""The launcher, with ranks that import nothing and so start quickly."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from forebay.models.distributed.launcher import Launcher, LaunchOptions, RankFailure, first_cause
from forebay.schemas.errors import ModelError
from tests.eventually import eventually_sync
from tests.source_files import ROOT

PRELUDE = """
import os, signal, sys, time
rank, attempt = int(os.environ["RANK"]), int(os.environ["FOREBAY_ATTEMPT"])
def say(text): print(text, file=sys.stderr, flush=True)
def wait(): time.sleep(60); say("waited")
"""


def launcher(program: str, options: LaunchOptions, report: Callable[[str], None] = lambda line: None) -> Launcher:
    command = [sys.executable, "-S", "-E", "-c", PRELUDE + textwrap.dedent(program)]
    return Launcher(command, options, environ=os.environ, report=report)


def failed(program: str, options: LaunchOptions | None = None) -> tuple[str, list[str]]:
    """Return the message of a run that fails, and the reported lines; checks that it does not take a minute."""
    lines: list[str] = []
    start = time.monotonic()
    with pytest.raises(ModelError) as raised:
        launcher(program, options or LaunchOptions(2, settle_s=0.3, grace_s=0.3), lines.append).run()
    assert time.monotonic() - start < 30  # the programs would wait for 60 seconds
    return raised.value.message, lines


def test_each_rank_gets_its_environment(tmp_path: Path) -> None:
    names = ["RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "OMP_NUM_THREADS"]
    program = f"""
    with open({str(tmp_path)!r} + f"/{{rank}}", "w") as file:
        file.write(" ".join(os.environ[name] for name in {names}))
    if rank == 0:
        import socket
        with socket.socket(fileno=int(os.environ["FOREBAY_LISTENER"])) as listener:
            assert listener.getsockname()[1] == int(os.environ["MASTER_PORT"])
    """
    launch = launcher(program, LaunchOptions(2))
    launch._environ["OMP_NUM_THREADS"] = "1"
    launch.run()
    assert [(tmp_path / str(rank)).read_text() for rank in range(2)] == ["0 0 2 2 127.0.0.1 1", "1 1 2 2 127.0.0.1 1"]


def test_a_killed_rank_ends_all_with_its_number_and_signal() -> None:
    message, _ = failed("os.kill(os.getpid(), signal.SIGKILL) if rank == 1 else wait()")
    assert "rank 1 was killed by SIGKILL" in message and "no memory left" in message


def test_an_exception_in_a_rank_ends_all_with_its_last_lines() -> None:
    message, lines = failed("if rank == 1:\n    say('before')\n    raise MemoryError('too large')\nwait()")
    assert "rank 1 ended with exit status 1" in message
    assert "MemoryError: too large" in message and "before" in message
    assert "[rank 1] before" in lines


def test_the_rank_that_failed_is_named_and_not_the_one_that_lost_it() -> None:
    message, _ = failed("if rank == 0: sys.exit(75)\ntime.sleep(0.05)\nsys.exit(3)")
    assert message.startswith("rank 1 ended with exit status 3")


def test_a_rank_that_hangs_is_named() -> None:
    message, _ = failed("sys.exit(75) if rank == 0 else wait()")
    assert message.startswith(
        "rank 0 ended with exit status 75 because it lost another rank; rank 1 was running and did"
    )


def test_a_rank_that_ignores_sigterm_is_killed() -> None:
    failed("signal.signal(signal.SIGTERM, signal.SIG_IGN)\nif rank: time.sleep(0.1); sys.exit(1)\nwait()")


def test_the_ranks_are_restarted() -> None:
    lines: list[str] = []
    program = "sys.exit(4) if rank == 1 and attempt < 2 else None"
    launcher(program, LaunchOptions(2, max_restarts=2, settle_s=0.1), lines.append).run()
    assert [line.split("; ")[1] for line in lines] == [
        f"restarting all ranks from the last checkpoint (restart {number} of 2)" for number in (1, 2)
    ]
    assert all(line.startswith("rank 1 ended with exit status 4") for line in lines)


def test_a_rank_that_fails_too_often_ends_the_run() -> None:
    message, _ = failed("sys.exit(4)", LaunchOptions(1, max_restarts=1, settle_s=0.1))
    assert "exit status 4" in message and "after 1 restarts" in message


def test_the_others_continue_without_a_rank_if_asked_to() -> None:
    lines: list[str] = []
    launcher("sys.exit(rank)", LaunchOptions(2, may_continue=True), lines.append).run()
    assert len(lines) == 1 and "rank 1" in lines[0] and "the others continue without it" in lines[0]
    message, _ = failed("sys.exit(1) if rank == 0 else wait()", LaunchOptions(2, may_continue=True, settle_s=0.1))
    assert message.startswith("rank 0 ended")


class InterruptedQueue(queue.Queue[Any]):
    """Raises KeyboardInterrupt once in `get`, where the launcher waits, when `is_due`."""

    def __init__(self, is_due: Callable[[], bool]) -> None:
        super().__init__()
        self._is_due = is_due
        self._was_interrupted = False

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        if self._is_due() and not self._was_interrupted:
            self._was_interrupted = True
            raise KeyboardInterrupt
        return super().get(block, timeout)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """A shell starts background processes with SIGINT ignored, which they and their children would otherwise keep."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("status", [0, 130])
def test_ctrl_c_reaches_all_ranks(status: int) -> None:
    """It ends the launcher too, unless all ranks ended early with a result."""
    lines: list[str] = []
    program = f"try: say('ready'); wait()\nexcept KeyboardInterrupt: say('saved'); sys.exit({status})"
    launch = launcher(program, LaunchOptions(2), lines.append)
    launch._ended = InterruptedQueue(lambda: sum("ready" in line for line in lines) == 2)
    with pytest.raises(KeyboardInterrupt) if status else nullcontext():
        launch.run()
    assert {"[rank 0] saved", "[rank 1] saved"} <= set(lines)
    assert not any("waited" in line for line in lines)


def test_the_ranks_end_when_the_launcher_is_killed(tmp_path: Path) -> None:
    program = f"""
    sys.path.insert(0, {str(ROOT)!r})
    from forebay.models.distributed.parameter_server import exit_at_end_of
    exit_at_end_of(0, lambda: os._exit(1))
    with open({str(tmp_path)!r} + f"/{{rank}}.part", "w") as file:
        file.write(str(os.getpid()))
    os.rename({str(tmp_path)!r} + f"/{{rank}}.part", {str(tmp_path)!r} + f"/{{rank}}")
    wait()
    """
    code = f"""
from forebay.models.distributed.launcher import *
command = [{sys.executable!r}, "-c", {PRELUDE + textwrap.dedent(program)!r}]
Launcher(command, LaunchOptions(2), environ=os.environ, report=print).run()
"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    try:
        pids = [int(eventually_read(tmp_path / str(rank))) for rank in range(2)]
    finally:
        process.kill()
        process.wait()
    for pid in pids:
        eventually_sync(lambda pid=pid: is_running(pid), "the end of the rank", until=lambda running: not running)


def eventually_read(path: Path) -> str:
    eventually_sync(path.exists, f"the file of rank {path.name}")
    return path.read_text()


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_cause_is_the_rank_that_did_not_only_lose_another() -> None:
    lost, killed = RankFailure(0, 75, 1.0, ()), RankFailure(1, -9, 1.1, ())
    assert first_cause([lost, killed]) is killed
    assert first_cause([lost]) is lost
    assert first_cause([]) is None
    assert "signal 99" in str(RankFailure(0, -99, 1.0, ()))
