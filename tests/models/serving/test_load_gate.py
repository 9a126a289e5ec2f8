"""The load gate: trust before any byte of code is interpreted, and the budget after all other checks."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from forebay.models.artefacts.artefact import read_version
from forebay.models.artefacts.manifest import Provenance
from forebay.models.artefacts.preprocessing import Preprocessing
from forebay.models.artefacts.signature import Feature, Signature
from forebay.models.artefacts.trust import TrustPolicy
from forebay.models.backends.protocol import RunOptions
from forebay.models.registration.candidate import Candidate
from forebay.models.registration.publish import publish_candidate
from forebay.models.serving.load_budget import NUM_TIMED_RUNS, LoadBudget, Meter
from forebay.models.serving.load_gate import load_model, load_version
from forebay.models.serving.served_model import ServedModel
from forebay.models.serving.warm_up import warm_up_sizes
from forebay.schemas.errors import ModelError
from tests.models.backends.onnx.graphs import constant, make_model
from tests.models.build import CREATED_AT, publish
from tests.models.own_code import DOUBLE, manifest_digest, publish_function, replace_source

MIB = 1 << 20


def load(repository: object, *, name: str = "own", trusted: object = None, digest: str = "") -> ServedModel:
    policy = TrustPolicy(frozenset() if trusted is None else frozenset({str(trusted)}), frozenset({digest} - {""}))
    return load_model(str(repository), name, options=RunOptions(), trust=policy)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """A file that the code of the version in `attack` creates when it is executed."""
    return tmp_path / "executed"


@pytest.fixture
def attack(tmp_path: Path, mark: Path) -> Path:
    """A version that was published and whose source was replaced then, together with the manifest's entry."""
    version = publish_function(tmp_path / "models")
    replace_source(version, f"open({str(mark)!r}, 'w').close()\n{DOUBLE}")
    return version


def refusal(repository: object, **trust: object) -> ModelError:
    with pytest.raises(ModelError) as raised:
        load(repository, **trust)  # type: ignore[arg-type]
    return raised.value


def test_without_trust_the_code_is_not_touched(attack: Path, mark: Path, tmp_path: Path) -> None:
    (attack / "predict.py").unlink()  # not even looked for
    error = refusal(tmp_path / "models")
    assert error.kind == "untrusted" and not mark.exists()
    assert error.remedy is not None and manifest_digest(attack) in error.remedy


def test_a_trusted_model_runs_its_code(attack: Path, mark: Path, tmp_path: Path) -> None:
    load(tmp_path / "models", trusted=tmp_path / "models")
    assert mark.exists()


def test_trust_by_digest_is_for_this_manifest_and_its_files(attack: Path, mark: Path, tmp_path: Path) -> None:
    digest = manifest_digest(attack)
    source = (attack / "predict.py").read_text()
    (attack / "predict.py").write_text(source.replace("2 *", "3 *"))  # one byte, the same size
    error = refusal(tmp_path / "models", digest=digest)
    assert error.kind == "digest" and "predict.py" in error.message and not mark.exists()
    replace_source(attack, source.replace("2 *", "3 *"))
    assert refusal(tmp_path / "models", digest=digest).kind == "untrusted" and not mark.exists()
    replace_source(attack, source)
    load(tmp_path / "models", digest=digest)
    assert mark.exists()


def test_white_space_in_the_manifest_ends_the_trust(attack: Path, mark: Path, tmp_path: Path) -> None:
    digest = manifest_digest(attack)
    with (attack / "manifest.json").open("a") as file:
        file.write(" ")
    assert refusal(tmp_path / "models", digest=digest).kind == "untrusted" and not mark.exists()


def test_names_of_other_repositories_are_not_trusted(attack: Path, mark: Path, tmp_path: Path) -> None:
    trusted = tmp_path / "trusted"
    trusted.mkdir()
    (trusted / "link").symlink_to(tmp_path / "models")
    for name in (tmp_path / "models", f"{trusted}/../models", f"{trusted}/link", f"{trusted}/link/"):
        assert refusal(name, trusted=trusted).kind == "untrusted", name
    assert not mark.exists()


def test_a_version_that_is_linked_into_a_trusted_repository_is_refused(
    attack: Path, mark: Path, tmp_path: Path
) -> None:
    trusted = tmp_path / "trusted"
    (trusted / "own").mkdir(parents=True)
    (trusted / "own" / "1").symlink_to(attack)
    assert refusal(trusted, trusted=trusted).kind == "path"
    (trusted / "own" / "1").unlink()
    (trusted / "own").rmdir()
    (trusted / "own").symlink_to(attack.parent)
    assert refusal(trusted, trusted=trusted).kind == "path"
    assert not mark.exists()


def test_another_name_of_a_trusted_repository_is_trusted(attack: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "models")
    load(tmp_path / "link", trusted=tmp_path / "models")
    load(f"{tmp_path}/models/", trusted=tmp_path / "link")


def test_a_link_that_changes_after_the_decision_leads_nowhere_else(
    attack: Path, mark: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = tmp_path / "good"
    publish_function(good)
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "models")  # leads to the attack while the manifest is first read
    check = TrustPolicy.check

    def switch_to(target: Path) -> None:
        link.unlink()
        link.symlink_to(target)

    def switching_check(self: TrustPolicy, backend: str, **of: str) -> None:
        switch_to(good)
        check(self, backend, **of)  # type: ignore[arg-type]
        switch_to(tmp_path / "models")

    monkeypatch.setattr(TrustPolicy, "check", switching_check)
    assert refusal(link, trusted=good).kind == "untrusted"
    assert not mark.exists()


def test_a_model_without_code_needs_no_trust(tmp_path: Path) -> None:
    publish(tmp_path / "models")
    assert load(tmp_path / "models", name="delays").version == 1


