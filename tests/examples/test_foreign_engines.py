"""The examples for Apache Beam and Ray Data, each in an environment of its own that also sees the packages of this one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.packaging.image import ROOT

pytestmark = [pytest.mark.long, pytest.mark.timeout(1_200)]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the model of examples/train_model.py."""
    folder = tmp_path_factory.mktemp("models")
    subprocess.run([sys.executable, ROOT / "examples" / "train_model.py", folder], check=True, capture_output=True)
    return folder


def run(folder: Path, package: str, script: str, *arguments: object) -> None:
    """Run an example with a package that Forebay does not depend on."""
    venv.create(folder / "env", with_pip=False)
    python = folder / "env" / "bin" / "python"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = folder / "env" / "lib" / version / "site-packages"
    (packages / "outer.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-warn-conflicts", package]
    done = subprocess.run(install, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_raylet_start_wait_time_s": "300"}
    command = [python, ROOT / "examples" / script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environ)
    assert done.returncode == 0, done.stdout + done.stderr


def rows(count: int) -> list[dict[str, object]]:
    sensors = ("cellar", "kitchen", "roof")  # the model does not know the last
    return [
        {
            "id": f"e{i}",
            "sensor": sensors[i % 3],
            "temperature": 10.0 + i % 20,
            "humidity": None if i % 7 == 0 else 50.0,
        }
        for i in range(count)
    ]


def test_beam_writes_one_outcome_for_each_line(repository: Path, tmp_path: Path) -> None:
    lines = [{"id": row.pop("id"), "timestamp": "2026-11-29T00:00:00Z", "features": row} for row in rows(300)]
    (tmp_path / "events.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines) + "no json\n")
    run(tmp_path, "apache-beam", "beam_run_inference.py", repository, "damp", "events.jsonl", tmp_path / "outcomes")
    written = [json.loads(line) for file in tmp_path.glob("outcomes*") for line in file.read_text().splitlines()]
    assert Counter(outcome.get("error", "predicted") for outcome in written) == {
        "predicted": 200,
        "unknown_category": 100,
        "not_json": 1,
    }


def test_ray_writes_one_row_for_each_row_in_their_order(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows(2_500)))
    run(
        tmp_path,
        "ray[data]",
        "ray_data_backfill.py",
        repository,
        "damp",
        tmp_path / "rows.jsonl",
        tmp_path / "outcomes",
    )
    found = pq.read_table(tmp_path / "outcomes").to_pydict()
    assert Counter(found["outcome"]) == {"predicted": 1_667, "unknown_category": 833}
    assert [id for id in found["id"] if id is not None] == [f"e{i}" for i in range(2_500) if i % 3 != 2]
