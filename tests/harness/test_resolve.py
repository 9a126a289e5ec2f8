"""The test harness itself: it looks for brokers in the right order and always reports why none is available."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.brokers import resolve as resolving
from tests.brokers.jars import Unavailable, cache_folder, fetch_jars, find_java
from tests.brokers.ports import free_ports
from tests.brokers.resolve import Source, resolve

ROOT = Path(__file__).resolve().parent.parent.parent


def closed(reason: str) -> object:
    def way(_environ: object) -> Source:
        raise Unavailable(reason)

    return way


def test_a_configured_kafka_takes_precedence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolving, "resolve_maven", lambda _environ: pytest.fail("Maven was asked"))
    assert resolve({"FOREBAY_TEST_BOOTSTRAP": "broker:9092"}).named == "broker:9092"


def test_maven_takes_precedence_over_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolving, "resolve_maven", lambda _environ: Source("from Maven"))
    monkeypatch.setattr(resolving, "resolve_docker", lambda _environ: pytest.fail("Docker was asked"))
    assert resolve({}).description == "from Maven"


def test_docker_is_the_last_resort(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolving, "resolve_maven", closed("no Java"))
    monkeypatch.setattr(resolving, "resolve_docker", lambda _environ: Source("from Docker"))
    assert resolve({}).description == "from Docker"


def test_every_reason_is_given_if_no_kafka_is_available(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolving, "resolve_maven", closed("no Java"))
    monkeypatch.setattr(resolving, "resolve_docker", closed("no Docker engine answers"))
    with pytest.raises(Unavailable, match="FOREBAY_TEST_BOOTSTRAP is not set; no Java; no Docker engine answers"):
        resolve({})


def test_the_cache_folder_can_be_named() -> None:
    assert cache_folder({"FOREBAY_CACHE": "/somewhere"}) == Path("/somewhere")
    assert cache_folder({"XDG_CACHE_HOME": "/cache"}) == Path("/cache/forebay")


def _program(folder: Path, name: str, script: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'openjdk version \"11.0.2\" 2019-01-15' >&2", "Java 11.0.2 is too old"),
        ("echo 'java version \"1.8.0_202\"' >&2", "Java 1.8.0_202 is too old"),
        ("echo 'Unable to locate a Java Runtime.' >&2; exit 1", "no Java that runs"),
    ],
)
def test_an_unsuitable_java_is_not_used(tmp_path: Path, script: str, reason: str) -> None:
    _program(tmp_path / "bin", "java", script)
    with pytest.raises(Unavailable, match=reason):
        find_java({"JAVA_HOME": str(tmp_path)})


def test_a_failed_fetch_leaves_no_half_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _program(tmp_path / "bin", "mvn", "echo '[ERROR] Could not transfer artifact'; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    with pytest.raises(Unavailable, match="Could not transfer artifact"):
        fetch_jars(tmp_path / "cache")
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]


def test_several_processes_fetch_the_jars_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetches = tmp_path / "fetches"
    script = f'echo x >> {fetches}; for last; do :; done; sleep 0.2; mkdir "${{last#-DoutputDirectory=}}"'
    _program(tmp_path / "bin", "mvn", script)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    with ThreadPoolExecutor() as pool:
        folders = list(pool.map(fetch_jars, [tmp_path / "cache"] * 4))
    assert fetches.read_text() == "x\n" and {folder.is_dir() for folder in folders} == {True}


def test_free_ports_differ_and_are_below_the_ephemeral_range() -> None:
    ports = free_ports(8)
    assert len(set(ports)) == 8 and all(20000 <= port < 32000 for port in ports)


def test_two_calls_return_different_ports_although_none_is_bound_yet() -> None:
    given = [port for _ in range(50) for port in free_ports(4)]
    assert len(set(given)) == len(given)


def test_processes_that_share_the_tests_share_no_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = []
    for number in range(4):
        monkeypatch.setenv("PYTEST_XDIST_WORKER", f"gw{number}")
        shares.append({port for _ in range(5) for port in free_ports(20)})
    assert not set.intersection(*shares[:2]) and len(set.union(*shares)) == sum(map(len, shares))


def _session(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a pytest session of two tests, on a machine without Java, Maven and Docker."""
    (folder / "conftest.py").write_text("from tests.conftest import *\nfrom tests.conftest import _REPORT\n")
    (folder / "test_two.py").write_text("def test_real(kafka): ...\ndef test_plain(): ...\n")
    empty = folder / "empty"
    empty.mkdir()
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("FOREBAY_", "CI", "JAVA_"))}
    clean |= {"PATH": str(empty), "DOCKER_HOST": f"unix://{empty}/none.sock", "PYTHONPATH": str(ROOT)} | environ
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml")]
    command += ["--rootdir", str(folder), *arguments, str(folder)]
    return subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True, check=False, timeout=150)


def test_without_a_real_kafka_the_rest_runs_and_the_summary_shows_what_was_left_out(tmp_path: Path) -> None:
    said = _session(tmp_path)
    assert said.returncode == 0, said.stdout + said.stderr
    assert "1 passed, 1 deselected" in said.stdout
    assert "LEFT OUT: 1 tests that need a real Apache Kafka" in said.stdout
    assert "FOREBAY_TEST_BOOTSTRAP is not set; no Java; no Docker engine answers" in said.stdout


def test_in_ci_a_missing_real_kafka_is_a_failure(tmp_path: Path) -> None:
    said = _session(tmp_path, CI="true")
    assert said.returncode == 1, said.stdout + said.stderr
    assert "FAILED: with CI=true a missing real Kafka is a failure" in said.stdout


def test_several_processes_report_the_same_summary_as_one(tmp_path: Path) -> None:
    said = _session(tmp_path, "-n", "2", "--dist", "loadfile", CI="true")
    assert said.returncode == 1, said.stdout + said.stderr
    assert "1 passed" in said.stdout
    assert said.stdout.count("LEFT OUT: 1 tests that need a real Apache Kafka") == 1
    assert "FAILED: with CI=true a missing real Kafka is a failure" in said.stdout


def test_in_ci_a_selection_without_kafka_tests_does_not_fail(tmp_path: Path) -> None:
    said = _session(tmp_path, "-m", "not kafka", CI="true")
    assert said.returncode == 0, said.stdout + said.stderr
    assert "LEFT OUT" not in said.stdout


def test_a_named_kafka_that_does_not_answer_is_an_error_and_not_left_out(tmp_path: Path) -> None:
    said = _session(tmp_path, FOREBAY_TEST_BOOTSTRAP=f"127.0.0.1:{free_ports(1)[0]}")
    assert said.returncode == 1, said.stdout + said.stderr
    assert "from FOREBAY_TEST_BOOTSTRAP, does not answer" in said.stdout
