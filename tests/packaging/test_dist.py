"""The output of `make dist`: a self-contained wheel, a source distribution that builds the same wheel, a correct SBOM."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

import pytest

from forebay.stream import native
from tests.packaging.environment import Environment, build
from tests.packaging.image import ROOT

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
WHEEL = f"forebay-{VERSION}-py3-none-any.whl"
SDIST = f"forebay-{VERSION}.tar.gz"


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build(ROOT, folder)
    return folder


@pytest.fixture(scope="module")
def clean(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment as after `pip install 'forebay[demo]'`, without this checkout."""
    return Environment.create(tmp_path_factory.mktemp("clean"), dist / WHEEL, "demo")


def test_the_wheel_contains_the_packages_and_nothing_else(dist: Path) -> None:
    with zipfile.ZipFile(dist / WHEEL) as wheel:
        names = wheel.namelist()
    assert {name.split("/")[0] for name in names} == {"forebay", f"forebay-{VERSION}.dist-info"}
    assert f"forebay-{VERSION}.dist-info/licenses/LICENSE" in names
    tracked = subprocess.run(
        ["git", "ls-files", "stream", "models", "schemas"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    assert {f"forebay/{name}" for name in tracked} <= set(names)
    assert len(names) == len(set(names)) and {"forebay/__init__.py", "forebay/py.typed"} <= set(names)


@pytest.mark.long
def test_the_source_distribution_gives_the_same_wheel(dist: Path, tmp_path: Path) -> None:
    with tarfile.open(dist / SDIST) as archive:
        archive.extractall(tmp_path, filter="data")
    source = tmp_path / f"forebay-{VERSION}"
    for name in ("Makefile", ".ci/setup-venv", "constraints.txt", "Dockerfile", "docker-compose.yml", "tests", "helm"):
        assert (source / name).exists(), name
    own = source / "models" / "mine" / "1" / "manifest.json"  # a user's model, which must not be published
    own.parent.mkdir(parents=True)
    own.write_text("{}")
    build(source, tmp_path / "again")
    first, again = ((folder / WHEEL).read_bytes() for folder in (dist, tmp_path / "again"))
    assert hashlib.sha256(first).hexdigest() == hashlib.sha256(again).hexdigest()
    with tarfile.open(tmp_path / "again" / SDIST) as archive:
        assert not [name for name in archive.getnames() if "/mine" in name]


@pytest.mark.long
@pytest.mark.skipif(native.json_rows is None, reason="the compiled part is not built")
def test_a_wheel_with_the_compiled_part_differs_in_nothing_else(dist: Path, tmp_path: Path) -> None:
    build(ROOT, tmp_path, "--wheel", compiled=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert f"forebay-{VERSION}-cp311-abi3-" in wheel.name
    with zipfile.ZipFile(wheel) as compiled, zipfile.ZipFile(dist / WHEEL) as plain:
        added = set(compiled.namelist()) - set(plain.namelist())
        modules = [compiled.read(name) for name in added]
    assert added == {
        f"forebay/stream/native/{name}.abi3.so"
        for name in ("encrypted_fields", "json_rows", "prediction_json", "record_columns", "record_writer")
    }
    for module in modules:
        assert str(ROOT).encode() not in module and str(Path.home()).encode() not in module


@pytest.mark.long
def test_the_wheel_runs_where_nothing_of_the_checkout_is(clean: Environment) -> None:
    where = clean.run(
        "python", "-c", "import forebay.stream, forebay.models; print(forebay.stream.__file__, forebay.models.__file__)"
    )
    assert where.returncode == 0 and where.stdout.count(str(clean.folder)) == 2, where.stdout + where.stderr
    assert clean.run("forebay", "--version").stdout == f"forebay {VERSION}\n"


@pytest.mark.long
def test_the_demo_runs_from_the_wheel_with_what_its_extra_declares(clean: Environment, tmp_path: Path) -> None:
    options = ("--events", "300", "--rate", "0", "--json", "--cache-dir", str(tmp_path))
    done = clean.run("forebay", "demo", *options, timeout_s=150)
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


def test_the_bill_of_materials_lists_what_the_wheel_installs_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    names = sbom().required_names(["aggregate", "embedded"])
    assert {"torch", "numpy", "aiokafka", "cramjam", "faust-streaming", "aiohttp", "noida-db"} <= names
    assert names.isdisjoint({"forebay", "pytest", "ruff", "mypy", "hypothesis", "pyarrow", "scikit-learn", "build"})


@pytest.mark.long
@pytest.mark.timeout(400)
def test_the_bill_of_materials_is_valid_and_complete(tmp_path: Path) -> None:
    target = tmp_path / "bill.json"
    command = [sys.executable, str(ROOT / ".ci" / "sbom"), str(target), "aggregate"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=360)
    assert done.returncode == 0, done.stdout + done.stderr
    bill = json.loads(target.read_bytes())
    root = bill["metadata"]["component"]
    assert (root["name"], root["version"]) == ("forebay", VERSION)
    refs = {each["bom-ref"]: each for each in bill["components"]}
    assert all(each["version"] and each["purl"].startswith("pkg:pypi/") for each in refs.values())
    graph = {each["ref"]: each.get("dependsOn", []) for each in bill["dependencies"]}
    assert all(ref in refs for refs_of in graph.values() for ref in refs_of)
    assert {"aiokafka", "torch", "faust-streaming"} <= {refs[ref]["name"] for ref in graph[root["bom-ref"]]}


def test_the_version_is_stated_once() -> None:
    """A test of the chart checks Chart.yaml, and `make image` passes the version to the image as an argument."""
    assert re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?", VERSION)
    said = subprocess.run(["make", "-n", "image"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert f"--tag forebay:{VERSION}" in said and f"--build-arg VERSION={VERSION}" in said
    for package in ("stream", "models", "schemas"):
        for file in (ROOT / package).rglob("*.py"):
            assert not re.search(r"^__version__\s*=", file.read_text(), re.MULTILINE), file
    assert "ARG VERSION=unknown" in (ROOT / "Dockerfile").read_text()
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert "## [Unreleased]" in changes or f"## [{VERSION}]" in changes
