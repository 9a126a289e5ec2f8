"""The options of `forebay train` that start several processes. No process is started here."""

from __future__ import annotations

from pathlib import Path

import pytest

from forebay.stream.cli.group import run_command
from forebay.stream.cli.train_ranks import is_rank

RECIPE = '[data]\npath = "rows.csv"\nlabel = "y"\n[register]\nname = "m"\n'


def failing(tmp_path: Path, capsys: pytest.CaptureFixture[str], recipe: str, *options: str) -> str:
    file = tmp_path / "recipe.toml"
    file.write_text(recipe)
    assert run_command(["train", str(file), *options]) == 2
    return " ".join(capsys.readouterr().err.split())


def test_restarts_need_processes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--max-restarts needs --nproc" in failing(tmp_path, capsys, RECIPE, "--max-restarts", "1")


def test_ranges_are_searched_in_one_process(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "omit --nproc" in failing(tmp_path, capsys, RECIPE, "--nproc", "2", "--tune", "3")


def test_trees_are_trained_in_one_process(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = RECIPE + '[model]\narchitecture = "xgboost"\n'
    assert "'xgboost', which is trained in one process" in failing(tmp_path, capsys, recipe, "--nproc", "2")


def test_a_pipe_is_read_by_one_process(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = RECIPE.replace("rows.csv", "-")
    assert "each of the processes of --nproc reads the data itself" in failing(tmp_path, capsys, recipe, "--nproc", "2")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('strategy = "gossip"', "distributed.strategy is 'gossip'"),
        ('compresion = "fp16"', "did you mean compression"),
        ("density = 0.0", "distributed.density is 0.0; allowed is above 0"),
        ('lost_rank = "continue"', "needs the strategy 'parameter_server'"),
    ],
)
def test_mistakes_in_the_section_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, problem: str
) -> None:
    assert problem in failing(tmp_path, capsys, f"{RECIPE}[distributed]\n{line}\n", "--nproc", "2")


def test_a_rank_is_recognised_by_its_environment() -> None:
    assert is_rank({"RANK": "0", "WORLD_SIZE": "2"})
    assert not is_rank({"PATH": "/bin"})
