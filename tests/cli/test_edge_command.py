"""`forebay edge` on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from forebay.models.backends.trees.rules import EnsembleRules
from forebay.models.registration.publish import publish_candidate
from forebay.stream.cli import main
from forebay.stream.cli.edge_options import NumBytes
from tests.models.backends.trees.test_backend import PROVENANCE, candidate


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, status: int = 0) -> Any:
        """Run `forebay edge`; return its output, decoded if --json is given, or its errors if it shall fail."""
        assert main(["edge", *arguments]) == status
        done = capsys.readouterr()
        return json.loads(done.out) if "--json" in arguments else done.out or done.err

    return run


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    rules = EnsembleRules(3, 1)
    publish_candidate(
        candidate(rules, "regression"), repository=tmp_path / "models", name="trees", provenance=PROVENANCE
    )
    return tmp_path / "models"


def test_a_version_is_exported_and_verified(run: Any, repository: Path, tmp_path: Path) -> None:
    limits = ("--max-size", "1MB", "--max-memory", "1GiB", "--max-latency-ms", "10000")
    lines = run("export", "trees@1", "--to", "device", *limits).splitlines()
    assert lines[0].startswith("device: trees@1, ") and "agrees with the worker's model on 64 rows" in lines[0]
    assert lines[1] == "next, on the device: pip install numpy onnxruntime && python device/verify.py"
    about = json.loads((tmp_path / "device" / "model.json").read_text())
    assert about["limits"] == {
        "model_bytes": 1_000_000,
        "peak_memory_bytes": 1 << 30,
        "p99_ms": 10_000,
        "power_watts": None,
    }
    assert run("verify", "device").splitlines()[-1] == "verified"
    (tmp_path / "device" / "model.json").write_text("{}")
    assert run("verify", "device", "--json", status=1) == {
        "ok": False,
        "problems": ["model.json differs from its checksum: copy the folder again"],
    }
    assert "there is no SHA256SUMS" in run("verify", "models", status=1)


def test_one_onnx_file_is_exported(run: Any, repository: Path) -> None:
    found = run("export", "trees", "--to", "trees.onnx", "--json")
    assert (found["version"], found["files"], found["compared_rows"]) == (1, ["trees.onnx"], 64)
    session = onnxruntime.InferenceSession("trees.onnx", providers=["CPUExecutionProvider"])
    assert [value.name for value in (*session.get_inputs(), *session.get_outputs())] == ["rows", "outputs", "scores"]
    assert "this exists already" in run("export", "trees", "--to", "trees.onnx", status=1)


@pytest.mark.parametrize(
    ("text", "size"), [("1000", 1000), ("5 B", 5), ("256KB", 256_000), ("1.5MiB", 1_572_864), ("2gb", 2 * 10**9)]
)
def test_sizes(text: str, size: int) -> None:
    assert NumBytes().convert(text, None, None) == size


def test_a_wrong_size_is_refused(run: Any) -> None:
    assert "'96 apples' is not a size" in run("export", "a", "--to", "b", "--max-memory", "96 apples", status=2)


COSTS = """
[unit_costs]
call_us = 20.0
node_us = 1.5
dense_ns = 0.1
convolution_ns = 0.2
recurrent_ns = 0.3
dense_int8_ns = 0.05
convolution_int8_ns = 0.4
element_ns = 0.5
tree_visit_ns = 4.0
p99_ratio = 1.5
process_bytes = 60e6
bytes_per_weight_byte = 2.0
bytes_per_tree_node = 40.0
"""


def test_this_machine_is_shown_and_written(run: Any, tmp_path: Path) -> None:
    found = run("inspect", "--write", "device.toml", "--json")
    assert found["processor"]["cores"] >= 1
    lines = run("inspect", "--device", "device.toml").splitlines()
    assert [line.split("  ")[0] for line in lines][:4] == ["device", "processor", "cores", "instruction sets"]
    assert run("inspect", "--device", "device.toml", "--json") == found
    assert "cannot be read" in run("inspect", "--device", "missing.toml", status=2)
    assert "without --device" in run("inspect", "--device", "device.toml", "--measure", status=2)


def test_measured_costs_are_shown_and_used(run: Any, repository: Path, tmp_path: Path) -> None:
    (tmp_path / "device.toml").write_text("[limits]\np99_ms = 5.0\n[power]\nactive_watts = 2.0\n" + COSTS)
    assert "dense 0.1 ns, int8 0.05 ns" in run("inspect", "--device", "device.toml")
    found = run("plan", "trees", "--device", "device.toml", "--json")
    assert (found["best"], found["limits"]["p99_ms"]) == ("trees@1", 5.0)
    (version,) = found["versions"]
    assert version["fits"] and version["memory_bytes"] > 60e6 and 0.02 < version["p50_ms"] < 1
    assert found["notes"][0] == "costs: measured there"
    lines = run("plan", "trees@1", "--device", "device.toml").splitlines()
    assert lines[0].split() == ["version", "from", "size", "memory", "p50", "p99", "power", "verdict"]
    assert lines[2].startswith("trees@1") and lines[2].rstrip().endswith("fits")
    assert lines[-1] == "next: forebay edge export trees@1 --to ./trees-edge"


def test_what_does_not_fit_is_named_by_how_much(run: Any, repository: Path, tmp_path: Path) -> None:
    (tmp_path / "device.toml").write_text(COSTS)
    limits = ("--max-size", "1KB", "--max-memory", "50MB", "--max-power-w", "0.0001", "--rate", "100")
    out = run("plan", "trees", "--device", "device.toml", *limits, status=1)
    assert "above: size, memory, power" in out
    assert "trees@1: memory 60." in out and "times the limit of 50.0 MB" in out
    assert "5 W of a busy core, an estimate: state power.active_watts of the device" in out
    assert out.splitlines()[-1] == "no version fits; `forebay models compress` makes smaller ones"
    assert "there is no model 'tree'" in run("plan", "tree", "--device", "device.toml", status=1)
