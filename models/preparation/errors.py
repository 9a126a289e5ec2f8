"""The errors of preparation recipes."""

from __future__ import annotations

from forebay.schemas.errors import ModelError


def recipe_error(message: str, remedy: str = "correct the recipe") -> ModelError:
    """Return the error for something in a recipe that is not allowed. message: starts with the place in the file."""
    return ModelError(message, kind="recipe", remedy=remedy)


def fit_error(message: str, remedy: str) -> ModelError:
    """Return the error for training rows that a step cannot be fitted to. `Preparation.fit` adds the place in the file."""
    return ModelError(message, kind="fit", remedy=remedy)
