"""Search the ranges of a recipe at random, from a seed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

import numpy as np

from forebay.models.training.recipe import Recipe
from forebay.models.training.recipe_sections import ModelSection, Range, TrainingSection
from forebay.schemas.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Trial:
    """One try: its values, and the smallest validation loss; None with the reason if it failed."""

    number: int
    values: Mapping[str, object]
    validation_loss: float | None
    best: int = 0
    problem: str = ""


def draw_values(recipe: Recipe, trials: int) -> list[dict[str, object]]:
    """Return the values of each trial by `section.key`. The first trial of a longer search has the same values.

    Raises ConfigError if the recipe has no ranges, or a range holds values that are not allowed.
    """
    if not recipe.tune:
        raise ConfigError(
            "the recipe has no section [tune], so that there is nothing to search",
            remedy='add one, such as: [tune] "training.learning_rate" = { from = 0.0001, to = 0.1, scale = "log" }',
        )
    drawn = []
    for number in range(trials):
        random = np.random.default_rng((recipe.training.seed, 4, number))
        values = {name: _draw(name, recipe.tune[name], random) for name in sorted(recipe.tune)}
        recipe.with_values(values)  # reports values that are not allowed before any time is spent
        drawn.append(values)
    return drawn


def best_trial(trials: list[Trial]) -> Trial:
    """Return the trial with the smallest loss; of equal ones the first. Raises ConfigError if all failed."""
    finished = [trial for trial in trials if trial.validation_loss is not None]
    if not finished:
        raise ConfigError(
            f"all {len(trials)} trials failed; the last: {trials[-1].problem}", remedy="narrow the ranges in [tune]"
        )
    return min(finished, key=lambda trial: trial.validation_loss or 0.0)


def _draw(name: str, stated: Range, random: np.random.Generator) -> object:
    if stated.choices:
        return stated.choices[int(random.integers(len(stated.choices)))]
    assert stated.low is not None and stated.high is not None
    if stated.scale == "log":
        value = math.exp(random.uniform(math.log(stated.low), math.log(stated.high)))
    else:
        value = float(random.uniform(stated.low, stated.high))
    if not _is_whole(name):
        return float(f"{value:.6g}")
    low, high = math.ceil(stated.low), math.floor(stated.high)
    return int(random.integers(low, high + 1)) if stated.scale == "linear" else min(max(round(value), low), high)


def _is_whole(name: str) -> bool:
    section, _, key = name.partition(".")
    fields = ModelSection.model_fields if section == "model" else TrainingSection.model_fields
    field = fields[key]
    return field.annotation is int or int in get_args(field.annotation)
