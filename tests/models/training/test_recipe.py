from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.models.training.example_recipe import EXAMPLE
from forebay.models.training.recipe import Recipe, parse_recipe, read_recipe
from forebay.schemas.errors import ConfigError

MINIMAL = '[data]\npath = "a.csv"\nlabel = "y"\n[register]\nname = "m"\n'
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
NUMBERS = st.floats(min_value=1e-9, max_value=1e9)


def problems_of(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        parse_recipe(text)
    assert caught.value.remedy
    return caught.value.problems


def test_the_example_is_a_recipe() -> None:
    recipe = parse_recipe(EXAMPLE)
    assert recipe.model.hidden_dims == (64, 32)
    assert recipe.tune["model.hidden_dims"].choices == ((32,), (64, 32), (128, 64))
    assert parse_recipe(recipe.to_toml()) == recipe


@settings(max_examples=60, deadline=None)
@given(
    data=st.fixed_dictionaries(
        {"path": TEXTS, "label": TEXTS},
        optional={"exclude": st.lists(TEXTS, max_size=3), "max_categories": st.integers(1, 100_000)},
    ),
    prepare=st.lists(
        st.one_of(
            st.fixed_dictionaries(
                {"step": st.just("impute"), "strategy": st.just("constant"), "value": NUMBERS},
                optional={"columns": st.lists(TEXTS, min_size=1, unique=True)},
            ),
            st.fixed_dictionaries({"step": st.just("rename"), "names": st.dictionaries(TEXTS, TEXTS, min_size=1)}),
        ),
        max_size=3,
    ),
    training=st.fixed_dictionaries(
        {},
        optional={
            "learning_rate": NUMBERS,
            "class_weights": st.one_of(st.just("balanced"), st.lists(NUMBERS, max_size=3)),
            "epochs": st.integers(1, 10**6),
        },
    ),
    tune=st.dictionaries(
        st.sampled_from(["training.learning_rate", "model.hidden_dims"]),
        st.one_of(
            st.just({"from": 1, "to": 2.5, "scale": "log"}),
            st.lists(st.lists(st.integers(1, 9)), min_size=1, max_size=3).map(lambda items: {"choices": items}),
        ),
    ),
)
def test_a_recipe_that_is_saved_and_loaded_again_is_unchanged(
    data: dict[str, Any], prepare: list[Any], training: dict[str, Any], tune: dict[str, Any]
) -> None:
    document = {"data": data, "prepare": prepare, "training": training, "register": {"name": "m"}, "tune": tune}
    recipe = parse_recipe(MINIMAL).with_values(
        {
            f"{section}.{key}": value
            for section in ("data", "training", "tune")
            for key, value in document[section].items()
        }  # type: ignore[attr-defined]
    )
    recipe = recipe.model_copy(update={"prepare": tuple(prepare)})
    loaded = parse_recipe(recipe.to_toml())
    assert loaded == recipe
    assert loaded.to_toml() == recipe.to_toml()
    assert loaded.prepare == tuple(prepare)


def test_all_mistakes_are_reported_at_once_with_places_and_what_is_allowed() -> None:
    found = problems_of(
        """
        [data]
        path = "a.csv"
        lable = "y"
        [split]
        by = "weekday"
        [model]
        hidden_dims = [0, "x"]
        [training]
        learning_rate = -0.1
        optimzer = "adam"
        epochs = 3.5
        class_weights = "some"
        [[prepare]]
        step = "impute"
        strategy = "median"
        [[prepare]]
        step = "impute"
        strategy = "middle"
        [registr]
        name = "m"
        """
    )
    assert found == (
        "recipe.toml: data.label is missing",
        "recipe.toml: data.lable is not a known key; did you mean label?",
        "recipe.toml: split.by is 'weekday'; allowed is 'random', 'time' or 'key'",
        "recipe.toml: model.hidden_dims[0] is 0; allowed is from 1",
        "recipe.toml: model.hidden_dims[1] is 'x'; allowed is a whole number",
        "recipe.toml: training.class_weights is 'some'; allowed is 'none' or 'balanced', or a list",
        "recipe.toml: training.learning_rate is -0.1; allowed is above 0",
        "recipe.toml: training.epochs is 3.5; allowed is a whole number",
        "recipe.toml: training.optimzer is not a known key; did you mean optimizer?",
        "recipe.toml: register is missing",
        "recipe.toml: registr is not a known key; did you mean register?",
        "recipe.toml: prepare[1].strategy is 'middle'; allowed is one of mean, median, mode, constant, "
        "forward, backward, interpolate",
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (MINIMAL.replace('path = "a.csv"\n', ""), "data: give one of path and topic"),
        (MINIMAL + '[split]\nby = "time"\n', "data.time is missing"),
        (MINIMAL + '[split]\nby = "key"\n', "data.key is missing"),
        (MINIMAL + "[split]\nvalidation = 0.5\ntest = 0.5\n", "split: validation and test take 1 of the rows"),
        (MINIMAL + '[model]\narchitecture = "cnn"\n', "model: cnn needs image_size"),
        (MINIMAL + "[training]\nmomentum = 0.9\n", "only sgd takes it"),
        (MINIMAL + '[tune]\n"data.path" = { choices = ["b.csv"] }\n', "tune.data.path cannot be searched"),
        (MINIMAL + '[tune]\n"training.epochs" = { from = 5, to = 2 }\n', "`from` must be smaller"),
        (MINIMAL + '[tune]\n"training.epochs" = { from = 5 }\n', "give both `from` and `to`"),
        (MINIMAL + '[tune]\n"training.learning_rate" = { from = 0, to = 1, scale = "log" }\n', "a log scale needs"),
    ],
)
def test_values_that_do_not_fit_together_are_refused(text: str, problem: str) -> None:
    (found,) = problems_of(text)
    assert problem in found


def test_what_is_not_toml_or_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="this is not TOML"):
        parse_recipe("[data")
    with pytest.raises(ConfigError, match="No such file") as caught:
        read_recipe(tmp_path / "none.toml")
    assert "--init" in str(caught.value.remedy)


def test_values_of_the_command_line_are_checked_like_those_of_the_file() -> None:
    recipe: Recipe = parse_recipe(MINIMAL)
    assert recipe.with_values({"training.epochs": 3}).training.epochs == 3
    with pytest.raises(ConfigError) as caught:
        recipe.with_values({"training.epochs": 0})
    assert "training.epochs is 0; allowed is from 1" in caught.value.problems[0]
