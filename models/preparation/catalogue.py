"""The steps that a recipe can hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from forebay.models.preparation.impute import ImputeStep
from forebay.models.preparation.recipe_step import RecipeStep
from forebay.models.preparation.recipe_table import RecipeTable
from forebay.models.preparation.standardise import StandardiseStep

STEPS: Final[Mapping[str, Callable[[RecipeTable], RecipeStep]]] = MappingProxyType(
    {
        ImputeStep.kind: ImputeStep.read,
        StandardiseStep.kind: StandardiseStep.read,
    }
)
"""The readers of steps, by the value of `step` in their table."""
