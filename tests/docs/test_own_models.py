"""docs/models.md: the guides for one's own function and torch module run as they stand, and a worker may serve the result."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from forebay.stream.cli import main
from tests.source_files import ROOT

PAGE = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")


def snippets(heading: str) -> list[str]:
    """Return the Python blocks of a section."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)


def run(script: str, folder: Path) -> None:
    (folder / "script.py").write_text(script)
    done = subprocess.run([sys.executable, "script.py"], cwd=folder, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def validated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to work in, whose models have been validated under a trust policy when the test ends."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert main(["models", "validate"]) == 1
    monkeypatch.setenv("FOREBAY_TRUST__REPOSITORIES", "models")
    assert main(["models", "validate"]) == 0


def test_a_function(validated: Path) -> None:
    function, registration = snippets("Your own function")
    (validated / "rule.py").write_text(function)
    run(registration, validated)


@pytest.mark.long
def test_a_torch_module_and_an_exported_program(validated: Path) -> None:
    signature = snippets("Your own function")[1].splitlines()[:3]
    module, registration, program = snippets("Your own torch module")
    (validated / "net.py").write_text(module)
    run("\n".join(["import torch", *signature, registration, program]), validated)
    assert sorted(path.name for path in (validated / "models" / "churn").iterdir()) == ["1", "2"]


def test_a_function_of_a_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (module,) = snippets("A function or class of a package")
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "scoring.py").write_text(module)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert main(["models", "register", "shop.scoring:risk", "--name", "risk"]) == 0
    assert 'modules = ["shop.scoring"]' in capsys.readouterr().out
    assert main(["models", "validate"]) == 1
    assert main(["models", "validate", "--set", "trust.modules=shop"]) == 0
