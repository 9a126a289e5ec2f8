"""Exported folders predict as a worker does, without torch, Kafka and Forebay."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forebay.models.artefacts.artefact import StoredVersion, read_version
from forebay.models.artefacts.manifest import Provenance
from forebay.models.artefacts.preprocessing import Impute, Preprocessing, RowCheck
from forebay.models.artefacts.signature import Feature, Signature
from forebay.models.artefacts.window_input import WindowInput
from forebay.models.backends.protocol import RunOptions
from forebay.models.backends.trees.rules import EnsembleRules
from forebay.models.edge.folder import EdgeModel, build_edge_model, edge_files, write_folder
from forebay.models.edge.limits import Limits
from forebay.models.edge.programs import checked_files, device_programs
from forebay.models.edge.single_graph import check_exportable
from forebay.models.edge.verification import verify_folder
from forebay.models.registration.candidate import Candidate
from forebay.models.registration.publish import publish_candidate
from forebay.models.serving.load_gate import load_version
from forebay.schemas.errors import ModelError
from tests.models.backends.trees.forest import make_ensemble
from tests.models.build import publish

FEATURES = (
    Feature("amount"),
    Feature("age", nullable=True),
    Feature("country", "category", tuple(f"c{index}" for index in range(30)), nullable=True, other=True),
)
CHECK = RowCheck(3, (0,), (-5.0,), (5.0,), allow_missing=(False,), names=("amount",))
PREPROCESSING = Preprocessing((CHECK, Impute(3, (1,), (0.25,))))
BINS = {"window_s": 300, "columns": []}
LIMITS = Limits(model_bytes=256_000, memory_bytes=1 << 30, p99_ms=10_000.0)

FOREIGN = """
import json, runpy, sys
from pathlib import Path
folder = Path(sys.argv[1])
runner = runpy.run_path(str(folder / "runner.py"))["Runner"](folder)
answers = []
for event in json.load(sys.stdin):
    try:
        answers.append(runner.predict(runner.row(event)))
    except ValueError as error:
        answers.append({"error": str(error)})
