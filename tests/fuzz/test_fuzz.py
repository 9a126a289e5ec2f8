"""A short selection of `make test-fuzz`, and the proof that it notices what it looks for."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.fuzz.case import FuzzError, Watch
from tests.fuzz.run import fuzz
from tests.fuzz.seeds import SEEDS

CASES = 60


@pytest.mark.parametrize("seed", sorted(SEEDS))
def test_mutated_artefacts_are_refused_or_served(seed: str, tmp_path: Path) -> None:
    SEEDS[seed].publish(tmp_path / seed)
    result = fuzz(tmp_path, seed, 0, CASES)
    assert result.problems == []
    assert result.cases == CASES
    assert result.kinds["not finite"] == 0
    if SEEDS[seed].is_refused:
        assert (result.kinds["served"], result.built) == (0, 0)
    else:
        assert result.parsed > 0.8


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
