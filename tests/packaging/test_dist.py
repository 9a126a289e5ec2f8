"""What `make dist` makes: a wheel that runs by itself, a source distribution that gives the same one, a bill that is true."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

import numpy
import pytest

from tests.packaging.image import ROOT

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
WHEEL = f"forebay-{VERSION}-py3-none-any.whl"
SDIST = f"forebay-{VERSION}.tar.gz"


def build(source: Path, target: Path, *options: str) -> None:
    """As `make dist` does; the back end is that of this environment."""
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(target), *options, str(source)],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build(ROOT, folder)
    return folder


@pytest.fixture(scope="module")
def clean(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that holds the wheel and, of this one, what others wrote; nothing of this checkout."""
    folder = tmp_path_factory.mktemp("clean")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", str(dist / WHEEL)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    # A line in a .pth file adds the folder, but not what its own .pth files add: the editable installation among them.
    others = Path(numpy.__file__).parents[1]
    (site,) = (folder / "lib").glob("python3.*/site-packages")
    (site / "others.pth").write_text(f"{others}\n")
    return folder


def run(clean: Path, folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("FOREBAY_", "PYTHON"))}
    return subprocess.run(
        [clean / "bin" / command[0], *command[1:]],
        env=environ, cwd=folder, capture_output=True, text=True, timeout=240,
    )  # fmt: skip


def test_the_wheel_holds_the_packages_and_nothing_else(dist: Path) -> None:
    with zipfile.ZipFile(dist / WHEEL) as wheel:
        names = wheel.namelist()
    assert {name.split("/")[0] for name in names} == {"stream", "models", "schemas", f"forebay-{VERSION}.dist-info"}
    assert f"forebay-{VERSION}.dist-info/licenses/LICENSE" in names
    tracked = subprocess.run(
        ["git", "ls-files", "stream", "models", "schemas"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    assert set(tracked) <= set(names)


def test_the_source_distribution_gives_the_same_wheel(dist: Path, tmp_path: Path) -> None:
    with tarfile.open(dist / SDIST) as archive:
        archive.extractall(tmp_path, filter="data")
    source = tmp_path / f"forebay-{VERSION}"
    for name in ("Makefile", ".ci/setup-venv", "constraints.txt", "Dockerfile", "docker-compose.yml", "tests", "helm"):
        assert (source / name).exists(), name
    build(source, tmp_path / "again", "--wheel")
    first, again = ((folder / WHEEL).read_bytes() for folder in (dist, tmp_path / "again"))
    assert hashlib.sha256(first).hexdigest() == hashlib.sha256(again).hexdigest()


def test_the_wheel_runs_where_nothing_of_the_checkout_is(clean: Path, tmp_path: Path) -> None:
    where = run(
        clean, tmp_path, "python", "-c", "import stream, models, schemas; print(stream.__file__, models.__file__)"
    )
    assert where.returncode == 0 and where.stdout.count(str(clean)) == 2, where.stdout + where.stderr
    assert run(clean, tmp_path, "forebay", "--version").stdout == f"forebay {VERSION}\n"


@pytest.mark.slow
def test_the_demo_runs_from_the_wheel(clean: Path, tmp_path: Path) -> None:
    done = run(
        clean, tmp_path, "forebay", "demo", "--events", "300", "--rate", "0", "--json", "--cache-dir", str(tmp_path)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["exact"] is True and sum(report["outcomes"].values()) == 300


def sbom() -> Any:
    """The script `.ci/sbom` as a module."""
    loader = SourceFileLoader("forebay_sbom", str(ROOT / ".ci" / "sbom"))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    dont_write, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = dont_write
    return module


def test_the_bill_of_materials_names_what_the_wheel_brings_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    names = sbom().brought(["aggregate", "embedded"])
    assert {"torch", "numpy", "aiokafka", "cramjam", "faust-streaming", "aiohttp", "noida-db"} <= names
    assert names.isdisjoint({"forebay", "pytest", "ruff", "mypy", "hypothesis", "pyarrow", "scikit-learn", "build"})


def test_the_bill_of_materials_is_valid_and_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    target = tmp_path / "bill.json"
    sbom().main(target, "aggregate")
    bill = json.loads(target.read_bytes())
    root = bill["metadata"]["component"]
    assert (root["name"], root["version"]) == ("forebay", VERSION)
    refs = {each["bom-ref"]: each for each in bill["components"]}
    assert all(each["version"] and each["purl"].startswith("pkg:pypi/") for each in refs.values())
    graph = {each["ref"]: each.get("dependsOn", []) for each in bill["dependencies"]}
    assert all(ref in refs for refs_of in graph.values() for ref in refs_of)
    assert {"aiokafka", "torch", "faust-streaming"} <= {refs[ref]["name"] for ref in graph[root["bom-ref"]]}


def test_the_version_is_stated_once() -> None:
    """The chart's own test ties Chart.yaml; the image gets it as an argument, by `make image`."""
    assert re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?", VERSION)
    said = subprocess.run(["make", "-n", "image"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert f"--tag forebay:{VERSION}" in said and f"--build-arg VERSION={VERSION}" in said
    for package in ("stream", "models", "schemas"):
        for file in (ROOT / package).rglob("*.py"):
            assert not re.search(r"^__version__\s*=", file.read_text(), re.MULTILINE), file
    assert "ARG VERSION=unknown" in (ROOT / "Dockerfile").read_text()
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert "## [Unreleased]" in changes or f"## [{VERSION}]" in changes
