"""A short selection of `make test-artefacts`, and the proof that it notices what it looks for."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.fuzz import run
from tests.fuzz.case import FuzzError, Watch
from tests.fuzz.onnx_graphs import allowed_operators, operator_graphs, own_cases
from tests.fuzz.run import Result, check, fuzz
from tests.fuzz.seeds import SEEDS, publish_graphs

CASES = 60


@pytest.mark.parametrize("seed", sorted(SEEDS))
def test_mutated_artefacts_are_refused_or_served(seed: str, tmp_path: Path) -> None:
    if seed == "onnx-operators":  # graphs for all operators take too long
        publish_graphs(tmp_path / seed, operator_graphs(allowed_operators(), own_cases()).values())
    else:
        SEEDS[seed].publish(tmp_path / seed)
    result = fuzz(tmp_path, seed, 0, CASES)
    assert result.faults == []
    assert result.cases == CASES
    assert check(SEEDS[seed], seed, result) == []
    assert SEEDS[seed].traits.is_refused or result.reached > 0.8 * CASES


def test_a_crash_is_a_fault_and_the_next_case_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = (
        "import os, sys\nn = int(sys.argv[-2])\n"
        "print('done', n, 1, 'golden')\nprint('begin', n + 1, flush=True)\nos.abort()"
    )
    monkeypatch.setattr(run, "child_command", lambda _: [sys.executable, "-c", child])
    result = fuzz(tmp_path, "trees", 0, 4)
    assert dict(result.kinds) == {("golden", True): 2}
    assert [fault.split(": the process")[0] for fault in result.faults] == ["trees: case 1", "trees: case 3"]
    assert result.cases == 4


def test_predictions_that_are_not_finite_and_too_few_that_reach_the_parser_are_problems() -> None:
    result = Result(Counter({("not finite", True): 1, ("manifest", False): 200, ("onnx", True): 800}))
    assert len(check(SEEDS["onnx"], "onnx", result)) == 2
    trusted = Result(Counter({("untrusted", False): 200, ("python", True): 1}))
    assert len(check(SEEDS["python, not trusted"], "python", trusted)) == 1


def test_files_outside_the_folder_and_processes_are_noticed(tmp_path: Path) -> None:
    watch = Watch()
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    (inside / "a").write_text("")
    with watch.on(inside):
        (inside / "a").read_text()
    with pytest.raises(FuzzError, match="open"), watch.on(inside):
        outside.write_text("")
    with pytest.raises(FuzzError, match="open"), watch.on(inside):
        (inside / "a").write_text("")
    with pytest.raises(FuzzError, match="subprocess"), watch.on(inside):
        subprocess.run(["true"], check=True)
