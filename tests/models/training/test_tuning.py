from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from forebay.models.training.prepared_data import prepare_data
from forebay.models.training.recipe import Recipe, parse_recipe
from forebay.models.training.run import search
from forebay.models.training.tuning import Trial, best_trial, draw_values
from forebay.schemas.errors import ConfigError
from tests.models.training.tables import MemoryTable, recipe_with, weather


def recipe_to_search(folder: Path) -> Recipe:
    text = recipe_with(folder, training={"epochs": 2}).to_toml()
    return parse_recipe(
        text
        + """
        [tune]
        "training.learning_rate" = { from = 0.0001, to = 1.0, scale = "log" }
        "training.batch_size" = { from = 16, to = 20 }
        "model.hidden_dims" = { choices = [[4], [8, 4]] }
        """
    )


def test_values_are_drawn_from_the_ranges_by_the_seed(tmp_path: Path) -> None:
    recipe = recipe_to_search(tmp_path)
    drawn = draw_values(recipe, 200)
    rates: list[Any] = [values["training.learning_rate"] for values in drawn]
    assert all(1e-4 <= rate <= 1 for rate in rates)
    assert 0.3 < sum(math.log10(rate) < -2 for rate in rates) / 200 < 0.7  # as many below 0.01 as above
    assert {values["training.batch_size"] for values in drawn} == {16, 17, 18, 19, 20}
    assert {values["model.hidden_dims"] for values in drawn} == {(4,), (8, 4)}
    assert draw_values(recipe, 3) == drawn[:3]
    assert draw_values(recipe.with_values({"training.seed": 1}), 3) != drawn[:3]


def test_values_that_are_not_allowed_are_refused_before_the_search(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to search"):
        draw_values(recipe_with(tmp_path), 1)
    text = recipe_with(tmp_path).to_toml() + '[tune]\n"model.dropout_rate" = { from = 1, to = 2 }\n'
    with pytest.raises(ConfigError) as caught:
        draw_values(parse_recipe(text), 1)
    assert "model.dropout_rate" in caught.value.problems[0]


def test_the_best_values_are_kept_and_failures_are_noted(tmp_path: Path) -> None:
    text = recipe_with(tmp_path, training={"epochs": 2, "optimizer": "sgd"}, data={"task": "binary"}).to_toml()
    recipe = parse_recipe(text + '[tune]\n"training.learning_rate" = { choices = [0.000001, 0.5, 1e38] }\n')
    data = prepare_data(recipe, MemoryTable(weather(300)), tmp_path)
    seen: list[int] = []
    best, trials = search(recipe, data, 12, on_trial=lambda trial, number, of: seen.append(number))
    assert seen == [number for number in range(1, 13) for _ in range(2)]
    assert best.training.learning_rate == 0.5
    failed = [trial for trial in trials if trial.validation_loss is None]
    assert failed and all("diverged" in trial.problem for trial in failed)


def test_a_search_in_which_all_trials_fail_says_why() -> None:
    with pytest.raises(ConfigError, match="all 2 trials failed; the last: diverged"):
        best_trial([Trial(1, {}, None, problem="x"), Trial(2, {}, None, problem="diverged")])
