"""`forebay init` and `forebay config`, and the options that all commands share."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from forebay.stream.cli import main
from forebay.stream.cli.config import command as config
from forebay.stream.cli.init import command as init
from forebay.stream.config.template import template


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to run in, and an environment without settings."""
    import os

    for name in [name for name in os.environ if name.startswith("FOREBAY_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    yield tmp_path


def test_init_writes_a_file_that_other_commands_read(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init"]) == 0
    assert capsys.readouterr().out == "wrote forebay.toml; next: forebay check\n"
    assert (folder / "forebay.toml").read_text() == template()
    assert main(["config"]) == 0
    assert 'bootstrap_servers = "localhost:9092"    # forebay.toml:' in capsys.readouterr().out


def test_init_overwrites_a_file_only_with_force(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "forebay.toml"
    path.write_text("[log]\n")
    assert main(["init"]) == 2
    assert "forebay.toml already exists" in capsys.readouterr().err
    assert path.read_text() == "[log]\n"
    assert main(["init", "--force"]) == 0
    assert path.read_text() == template()


def test_init_writes_another_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "-o", "worker.toml"]) == 0
    assert capsys.readouterr().out == "wrote worker.toml; next: forebay check -c worker.toml\n"
    assert (folder / "worker.toml").exists()
    assert main(["init", "-o", "none/worker.toml"]) == 1
    assert "none/worker.toml cannot be written" in capsys.readouterr().err


def test_init_prints_to_standard_output(folder: Path) -> None:
    assert CliRunner().invoke(init, ["-o", "-"]).output == template()
    assert not list(folder.iterdir())


def test_config_prints_the_settings_in_force_and_hides_secrets(folder: Path) -> None:
    (folder / "a.toml").write_text("[batch]\nmax_batch_size = 1\nmax_queue_delay_ms = 1\n")
    environ = {
        "FOREBAY_BATCH__MAX_QUEUE_DELAY_MS": "2",
        "FOREBAY_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
        "FOREBAY_KAFKA__SASL_MECHANISM": "PLAIN",
        "FOREBAY_KAFKA__SASL_USERNAME": "me",
        "FOREBAY_KAFKA__SASL_PASSWORD": "hunter2",
    }
    arguments = ["-c", "a.toml", "--set", "kafka.group_id=a=b", "--set", "log.level=debug"]
    text = CliRunner(env=environ).invoke(config, arguments).output
    assert "hunter2" not in text
    values = tomllib.loads(text)
    assert values["kafka"]["sasl_password"] == "********"
    assert values["kafka"]["group_id"] == "a=b"
    assert values["batch"] == {"max_batch_size": 1, "max_batch_bytes": 4194304, "max_queue_delay_ms": 2}

    printed = json.loads(CliRunner(env=environ).invoke(config, [*arguments, "--json", "--changed"]).output)
    assert printed["file"] == "a.toml"
    assert {
        f"{section}.{key}": setting["origin"]
        for section, keys in printed["settings"].items()
        for key, setting in keys.items()
        if section != "kafka"
    } == {
        "batch.max_batch_size": "a.toml:2",
        "batch.max_queue_delay_ms": "environment FOREBAY_BATCH__MAX_QUEUE_DELAY_MS",
        "log.level": "command line",
    }
    assert printed["settings"]["kafka"]["sasl_password"]["value"] == "********"


def test_the_file_can_be_named_by_the_environment(folder: Path) -> None:
    (folder / "forebay.toml").write_text("[batch]\nmax_batch_size = 1\n")
    (folder / "other.toml").write_text("[batch]\nmax_batch_size = 2\n")
    (folder / "third.toml").write_text("[batch]\nmax_batch_size = 3\n")

    def size(*args: str, **environ: str) -> object:
        result = CliRunner(env=environ).invoke(config, [*args, "--json"])
        return json.loads(result.stdout)["settings"]["batch"]["max_batch_size"]["value"]

    assert size() == 1
    assert size(FOREBAY_CONFIG="other.toml") == 2
    assert size("-c", "third.toml", FOREBAY_CONFIG="other.toml") == 3


def test_a_named_file_must_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "-c", "none.toml"]) == 2
    assert "none.toml: the file does not exist" in capsys.readouterr().err


@pytest.mark.parametrize("assignment", ["hunter2", "kafka.sasl_password hunter2", "password=hunter2"])
def test_an_invalid_assignment_is_reported_but_not_shown(assignment: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--set", "log.level=info", "--set", assignment]) == 2
    err = capsys.readouterr().err
    assert "--set number 2: must be SECTION.KEY=VALUE" in err
    assert "hunter2" not in err


def test_every_error_is_printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "forebay.toml").write_text("[batch]\nmax_batch_size = 0\n[modle]\n")
    assert main(["config", "--set", "log.level=loud"]) == 2
    err = capsys.readouterr().err
    assert "error: the configuration has 3 errors\n" in err
    assert err.count("\n  - ") == 3
