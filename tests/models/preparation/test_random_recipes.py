"""Random tables and recipes: the training rows equal what a worker computes. `make test-training` tries many more."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.models.preparation.recipes import OPTIONS, check_recipe, tables


@settings(max_examples=25, deadline=None)
@given(st.lists(tables(), min_size=1, max_size=5), st.integers(0, 2**32))
def test_the_training_rows_equal_what_a_worker_computes(recipe: list[dict[str, Any]], seed: int) -> None:
    check_recipe(recipe, seed)


@pytest.mark.parametrize("step", sorted(OPTIONS))
def test_each_step_is_fitted_to_most_rows(step: str) -> None:
    """A check that refuses every row would compare nothing."""
    table = {"step": step} | {key: values[0] for key, values in OPTIONS[step].items()}
    assert sum(check_recipe([table], seed) for seed in range(4)) >= 2
