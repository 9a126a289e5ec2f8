"""`forebay doctor` and `forebay completion`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from forebay.stream.cli import environment, main
from forebay.stream.cli.environment import describe_environment, installed_packages

UNREACHABLE = ("--bootstrap-server", "127.0.0.1:1", "--timeout", "1")


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "forebay.toml"
    path.write_text('[admin]\ntoken = "s3cret-token"\n[model]\nrepository = "nowhere"\n[batch]\nmax_batch_size = 77\n')
    return path


def test_the_report_has_what_was_set_and_found_and_no_secret(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", *UNREACHABLE]) == 0
    out = capsys.readouterr().out
    assert out.startswith("# Forebay ") and "max_batch_size = 77" in out
    assert "| (base) | " in out and "- failed: broker: " in out
    assert "nowhere" in out.split("## Models")[1]
    assert "s3cret-token" not in out


def test_the_report_as_json(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json", *UNREACHABLE]) == 0
    out = capsys.readouterr().out
    report = json.loads(out)
    assert set(report) == {"environment", "settings", "models", "checks"}
    assert report["environment"]["packages"][""]["aiokafka"] and "s3cret-token" not in out


def test_a_wrong_configuration_is_reported_among_the_checks(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text("[batch]\nmax_batch_size = 0\n")
    assert main(["doctor", *UNREACHABLE]) == 0
    out = capsys.readouterr().out
    assert "the configuration has errors" in out and "- failed: configuration: " in out


def test_the_limits_of_a_container_are_named(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "cpu.max").write_text("200000 100000\n")
    assert describe_environment(tmp_path)["limits"] == {"cpu.max": "200000 100000"}


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["numpy>=2", 'no-such-package>=1 ; extra == "avro"', "forebay[avro] ; extra == 'test'"]
    monkeypatch.setattr(environment, "requires", lambda _name: lines)
    assert installed_packages() == {
        "": {"numpy": environment.installed_version("numpy")},
        "avro": {"no-such-package": None},
    }


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_what_its_script_asks_for(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert f"_FOREBAY_COMPLETE={shell}_complete" in capsys.readouterr().out
    asked = {"COMP_WORDS": "forebay mod", "COMP_CWORD": "mod" if shell == "fish" else "1"}
    done = subprocess.run(
        [sys.executable, "-c", "from forebay.stream.cli import main; main()"],
        env={**os.environ, **asked, "_FOREBAY_COMPLETE": f"{shell}_complete"},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert "models" in done.stdout, done.stderr
