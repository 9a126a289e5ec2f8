"""The command line as a whole: the modules that help imports, and the output and status of errors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import click
import pytest

from forebay.schemas.errors import BrokerError, ConfigError
from forebay.stream.cli import group as cli
from forebay.stream.cli import main
from forebay.stream.cli.group import COMMANDS, CommandEntry

HEAVY = {"torch", "aiokafka", "pydantic", "rich", "numpy", "orjson", "asyncio"}


def run_forebay(*args: str, stdout: int = subprocess.PIPE) -> subprocess.Popen[str]:
    program = "import sys; from forebay.stream.cli import main; sys.exit(main())"
    return subprocess.Popen([sys.executable, "-c", program, *args], stdout=stdout, stderr=subprocess.PIPE, text=True)


def command_that_raises(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """A command `forebay raise` that raises the given error."""

    @click.command
    def command() -> None:
        raise error

    module = ModuleType("forebay_command_that_raises")
    module.command = command  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(cli, "COMMANDS", {"raise": CommandEntry(module.__name__, "raises")})


@pytest.mark.parametrize("args", [["--help"], ["--version"], [], ["init", "--help"], ["config", "-h"], ["check", "-h"]])
def test_help_loads_nothing_heavy(args: list[str], tmp_path: Path) -> None:
    program = (
        "import pathlib, sys; from forebay.stream.cli import main; main(sys.argv[2:]); "
        "pathlib.Path(sys.argv[1]).write_text(' '.join(sys.modules))"
    )
    modules = tmp_path / "modules"
    done = subprocess.run(
        [sys.executable, "-c", program, str(modules), *args], capture_output=True, text=True, check=True
    )
    assert HEAVY.intersection(modules.read_text().split()) == set()
    assert done.stdout + done.stderr


def test_help_lists_every_command_with_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for name, entry in COMMANDS.items():
        assert name in out
        assert entry.help in " ".join(out.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_exists_and_shows_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    out = capsys.readouterr().out
    assert "Examples:" in out
    assert f"forebay {name}" in out.split("Examples:")[1]


def test_the_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    from importlib.metadata import version

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"forebay {version('forebay')}\n"


@pytest.mark.parametrize(
    ("args", "report"),
    [
        (["chek"], "unknown command 'chek'. Did you mean 'check'?"),
        (["zzz"], "`forebay --help` lists all commands"),
        (["config", "--nonsense"], "--nonsense"),
        (["config", "--set"], "--set"),
        (["init", "surplus"], "surplus"),
        (["check", "--timeout-s", "soon"], "soon"),
        (["status", "--timeout", "0"], "Invalid value for '--timeout': 0"),
        (["topics", "delete"], "unknown command 'delete'. Forebay deletes no topics; use a tool of Kafka"),
        (["topics", "creat"], "unknown command 'creat'. Did you mean 'create'?"),
        (["topics", "zzz"], "unknown command 'zzz'. `forebay topics` has: check, create."),
        (["topics", "--nonsense"], "--nonsense"),
        (["dlq", "purge"], "unknown command 'purge'. `forebay dlq` has: list, replay, show, stats."),
        (["demo", "flight"], "unknown command 'flight'. Did you mean 'flights'?"),
    ],
)
def test_a_wrong_command_line_is_reported_with_status_2(
    args: list[str], report: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(args) == 2
    captured = capsys.readouterr()
    assert report in captured.err
    assert captured.out == ""


@pytest.mark.parametrize(
    ("error", "status", "report"),
    [
        (ConfigError("it is [wrong]", problems=["a = 1: too small", "b = 2: too large"], remedy="fix it"), 2,
         "error: it is [wrong]\n  - a = 1: too small\n  - b = 2: too large\nhint: fix it\n"),
        (BrokerError("it is unreachable"), 1, "error: it is unreachable\n"),
        (click.ClickException("no"), 1, "Error: no\n"),
        (KeyboardInterrupt(), 130, "\n"),
        (click.Abort(), 130, ""),
    ],
)  # fmt: skip
def test_errors_are_printed_and_set_the_exit_status(
    error: BaseException, status: int, report: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command_that_raises(monkeypatch, error)
    assert main(["raise"]) == status
    assert capsys.readouterr().err == report


def test_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    command_that_raises(monkeypatch, ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError):
        main(["raise"])


def test_a_reader_that_closes_the_pipe_is_not_an_error() -> None:
    read, write = os.pipe()
    os.close(read)
    process = run_forebay("config", stdout=write)
    os.close(write)
    _, err = process.communicate(timeout=60)
    assert err == ""
    assert process.returncode == 1
