"""The distribution of tests to several processes: by file or, for some files, one by one, and the slow ones first."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.distribution import ONE_BY_ONE, TOGETHER

ROOT = Path(__file__).resolve().parent.parent.parent
SOME = sorted(ONE_BY_ONE)[0]
TESTS = {
    "tests/test_quick.py": "def test_one(): ...\ndef test_two(): ...\n",
    SOME: "import pytest\ndef test_quick(): ...\n@pytest.mark.slow\ndef test_slow(): ...\n",
    "tests/test_some_slow.py": "import pytest\ndef test_quick(): ...\n@pytest.mark.slow\ndef test_slow(): ...\n",
}
UNITS = """
def pytest_xdist_make_scheduler(config, log):
    from tests.distribution import Scheduling
    class Logged(Scheduling):
        def _assign_work_unit(self, node):
            for scope, unit in list(self.workqueue.items())[:1]:
                print(f"unit <{' '.join([scope, *(name.split('::')[1] for name in unit)])}>")
            super()._assign_work_unit(node)
    return Logged(config, log)
"""


def session(folder: Path, tests: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text("from tests.conftest import *\n" + UNITS)
    for name, text in tests.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    command = [sys.executable, "-m", "pytest", "-s", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml")]
    command += ["--rootdir", str(folder), *arguments, str(folder)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=150)


def test_the_order_and_what_stays_together(tmp_path: Path) -> None:
    said = session(tmp_path, TESTS, "-n", "1", "--dist", "loadfile")
    assert said.returncode == 0 and "6 passed" in said.stdout, said.stdout + said.stderr
    assert re.findall(r"unit <(.*)>", said.stdout) == [
        f"{SOME}::test_slow test_slow",
        "tests/test_some_slow.py test_quick test_slow",
        f"{SOME}::test_quick test_quick",
        "tests/test_quick.py test_one test_two",
    ]


def test_tests_distributed_one_by_one_must_not_use_module_fixtures(tmp_path: Path) -> None:
    text = "import pytest\n@pytest.fixture(scope='module')\ndef made(): ...\ndef test_it(made): ...\n"
    said = session(tmp_path, {SOME: text})
    assert said.returncode != 0 and f"{SOME}::test_it uses made" in said.stdout + said.stderr


def test_the_files_exist() -> None:
    named = [*ONE_BY_ONE, *TOGETHER, *TOGETHER.values()]
    assert not [name for name in named if not (ROOT / name).is_file()]
