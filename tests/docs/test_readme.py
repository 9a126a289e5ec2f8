"""Every command block of the README is executed in order in an empty folder, as a reader would, by `make test-long`.

The test uses its own ports and broker folder, because other tests may run at the same time. It skips `NOT_RUN`. A shorter test
only compares commands, options and settings with those of Forebay.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import click
import pytest

from forebay.stream.cli import main
from forebay.stream.cli.group import group
from tests.brokers.ports import free_ports
from tests.docs.blocks import Block, Command, blocks_of, commands_of, words_of
from tests.docs.shell import Result, Shell
from tests.eventually import eventually_sync

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"

COMMAND_TIMEOUT_S = 300.0
OUTPUT_WITHIN_S = 60.0
"""Predictions and counts appear shortly after the event: a command is repeated until its output is as shown."""

NOT_RUN: Mapping[str, str] = {
    "make demo": "it has set up the environment that this runs in; tests/demo runs `forebay demo`",
    "source .venv/bin/activate": "the environment is on the PATH already",
    "helm install forebay ./helm --set kafka.bootstrapServers=kafka:9092": "needs a cluster; tests/chart renders and checks it",
    "helm test forebay": "needs a cluster; tests/chart runs what its pod runs",
}
READY: Mapping[str, str] = {
    "noida-db": "press Ctrl-C",
    "forebay run": "worker ready",
    "forebay aggregate": "aggregator ready",
}
"""The output with which a background command reports that it is ready."""

FAILS: Mapping[str, int] = {
    "forebay run --set kafka.bootstrap_server=a:9092 --set batch.max_batch_size=0 --set log.level=loud": 2,
}
"""Commands that are expected to end with an exit status other than 0."""


def environment(folder: Path, broker_port: int, admin_port: int) -> dict[str, str]:
    """Return the environment of a reader's shell: `forebay` and Python on the PATH, and only the ports set for Forebay."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FOREBAY_")}
    stand_ins = folder.parent / "bin"
    stand_ins.mkdir()
    if shutil.which("kcat") is None:
        kcat = stand_ins / "kcat"
        kcat.write_text(f"#!/bin/sh\nexec '{sys.executable}' '{Path(__file__).with_name('kcat.py')}' \"$@\"\n")
        kcat.chmod(0o755)
    return {
        **kept,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), str(stand_ins), kept.get("PATH", "")]),
        "PYTHONPATH": str(ROOT),
        "HOME": str(folder.parent),
        "COLUMNS": "160",
        "FOREBAY_KAFKA__BOOTSTRAP_SERVERS": f"localhost:{broker_port}",
        "FOREBAY_ADMIN__PORT": str(admin_port),
    }


def as_shown(command: Command, result: Result) -> bool:
    """Return whether the words of each line that the page shows occur in a line of the output."""
    return all(
        any(set(words_of(shown)) <= set(words_of(line)) for line in result.lines)
        for shown in command.output
        if words_of(shown)
    )


