"""`forebay models compress`: options and recipe, the table, the exit status."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from forebay.models.compression.recipe import compression_recipe
from forebay.schemas.errors import ConfigError
from forebay.stream.cli.models_compress import command
from tests.models.compression.small_models import (
    NAME,
    WIDTH,
    graph_subject,
    published,
    spots,
    spots_data,
    spots_layers,
    spots_signature,
)

FAST = ("--batch-sizes", "1,64", "--rounds", "2", "--no-memory")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with rows, and a repository with a model of them."""
    folder = tmp_path_factory.mktemp("compress")
    part = spots(700, 9)
    with (folder / "spots.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*(f"f{index}" for index in range(WIDTH)), "spot"])
        writer.writerows([*row, "abc"[int(label)]] for row, label in zip(part.x_NW.tolist(), part.y, strict=True))
    published(graph_subject(spots_layers(256), spots_signature()), folder / "models", spots_data())
    return folder


def arguments(folder: Path, *more: str) -> list[str]:
    return [
        f"{NAME}@1",
        "--repository",
        str(folder / "models"),
        "--data",
        str(folder / "spots.csv"),
        "--label",
        "spot",
        *FAST,
        *more,
    ]


def test_a_smaller_version_is_registered_and_shown(folder: Path) -> None:
    done = CliRunner().invoke(command, arguments(folder, "--quantize", "int8"), standalone_mode=False)
    assert done.exception is None, done.output
    assert "int8" in done.output and "smaller" in done.output and "parent 1" in done.output
    assert "held-out rows" in done.output and ("estimate" in done.output or "RAPL" in done.output)
    assert (folder / "models" / NAME / "2").is_dir()


def test_a_missed_limit_is_named_and_nothing_is_registered(folder: Path) -> None:
    before = sorted((folder / "models" / NAME).iterdir())
    options = ("--quantize", "int8", "--max-size", "1KB", "--json")
    done = CliRunner().invoke(command, arguments(folder, *options), standalone_mode=False)
    document = json.loads(done.output)
    assert done.return_value == 1 and document["registered"] is None and document["best"] is None
    assert document["binding"]["option"] == "--max-size" and document["binding"]["excess"] > 0
    assert [timing["batch_size"] for timing in document["outcomes"][0]["measured"]["timings"]] == [1, 64]
    assert sorted((folder / "models" / NAME).iterdir()) == before


def test_a_recipe_has_the_keys_of_the_specification() -> None:
    document = {
        "data": {"path": "rows.csv", "label": "spot"},
        "compression": {
            "enable_pruning": True,
            "pruning_ratio": 0.3,
            "enable_quantization": True,
            "quantization_bits": 8,
            "enable_distillation": True,
            "student_hidden_dims": [16, 8],
        },
        "goals": {"max_size": "200KB", "max_memory": "1.5MiB", "min_speed_up": 1.5},
    }
    recipe = compression_recipe(document, "small.toml")
    wishes, limits = recipe.compression.wishes(), recipe.limits()
    assert (wishes.prune, wishes.quantise, wishes.zero) == (0.3, "int8", None)
    assert wishes.distil is not None and wishes.distil.widths == (16, 8)
    assert (limits.max_size, limits.max_memory, limits.min_speed_up) == (200_000, 1_572_864, 1.5)
    assert (limits.max_loss, limits.batch_size) == (0.005, 512)


def test_all_mistakes_of_a_recipe_are_named_with_their_place() -> None:
    document = {
        "data": {"path": "rows.csv"},
        "compression": {"pruning_ratio": 2, "quantization_bits": 16, "prune": True},
        "goals": {"max_size": "big"},
    }
    with pytest.raises(ConfigError) as caught:
        compression_recipe(document, "small.toml")
    text = "\n".join(caught.value.problems)
    for place in (
        "data.label",
        "pruning_ratio",
        "quantization_bits",
        "compression.prune is not",
        "'big' is not a size",
    ):
        assert place in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--prune", "1.5"], "above 0 and below 1"),
        (["--distill", "--student", "8,x"], "whole numbers"),
        (["--quantize", "int2"], "int8"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_read(options: list[str], message: str) -> None:
    done = CliRunner().invoke(command, ["nothing", "--data", "none.csv", "--label", "y", *options])
    assert done.exit_code == 2 and message in done.output


def test_without_rows_the_ways_to_give_them_are_named() -> None:
    done = CliRunner().invoke(command, ["nothing", "--prune", "0.5"])
    assert done.exit_code == 2 and "--training-recipe" in done.output
