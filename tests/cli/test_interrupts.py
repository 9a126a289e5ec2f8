"""SIGINT and SIGTERM end every command at any time."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.models.build import publish

TRIES = int(os.environ.get("FOREBAY_INTERRUPTS", "12"))
"""The number of interrupts at random moments; use 100 or more for a thorough run."""
ENDS_WITHIN_S = 20.0
COMMANDS = (
    ("run",),
    ("run", "--with-aggregator"),
    ("aggregate",),
    ("check",),
    ("status",),
    ("tail", "predictions"),
    ("publish", "--features", "[1, 2, 3]"),
    ("topics", "check"),
    ("dlq", "list"),
    ("errors",),
)


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """Handle SIGINT: a shell that starts the tests in the background makes them and their children ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def blackhole() -> Iterator[str]:
    """A server that accepts connections but never answers, so that no command ends by itself."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1000)
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def start(
    *args: str, folder: Path, script: str = "from forebay.stream.cli import main; sys.exit(main())"
) -> subprocess.Popen[str]:
    program = f"import sys; {script}"
    return subprocess.Popen(
        [sys.executable, "-P", "-c", program, *args],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Return the exit status and standard error. A process that does not end is killed and fails the test."""
    try:
        _, err = process.communicate(timeout=ENDS_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        _, err = process.communicate()
        pytest.fail(f"it still ran {ENDS_WITHIN_S:g} s after the signal: {err}")
    return process.returncode, err


@pytest.mark.timeout(60 + 10 * TRIES)
def test_no_interrupt_is_lost_while_a_command_starts(blackhole: str, tmp_path: Path) -> None:
    publish(tmp_path / "models")
    settings = ("--set", f"kafka.bootstrap_servers={blackhole}", "--set", "model.name=delays", "--set", "admin.port=0")
    moments = random.Random(14)
    for number in range(TRIES):
        command = COMMANDS[number % len(COMMANDS)]
        delay_s = moments.uniform(0.0, 3.0)
        process = start(*command, *settings, folder=tmp_path)
        time.sleep(delay_s)
        process.send_signal(signal.SIGINT)
        status, err = end(process)
        where = f"{command} after {delay_s:.3f} s: status {status}: {err}"
        if status == -signal.SIGINT or "import site" in err:
            continue  # the interpreter was still starting and had not run any code of Forebay
        assert status == 130, where
        assert "Traceback" not in err and "Exception ignored" not in err, where


def test_an_import_cannot_swallow_an_interrupt(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import time\n"
        "print('importing', flush=True)\n"
        "for _ in range(100):\n"
        "    try:\n"
        "        time.sleep(0.2)\n"
        "    except BaseException:\n"
        "        pass\n"
    )
    script = (
        "sys.path.insert(0, '.'); from forebay.stream.cli import group, main; "
        "group.COMMANDS = {'slow': group.CommandEntry('slow', 'slow')}; sys.exit(main())"
    )
    process = start("slow", folder=tmp_path, script=script)
    assert process.stdout is not None and process.stdout.readline() == "importing\n"
    process.send_signal(signal.SIGINT)
    assert end(process) == (130, "")


def run_in_loop(
    body: str, folder: Path, *, number: int = signal.SIGINT, again: bool = False, unwind_s: float = 60.0
) -> tuple[int, str]:
    """Run a coroutine with this body, which prints a line when it is ready for the signal."""
    (folder / "body.py").write_text(
        "import asyncio, sys\n"
        "from forebay.stream.cli.interrupts import Interrupted, run_async\n"
        "async def main():\n" + "".join(f"    {line}\n" for line in body.splitlines()) + "try:\n"
        f"    sys.exit(run_async(main(), unwind_s={unwind_s}))\n"
        "except Interrupted as error:\n"
        "    print('interrupted', file=sys.stderr)\n"
        "    sys.exit(error.number)\n"
    )
    process = start(folder=folder, script="exec(open('body.py').read())")
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(number)
    # A signal that arrives while the first one is still pending is merged with it.
    for _ in range(100 if again else 0):
        time.sleep(0.1)
        if process.poll() is not None:
            break
        process.send_signal(number)
    return end(process)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_unwinds_what_runs(number: int, tmp_path: Path) -> None:
    body = (
        "print('ready', flush=True)\n"
        "try:\n"
        "    await asyncio.sleep(60)\n"
        "finally:\n"
        "    print('cleaned up', file=sys.stderr)\n"
    )
    assert run_in_loop(body, tmp_path, number=number) == (number, "cleaned up\ninterrupted\n")


def test_a_result_after_a_signal_is_returned(tmp_path: Path) -> None:
    body = (
        "print('ready', flush=True)\ntry:\n    await asyncio.sleep(60)\nexcept asyncio.CancelledError:\n    return 7\n"
    )
    assert run_in_loop(body, tmp_path) == (7, "")


def test_a_swallowed_cancellation_still_ends_the_process(tmp_path: Path) -> None:
    body = (
        "print('ready', flush=True)\n"
        "while True:\n"
        "    try:\n"
        "        await asyncio.sleep(60)\n"
        "    except asyncio.CancelledError:\n"
        "        pass\n"
    )
    assert run_in_loop(body, tmp_path, unwind_s=0.5) == (130, "")


def test_a_blocked_loop_still_ends(tmp_path: Path) -> None:
    body = "import time\nprint('ready', flush=True)\nwhile True:\n    time.sleep(60)\n"
    assert run_in_loop(body, tmp_path, unwind_s=0.5) == (130, "")


def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    body = (
        "print('ready', flush=True)\n"
        "try:\n"
        "    await asyncio.sleep(60)\n"
        "finally:\n"
        "    await asyncio.sleep(60)\n"
        "    print('cleaned up', file=sys.stderr)\n"
    )
    assert run_in_loop(body, tmp_path, again=True) == (130, "")


def test_handlers_are_restored_after_a_call_from_a_program() -> None:
    from forebay.stream.cli import main

    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert main(["--version"]) == 0
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
@pytest.mark.parametrize("command", ["run", "aggregate"])
def test_a_start_that_waits_for_the_cluster_is_stopped_at_once(
    command: str, number: int, expected: int, blackhole: str, tmp_path: Path
) -> None:
    publish(tmp_path / "models")
    settings = (f"kafka.bootstrap_servers={blackhole}", "model.name=delays", "admin.port=0", "log.level=debug")
    process = start(command, *(part for each in settings for part in ("--set", each)), folder=tmp_path)
    assert process.stderr is not None
    while "Using selector" not in (line := process.stderr.readline()):
        assert line, f"{command} ended by itself"
    time.sleep(0.5)
    started_s = time.monotonic()
    process.send_signal(number)
    status, err = end(process)
    assert (status, "Traceback" in err) == (expected, False), err
    assert "before the start was complete" in err or number == signal.SIGINT
    assert time.monotonic() - started_s < ENDS_WITHIN_S / 2


def test_a_model_call_that_still_runs_at_the_end_does_not_change_the_exit_status(tmp_path: Path) -> None:
    script = (
        "import torch\n"
        "from threading import Event\n"
        "from types import SimpleNamespace\n"
        "from forebay.stream.cli import main\n"
        "from forebay.stream.inference.device_thread import DeviceThread\n"
        "running, x = Event(), torch.rand(2000, 2000)\n"
        "def warm_up(sizes):\n"
        "    running.set()\n"
        "    for _ in range(1000): x @ x\n"
        "model = SimpleNamespace(warm_up=warm_up)\n"
        "loop = SimpleNamespace(create_future=lambda: None, call_soon_threadsafe=lambda *_: None)\n"
        "device = DeviceThread(model, clock=None, loop=loop, breaker=None, backoff=None, on_fatal=None)\n"
        "try: device.start([1]).send(None)\n"
        "except TypeError: pass  # nothing awaits the model\n"
        "running.wait()\n"
        "sys.exit(main())\n"
    )
    process = start("--version", folder=tmp_path, script=script)
    assert end(process) == (0, "")