class Reader:
    """A reader who follows the page in one shell."""

    def __init__(self, shell: Shell, folder: Path, instead: Mapping[str, str]) -> None:
        self._shell = shell
        self._folder = folder
        self._instead = instead

    def follow(self, block: Block) -> None:
        """Do what a reader would do with a block of this language."""
        if block.language == "console":
            for command in commands_of(block):
                self._run(command)
        elif block.language == "text":
            return
        elif block.language == "toml":
            with (self._folder / "forebay.toml").open("a", encoding="utf-8") as file:
                file.write(f"\n{block.text}")
            self._expect(Command("forebay config", (), block.line))
        elif block.language == "python":
            (self._folder / "own.py").write_text(block.text, encoding="utf-8")
            self._expect(Command("python own.py", (), block.line))
        else:
            raise AssertionError(f"README.md:{block.line}: no rule for a block of {block.language!r}")

    def _run(self, command: Command) -> None:
        if command.text in NOT_RUN:
            return
        text = command.text
        for shown, used in self._instead.items():
            text = text.replace(shown, used)
        if text.endswith("&"):
            self._start(text, command.line)
        else:
            self._expect(command._replace(text=text), status=FAILS.get(command.text, 0))

    def _expect(self, command: Command, *, status: int = 0) -> None:
        result = None

        def difference() -> str:
            nonlocal result
            result = self._shell.run(command.text, timeout_s=COMMAND_TIMEOUT_S)
            if result.status == status and as_shown(command, result):
                return ""
            shown = "\n".join(command.output)
            found = (
                f"README.md:{command.line}: {command.text}\nexit status {result.status}, not {status}, or other output\n"
                f"--- shown\n{shown}\n--- written\n{result.text}"
            )
            # Only wait for missing output. A failed command is not repeated, because it may have done half its work.
            assert result.status == status, found
            return found

        eventually_sync(
            difference, "the README's output", until=lambda found: not found, timeout_s=OUTPUT_WITHIN_S, every_s=1.0
        )

    def _start(self, text: str, line: int) -> None:
        (ready,) = (ready for program, ready in READY.items() if text.startswith(program))
        before = sum(ready in seen for seen in self._shell.seen)
        self._shell.run(text, timeout_s=COMMAND_TIMEOUT_S)
        eventually_sync(
            lambda: sum(ready in seen for seen in list(self._shell.seen)) > before,
            f"{ready!r} from README.md:{line}: {text}",
            timeout_s=COMMAND_TIMEOUT_S,
            context=lambda: "\n".join(self._shell.seen[-40:]),
        )


@pytest.mark.embedded
@pytest.mark.long
@pytest.mark.timeout(900)
def test_every_block_of_the_readme_works_in_order(tmp_path: Path) -> None:
    folder = tmp_path / "forebay"
    folder.mkdir()
    for name in ("examples", "helm"):
        (folder / name).symlink_to(ROOT / name)
    broker_port, admin_port = free_ports(2)
    with Shell(folder, environment(folder, broker_port, admin_port)) as shell:
        instead = {
            "localhost:9092": f"localhost:{broker_port}",
            "--kafka-port 9092": f"--kafka-port {broker_port}",
            "localhost:8080": f"localhost:{admin_port}",
            "/tmp/forebay": str(tmp_path / "broker"),
        }
        reader = Reader(shell, folder, instead)
        for block in blocks_of(README.read_text(encoding="utf-8")):
            reader.follow(block)


def parse(words: list[str]) -> None:
    """Parse a command line of Forebay without running it. Raises click.UsageError."""
    command: click.Command | None = group
    while isinstance(command, click.Group):
        name, *words = words
        command = command.get_command(click.Context(command), name)
    assert command is not None, f"there is no command {name}"
    command.make_context(name, words)


def test_every_command_of_forebay_has_the_options_that_the_readme_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("july.csv", "forebay.toml"):
        (tmp_path / name).touch()
    page = README.read_text(encoding="utf-8")
    blocks = [block for block in blocks_of(page) if block.language == "console"]
    lines = [command.text for block in blocks for command in commands_of(block)]
    lines = [line.rstrip("& ").partition(" | ")[0] for line in lines if line.startswith("forebay ")]
    assert len(lines) > 10
    for line in lines:
        try:
            parse(shlex.split(line)[1:])
        except click.UsageError as error:
            raise AssertionError(f"README.md: {line}: {error.format_message()}") from error


def test_the_readmes_settings_are_valid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = [block.text for block in blocks_of(README.read_text(encoding="utf-8")) if block.language == "toml"]
    (tmp_path / "forebay.toml").write_text('[model]\nname = "damp"\n' + "\n".join(blocks), encoding="utf-8")
    assert main(["config"]) == 0, capsys.readouterr().err


def test_every_exception_is_still_in_the_readme() -> None:
    page = README.read_text(encoding="utf-8")
    commands = {c.text for block in blocks_of(page) if block.language == "console" for c in commands_of(block)}
    assert {*NOT_RUN, *FAILS} <= commands
