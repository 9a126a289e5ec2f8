"""The contestants in other languages: command lines, builds and the files of their model. Nothing is compiled here."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from safetensors.numpy import load_file

from benchmarks.contestants.catalogue import (
    CONTESTANTS,
    DIVISORS,
    FOREBAY,
    FOREBAY_EXACTLY_ONCE,
    GROUPS,
    Contestant,
    chosen,
)
from benchmarks.contestants.job import POLL_RECORDS, Job
from benchmarks.rivals import toolchains
from benchmarks.rivals.commands import command_of
from benchmarks.rivals.model_files import expected_scores, write_model_files
from forebay.stream.bench.setup import MODEL_NAME, NUM_FEATURES, save_bench_model
from tests.brokers.jars import Unavailable

JOB = Job(
    bootstrap_servers="host:1",
    features="features",
    predictions="predictions",
    group_id="g",
    events=5,
    repository="/tmp/r",
    model="bench",
    config="/tmp/c.toml",
    idempotent=False,
    processing_guarantee="exactly_once",
)
BY_NAME = {contestant.name: contestant for contestant in CONTESTANTS}


def test_names_are_unique_and_groups_hold_listed_contestants() -> None:
    assert len(BY_NAME) == len(CONTESTANTS)
    assert {contestant for group in GROUPS.values() for contestant in group} == set(CONTESTANTS)


def test_contestants_are_chosen_by_name_and_by_group() -> None:
    assert chosen(["forebay"]) == [FOREBAY, FOREBAY_EXACTLY_ONCE]
    assert [c.name for c in chosen(["java cold", "streams"])] == [
        "java cold",
        "kafka streams",
        "kafka streams exactly once",
    ]
    assert chosen(["all"]) == list(CONTESTANTS)
    with pytest.raises(KeyError):
        chosen(["nothing"])


@pytest.mark.parametrize("contestant", CONTESTANTS, ids=lambda contestant: contestant.name)
def test_the_source_of_each_contestant_exists(contestant: Contestant) -> None:
    if contestant.runtime == "java":
        path = toolchains.RIVALS / "java/src/main/java" / f"{contestant.module.replace('.', '/')}.java"
        assert "public static void main" in path.read_text()
    elif contestant.runtime == "rust":
        project = toolchains.RIVALS / "rust"
        assert f'name = "{contestant.module}"' in (project / "Cargo.toml").read_text()
        assert "fn main()" in (project / "src" / "main.rs").read_text()
    else:
        assert importlib.util.find_spec(contestant.module) is not None


def test_python_contestants_run_in_this_environment() -> None:
    command = command_of(BY_NAME["aiokafka"], JOB, {})
    assert command[:3] == [sys.executable, "-m", "benchmarks.contestants.aiokafka_worker"]
    assert json.loads(command[3])["group_id"] == "g"


def test_java_contestants_get_the_job_and_the_common_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", "/jdk")
    command = command_of(BY_NAME["java exactly once"], JOB, {"java": Path("/built")})
    assert command[0] == "/jdk/bin/java"
    assert command[command.index("-cp") + 1] == "/built/rivals.jar:/built/lib/*"
    assert command[-2] == "forebay.rivals.PlainWorker"
    argument = json.loads(command[-1])
    assert argument["processing_guarantee"] == "exactly_once"
    assert argument["poll_records"] == POLL_RECORDS
    assert argument["commit_interval_ms"] == 100
    # The programs read one flat object.
    assert not [name for name, value in argument.items() if isinstance(value, (dict, list))]


def test_the_rust_contestant_is_a_program_with_the_same_argument() -> None:
    program, argument = command_of(BY_NAME["rust"], JOB, {"rust": Path("/built")})
    assert program == "/built/forebay-rival"
    assert json.loads(argument)["weights"] == JOB.weights


def test_quix_streams_runs_in_its_own_environment() -> None:
    command = command_of(BY_NAME["quix streams"], JOB, {"quix": Path("/built")})
    assert command[:3] == ["/built/bin/python", "-m", "benchmarks.contestants.quix_worker"]


def test_the_versions_of_all_libraries_are_fixed() -> None:
    lock = (toolchains.RIVALS / "rust" / "Cargo.lock").read_text()
    assert all(f'name = "{crate}"' in lock for crate in ("rdkafka", "simd-json", "matrixmultiply"))
    requirements = (toolchains.RIVALS / "quix" / "requirements.txt").read_text().split()
    assert all("==" in requirement for requirement in requirements)
    project = (toolchains.RIVALS / "java" / "pom.xml").read_text()
    assert "SNAPSHOT" not in project and "LATEST" not in project


def build_project(project: Path, environ: Mapping[str, str], build: Callable[[Path, Path], None]) -> Path:
    return toolchains.build_once(project, name="p", patterns=("*.txt",), environ=environ, build=build)


def test_a_project_is_built_once_for_the_same_sources(tmp_path: Path) -> None:
    project, environ = tmp_path / "project", {"FOREBAY_CACHE": str(tmp_path / "cache")}
    project.mkdir()
    (project / "source.txt").write_text("one")
    builds = []

    def build(sources: Path, target: Path) -> None:
        builds.append((sources / "source.txt").read_text())
        (target / "built").write_text(builds[-1])

    first = build_project(project, environ, build)
    assert build_project(project, environ, build) == first
    assert builds == ["one"]
    (project / "source.txt").write_text("two")
    second = build_project(project, environ, build)
    assert (second / "built").read_text() == "two"
    assert second != first


def test_a_failed_build_leaves_nothing_behind(tmp_path: Path) -> None:
    project, cache = tmp_path / "project", tmp_path / "cache"
    project.mkdir()

    def build(sources: Path, target: Path) -> None:
        raise Unavailable("no compiler")

    with pytest.raises(Unavailable, match="no compiler"):
        build_project(project, {"FOREBAY_CACHE": str(cache)}, build)
    assert not [path for path in cache.iterdir() if path.is_dir()]


def test_contestants_without_their_tools_are_left_out_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toolchains, "find_java", lambda environ: (Path("java"), "17"))
    monkeypatch.setenv("PATH", str(tmp_path))
    chosen = [FOREBAY, BY_NAME["java"], BY_NAME["rust"]]
    folders, missing = toolchains.set_up(chosen, {"FOREBAY_CACHE": str(tmp_path)})
    assert folders == {}
    assert missing == {
        "java": "Maven is not installed: no program mvn on the path",
        "rust": "Rust is not installed: no program cargo on the path",
    }


def test_the_models_files_have_the_same_net(tmp_path: Path) -> None:
    save_bench_model(tmp_path)
    write_model_files(tmp_path, MODEL_NAME, tmp_path)
    rows = np.random.default_rng(1).normal(size=(5, NUM_FEATURES)).astype(np.float32)
    expected = expected_scores(tmp_path, MODEL_NAME, rows).numpy()

    session = onnxruntime.InferenceSession(str(tmp_path / f"{MODEL_NAME}.onnx"))
    logits = session.run(None, {"rows": rows})[0]
    np.testing.assert_allclose(softmax(logits), expected, atol=1e-6)

    tensors = load_file(tmp_path / f"{MODEL_NAME}.safetensors")
    values = rows
    for number in range(len(tensors) // 2):
        values = values @ tensors[f"weight.{number}"] + tensors[f"bias.{number}"]
        if f"weight.{number + 1}" in tensors:
            values = np.maximum(values, 0)
    np.testing.assert_allclose(softmax(values), expected, atol=1e-5)


def softmax(logits: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def test_slow_contestants_drain_fewer_events() -> None:
    assert BY_NAME["aiokafka"].divisor == 4
    assert BY_NAME["faust"].divisor == 16
    assert {contestant.topic for contestant in CONTESTANTS} == {FOREBAY.topic, *DIVISORS}
    assert FOREBAY.divisor == 1
