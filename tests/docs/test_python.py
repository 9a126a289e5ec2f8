"""docs/python.md: its blocks run as they stand, and print what the page shows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from forebay import save_artefact
from forebay.models.artefacts.preprocessing import Impute, OneHot, Preprocessing
from forebay.models.artefacts.signature import Feature, Signature
from tests.docs.blocks import blocks_of
from tests.models.build import CREATED_AT, make_net
from tests.source_files import ROOT

PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a model of the same signature as the one of examples/train_model.py."""
    signature = Signature(
        (
            Feature("sensor", "category", ("cellar", "kitchen")),
            Feature("temperature"),
            Feature("humidity", nullable=True),
        ),
        (3,),
        "binary",
        1,
        labels=("fine", "damp"),
    )
    steps = Preprocessing((Impute(3, (2,), (50.0,)), OneHot(3, (0,), (2,))))
    save_artefact(
        tmp_path / "models", "damp", make_net(4, 1), signature=signature, preprocessing=steps, created_at=CREATED_AT
    )
    return tmp_path


def script(folder: Path) -> str:
    """Return the blocks of Python as one script, after writing those that are modules to their files."""
    parts = []
    for block in blocks_of(PAGE):
        if block.language != "python":
            continue
        first, _, _ = block.text.partition("\n")
        if first.startswith("# ") and first.endswith(".py"):
            (folder / first[2:]).write_text(block.text, encoding="utf-8")
        else:
            parts.append(block.text)
    return "\n".join(parts)


def test_the_blocks_run_and_print_what_is_shown(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", script(folder)], cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    expected = [line for block in blocks_of(PAGE) if block.language == "text" for line in block.text.splitlines()]
    printed = done.stdout.splitlines()
    assert len(printed) == len(expected) and printed[0] == expected[0] and printed[3:] == expected[3:]
    # The labels are those of the trained model.
    assert [line.split()[:2] for line in printed] == [line.split()[:2] for line in expected]
