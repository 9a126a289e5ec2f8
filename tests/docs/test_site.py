"""The documentation site: what is made from the code is complete, and no link is broken."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from forebay.schemas.failures import FailureKind
from forebay.stream.cli.group import COMMANDS
from forebay.stream.config.sections import section_types
from tests.docs.site import reference
from tests.packaging.image import ROOT


def test_every_setting_has_a_row() -> None:
    page = reference.settings_page()
    for name, section in section_types().items():
        part = page.split(f"## `[{name}]`\n")[1].split("\n## ")[0]
        for key in section.model_fields:
            assert f"\n| `{key}` |" in part, f"{name}.{key}"


def test_every_command_kind_and_topic_is_described() -> None:
    commands = reference.commands_page()
    assert all(f"## `forebay {name}`" in commands for name in COMMANDS)
    assert "### `forebay models compress`" in commands
    assert all(f"| `{kind.value}` |" in reference.failures_page() for kind in FailureKind)
    assert "## `predictions`" in reference.topics_page()


def test_every_example_is_shown() -> None:
    page = reference.examples_page(ROOT / "examples")
    assert all(f"## `{path.name}`" in page for path in (ROOT / "examples").glob("*.py"))


@pytest.mark.long
@pytest.mark.timeout(300)
def test_the_site_is_built_without_a_broken_link(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    )
    assert done.returncode == 0, done.stderr
    pages = [path.read_text(encoding="utf-8") for path in (tmp_path / "site").rglob("*.html")]
    assert len(pages) > 70
    for text in pages:
        for loaded in ('src="http', 'rel="stylesheet" href="http', "fonts.googleapis"):
            assert loaded not in text, "the site loads nothing from elsewhere"
