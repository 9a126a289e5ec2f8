"""Tests that are dealt out to several processes: the slow ones first and alone, what shares a module's fixture together."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
QUICK = "def test_one(): ...\ndef test_two(): ...\n"
MIXED = "import pytest\ndef test_quick(): ...\n@pytest.mark.slow\ndef test_slow(): ...\n"
SHARING = (
    "import pytest\n@pytest.fixture(scope='module')\ndef made(): ...\n"
    "def test_quick(made): ...\n@pytest.mark.slow\ndef test_slow(): ...\n"
)


def test_the_order_and_the_groups(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("from tests.conftest import *\n")
    for name, text in {"a_quick": QUICK, "b_mixed": MIXED, "c_sharing": SHARING}.items():
        (tmp_path / f"test_{name}.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml")]
    command += ["-n", "1", "--dist", "loadgroup", "--no-loadscope-reorder", "--rootdir", str(tmp_path), str(tmp_path)]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=120)
    ran = re.findall(r"PASSED \S*test_(\w+)\.py::(\w+)@(\S+)", said.stdout)
    # Where one that is slow shares what its module has made, all of the module come early.
    assert [(file, test) for file, test, _ in ran] == [
        ("b_mixed", "test_slow"),
        ("c_sharing", "test_quick"),
        ("c_sharing", "test_slow"),
        ("a_quick", "test_one"),
        ("a_quick", "test_two"),
        ("b_mixed", "test_quick"),
    ]
    groups = [group for *_, group in ran]
    assert groups[1] == groups[2] and groups[3] == groups[4] and len(set(groups)) == 4
