"""The benchmark of CUDA devices runs without one as far as it can."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from benchmarks.gpu import main


def test_all_ways_are_measured_on_a_simulated_device(tmp_path: Path) -> None:
    output = tmp_path / "gpu.json"
    arguments = ["--simulate", "--skip-workers", "--seconds", "0.001", "--batch-size", "64", "--output", str(output)]
    done = CliRunner().invoke(main, [*arguments, "--model", "mlp", "--model", "cnn"])
    assert done.exit_code == 0, done.output
    report = json.loads(output.read_text())
    assert report["simulated"] is True
    assert {(rate["model"], rate["way"]) for rate in report["rates"]} == {
        (model, way) for model in ("mlp", "cnn") for way in ("served", "pipelined", "floor", "cpu")
    }
    assert all(rate["rows_per_s"] > 0 for rate in report["rates"])
    assert "pipelined ÷ floor" in done.output and "columns → pinned memory" in done.output


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_device_it_says_so() -> None:
    done = CliRunner().invoke(main, [])
    assert done.exit_code == 2
    assert "There is no CUDA device" in done.output
