"""Processes that are forked instead of started: they have their own arguments, environment, folder and output, and an end."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.eventually import eventually_sync
from tests.fork_server import ForkedProcess, start_module

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, an interpreter is started")


def start(log: Path, *arguments: str) -> ForkedProcess:
    with log.open("wb") as file:
        process = start_module("tests.harness.forked", arguments, file.fileno())
    assert isinstance(process, ForkedProcess)
    return process


def test_each_process_has_what_its_starter_has_at_that_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (0, 3):
        folder = tmp_path / str(number)
        folder.mkdir()
        monkeypatch.chdir(folder)
        monkeypatch.setenv("FORKED", f"value {number}")
        assert start(folder / "log", str(number)).wait(60) == number
        assert (folder / "log").read_text() == f"{folder} value {number} ['{number}']\n"


def test_a_running_process_can_be_waited_for_and_killed(tmp_path: Path) -> None:
    one, other = start(tmp_path / "one", "-1"), start(tmp_path / "other", "-1")
    eventually_sync((tmp_path / "one").read_text, "its output")
    assert one.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        one.wait(0.01)
    one.kill()
    assert one.wait(60) == -signal.SIGKILL and other.poll() is None
    other.terminate()
    assert other.wait(60) == -signal.SIGTERM
    other.kill()  # it has ended: no other process gets the signal


def test_an_error_is_in_the_log(tmp_path: Path) -> None:
    assert start(tmp_path / "log", "no number").wait(60) == 1
    assert "ValueError: invalid literal for int()" in (tmp_path / "log").read_text()