foreign = {"aiokafka", "aiohttp", "forebay", "onnx", "torch"} & {name.partition(".")[0] for name in sys.modules}
print(json.dumps({"answers": answers, "foreign": sorted(foreign)}))
"""


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> StoredVersion:
    """A binary model of trees with a category, missing values and rows that are rejected."""
    repository = tmp_path_factory.mktemp("repository")
    rules = EnsembleRules(3, 1, link="sigmoid")
    candidate = Candidate(
        "trees",
        {"trees.safetensors": make_ensemble(rules).dump()},
        Signature(FEATURES, (3,), "binary", 1, labels=("no", "yes")),
        PREPROCESSING,
        outputs="probabilities",
        params=rules.to_params(),
        expected=None,
    )
    provenance = Provenance(datetime(2026, 11, 28, tzinfo=UTC), {"accuracy": 0.5})
    publish_candidate(candidate, repository=repository, name="churn", provenance=provenance)
    return read_version(repository, "churn")


@pytest.fixture(scope="module")
def model(stored: StoredVersion) -> EdgeModel:
    return build_edge_model(stored)


@pytest.fixture
def folder(model: EdgeModel, tmp_path: Path) -> Path:
    write_folder(tmp_path / "edge", edge_files(model, LIMITS, BINS))
    return tmp_path / "edge"


def test_the_runner_predicts_as_a_worker_and_imports_nothing_else(folder: Path, stored: StoredVersion) -> None:
    events: list[Any] = [
        {"amount": 0.5, "age": None, "country": "c3"},
        {"amount": -4, "age": 1.5, "country": "unknown"},
        {"amount": 2, "country": None},
        {"amount": 6.0},
        {"age": 1.0},
        {"amount": "1"},
        {"amount": True},
        {"amount": 1.0, "country": 3},
        {"amount": 1e39},
        [1.0, 2.0, 3.0],
    ]
    done = subprocess.run(
        [sys.executable, "-I", "-c", FOREIGN, str(folder)], input=json.dumps(events), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["foreign"] == []
    served = load_version(stored, options=RunOptions())
    rows = np.array([[0.5, np.nan, 3], [-4, 1.5, 30], [2, np.nan, np.nan]], np.float32)
    scores = served.forward(served.prepare(rows))
    assert scores.classes_B is not None and scores.confidences_B is not None
    for index, answer in enumerate(found["answers"][:3]):
        label = ("no", "yes")[scores.classes_B[index]]
        assert (answer["model"], answer["version"], answer["class"], answer["label"]) == (
            "churn",
            1,
            scores.classes_B[index],
            label,
        )
        assert answer["prediction"] == pytest.approx(scores.values_BO[index].tolist(), abs=1e-6)
        assert answer["confidence"] == pytest.approx(scores.confidences_B[index], abs=1e-6)
    errors = [answer["error"] for answer in found["answers"][3:]]
    assert errors[0].startswith("the row is outside what the model was prepared for")
    named = ["'amount'", "'amount'", "'amount'", "'country'", "'amount'"]
    assert [name in error for name, error in zip(named, errors[1:], strict=False)] == [True] * 5
    assert errors[6] == "features is missing, or has the wrong type"


def test_the_program_reads_lines(folder: Path) -> None:
    lines = b'{"features": {"amount": 1, "country": "c1"}}\nnothing\n{"amount": 1}\n'
    done = subprocess.run([sys.executable, "-I", folder / "runner.py"], input=lines, capture_output=True, check=True)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [sorted(answer) for answer in answers] == [
        ["class", "confidence", "label", "model", "prediction", "version"],
        ["error"],
        ["error"],
    ]


def test_the_runner_is_short() -> None:
    assert device_programs()["runner.py"].count(b"\n") <= 60


def test_a_folder_is_verified_and_damage_is_found(folder: Path) -> None:
    found = verify_folder(folder)
    assert found.ok and found.document["golden_rows"] >= 32
    assert found.document["limits"]["model_bytes"] == 256_000
    assert 0 < found.document["p50_ms"] <= found.document["p99_ms"]
    assert 20_000_000 < found.document["peak_memory_bytes"] < 1 << 30
    assert found.lines()[-1] == "verified"
    graph = folder / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"x")
    damaged = verify_folder(folder)
    assert not damaged.ok
    assert damaged.lines() == [
        "problem      model.onnx differs from its checksum: copy the folder again",
        "NOT verified",
    ]
    (folder / "runner.py").write_text("print(1)")
    with pytest.raises(ModelError, match=r"runner\.py: this is not the program of this version of Forebay"):
        verify_folder(folder)


def test_limits_and_other_outputs_are_reported(model: EdgeModel, tmp_path: Path) -> None:
    files = edge_files(model, Limits(model_bytes=1000, memory_bytes=1_000_000), BINS)
    with np.load(_file(tmp_path, files["golden.npz"])) as golden:
        changed = dict(golden)
    changed["outputs"] = changed["outputs"] + np.float32(0.5)
    np.savez(tmp_path / "changed.npz", **changed)
    del files["SHA256SUMS"]
    files |= {"golden.npz": (tmp_path / "changed.npz").read_bytes()}
    write_folder(tmp_path / "edge", checked_files(files))
    problems = verify_folder(tmp_path / "edge").document["problems"]
    assert problems[0].startswith("outputs differ by up to 0.5 for")
    assert problems[1].startswith("model_bytes is ") and ", above the limit of 1,000 by " in problems[1]
    assert problems[2].startswith("peak_memory_bytes is ")


def _file(folder: Path, data: bytes) -> Path:
    (folder / "golden.npz").write_bytes(data)
    return folder / "golden.npz"


def test_the_same_version_gives_the_same_files_and_nothing_is_overwritten(model: EdgeModel, folder: Path) -> None:
    assert edge_files(model, LIMITS, BINS) == edge_files(model, LIMITS, BINS)
    with pytest.raises(ModelError, match="this exists already"):
        write_folder(folder, {})


def test_a_net_of_torch_is_exported(tmp_path: Path) -> None:
    publish(tmp_path)
    exported = build_edge_model(read_version(tmp_path, "delays"))
    assert len(exported.worker.rows_RF) == 64


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backend": "python"}, "the backend python runs code that comes with the model"),
        ({"signature": Signature((Feature("a", "hashed", buckets=8),), (1,), "binary", 1)}, "'a' is hashed"),
        (
            {"signature": Signature((), (3,), "binary", 1, window=WindowInput(sequence_length=2))},
            "its rows are made from windows of events",
        ),
    ],
)
def test_what_cannot_be_exported_is_refused(stored: StoredVersion, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=f"churn@1 cannot be exported for the edge: .*{message}"):
        check_exportable(replace(stored.manifest, **change))