class FakeProcess:
    """A process that grows by a fixed number of bytes, and a model whose calls take `took_ms` in turn."""

    def __init__(self, grown_bytes: int = 0, took_ms: tuple[float, ...] = (1.0,)) -> None:
        self._resident = iter([100 * MIB, 100 * MIB + grown_bytes])
        self._took_ms = took_ms
        self._now_s = 0.0
        self.clock_reads = 0

    def monotonic_s(self) -> float:
        if self.clock_reads % 2:
            self._now_s += self._took_ms[self.clock_reads // 2 % len(self._took_ms)] / 1000
        self.clock_reads += 1
        return self._now_s

    def resident_bytes(self) -> int:
        return next(self._resident)

    def load(self, repository: Path, **limits: int) -> ServedModel:
        meter = Meter(self.monotonic_s, self.resident_bytes)
        budget = LoadBudget(100, meter, **limits)  # type: ignore[arg-type]
        return load_model(repository, "delays", options=RunOptions(), budget=budget)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    publish(tmp_path / "models")
    return tmp_path / "models"


def test_a_model_within_its_budget_is_loaded(repository: Path) -> None:
    process = FakeProcess(50 * MIB, (7.0,))
    assert process.load(repository, max_memory_mb=50, max_batch_latency_ms=8).version == 1
    assert process.clock_reads == 2 * NUM_TIMED_RUNS


def test_nothing_is_measured_without_limits(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ServedModel, "warm_up", None)
    process = FakeProcess()
    process.load(repository)
    assert process.clock_reads == 0 and process.resident_bytes() == 100 * MIB


def test_a_model_that_takes_too_much_memory_is_refused(repository: Path) -> None:
    with pytest.raises(ModelError) as raised:
        FakeProcess(50 * MIB + MIB).load(repository, max_memory_mb=50)
    error = raised.value
    assert error.kind == "budget"
    for part in ("model delays version 1", "grown by 51 MiB", "up to 100 rows", "model.max_load_memory_mb allows 50"):
        assert part in error.message
    assert error.remedy is not None and "batch.max_batch_size" in error.remedy


def test_a_model_that_is_too_slow_is_refused_by_the_median(repository: Path) -> None:
    FakeProcess(took_ms=(7.0, 900.0, 7.0, 900.0, 7.0)).load(repository, max_batch_latency_ms=8)
    with pytest.raises(ModelError) as raised:
        FakeProcess(took_ms=(7.0, 90.0, 90.0)).load(repository, max_batch_latency_ms=8)
    error = raised.value
    assert error.kind == "budget"
    for part in ("100 rows take 90 ms", "the median of 5 runs", "model.max_batch_latency_ms allows 8"):
        assert part in error.message
    assert error.remedy is not None and "faster" in error.remedy


def test_a_budget_is_measured_after_a_warm_up_of_every_magnitude(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[list[int]] = []
    monkeypatch.setattr(ServedModel, "warm_up", lambda self, given: sizes.append(list(given)))
    FakeProcess().load(repository, max_memory_mb=1)
    assert sizes == [[1, 2, 4, 8, 16, 32, 64, 100]]


def test_instances_have_runners_of_their_own_and_count_in_the_budget(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warmed_up: list[ServedModel] = []
    monkeypatch.setattr(ServedModel, "warm_up", lambda self, _sizes: warmed_up.append(self))
    process = FakeProcess(51 * MIB)
    budget = LoadBudget(100, Meter(process.monotonic_s, process.resident_bytes), max_memory_mb=51)
    model = load_version(read_version(repository, "delays"), options=RunOptions(), budget=budget, num_instances=3)
    assert model.instances[0] is model and len({id(one._runner) for one in model.instances}) == 3
    assert warmed_up == list(model.instances)
    assert model.memory_bytes == 3 * (model.instances[1].memory_bytes or 0) > 0


@pytest.mark.parametrize(
    ("max_batch_size", "sizes"), [(1, [1]), (2, [1, 2]), (4, [1, 2, 4]), (5, [1, 2, 4, 5]), (9, [1, 2, 4, 8, 9])]
)
def test_warm_up_sizes_go_up_to_the_largest_batch(max_batch_size: int, sizes: list[int]) -> None:
    assert warm_up_sizes(max_batch_size) == sizes


def test_a_graph_that_cannot_run_is_refused(tmp_path: Path) -> None:
    version = publish_graph(tmp_path, shape=[-1, 3])
    content = graph(shape=[-1, 7]).SerializeToString()
    (version / "model.onnx").write_bytes(content)
    manifest = json.loads((version / "manifest.json").read_text())
    manifest["files"]["model.onnx"] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (version / "manifest.json").write_text(json.dumps(manifest))
    error = refusal(tmp_path, name="graph")
    assert error.kind == "golden" and error.remedy
    assert "the model cannot run its golden rows: " in error.message


def graph(shape: list[int]) -> onnx.ModelProto:
    """Return a graph that reshapes the rows before it multiplies them."""
    nodes = [
        helper.make_node("Reshape", ["rows", "shape"], ["shaped"]),
        helper.make_node("MatMul", ["shaped", "weights"], ["scores"]),
    ]
    weights = np.ones((shape[1], 2), dtype=np.float32)
    return make_model(nodes, [constant("shape", shape, np.int64), constant("weights", weights)])


def publish_graph(repository: Path, shape: list[int]) -> Path:
    signature = Signature(tuple(map(Feature, "abc")), (3,), "multiclass", 2)
    files = {"model.onnx": graph(shape).SerializeToString()}
    candidate = Candidate("onnx", files, signature, Preprocessing.identity())
    return publish_candidate(candidate, repository=repository, name="graph", provenance=Provenance(CREATED_AT, {}))
