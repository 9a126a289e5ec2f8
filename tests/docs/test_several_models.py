"""docs/several-models.md: its settings load, its table names all keys, and its commands print what it shows."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from forebay.stream.cli import main
from forebay.stream.config.load import load_settings
from forebay.stream.config.models_section import BatchOverrides
from forebay.stream.config.paths import entry_fields
from tests.docs.blocks import blocks_of, commands_of
from tests.packaging.image import ROOT

PAGE = (ROOT / "docs" / "several-models.md").read_text(encoding="utf-8")
COMMANDS = [command for block in blocks_of(PAGE) if block.language == "console" for command in commands_of(block)]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_its_settings_are_valid(folder: Path) -> None:
    (block,) = [block for block in blocks_of(PAGE) if block.language == "toml"]
    path = folder / "worker.toml"
    path.write_text(block.text, encoding="utf-8")
    settings = load_settings(path, {}).settings
    churn, visits, small = settings.models_to_serve()
    assert settings.input.topics == ("features", "clicks")
    assert (churn.model.name, churn.topics, churn.window.kind) == ("churn", ("features",), "none")
    assert (visits.batch.max_batch_size, visits.window.gap_ms, visits.model.device) == (256, 60_000, "cpu")
    assert (small.model.version, small.topics) == (3, ())


def test_its_table_names_every_key_of_a_model() -> None:
    table = [line for line in PAGE.splitlines() if line.startswith("| `")]
    named = {name for line in table for name in re.findall(r"`(\w+)`", line.split(" | ")[0])}
    assert named == {*entry_fields(), *BatchOverrides.model_fields}


def test_its_values_for_the_environment_and_the_command_line_are_valid() -> None:
    environment, run = (
        next(command.text for command in COMMANDS if word in command.text) for word in ("export", " run ")
    )
    _, value = shlex.split(environment)[1].split("=", 1)
    overrides = dict(word.split("=", 1) for word in shlex.split(run) if "=" in word)
    churn, visits = load_settings(None, {"FOREBAY_MODELS": value}, overrides).settings.models_to_serve()
    assert (churn.batch.max_batch_size, visits.model.version, visits.window.gap_ms) == (512, 3, 60_000)


def test_its_error_messages_are_those_of_forebay(capsys: pytest.CaptureFixture[str]) -> None:
    (command,) = [command for command in COMMANDS if command.output]
    assert main(shlex.split(command.text)[1:]) == 2
    assert capsys.readouterr().err.splitlines() == list(command.output)
