"""Read tree models of scikit-learn: find the reader for the type of a fitted object."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from forebay.models.registration.candidate import Candidate
from forebay.models.registration.hints import Hints, Reader
from forebay.models.registration.sklearn_boosting import (
    GRADIENT_BOOSTING,
    HIST_GRADIENT_BOOSTING,
    read_gradient_boosting,
    read_hist_gradient_boosting,
)
from forebay.models.registration.sklearn_forests import FORESTS, TREES, read_forest, read_isolation_forest
from forebay.schemas.errors import ModelError

READERS: Final[Mapping[type[Any], Reader]] = MappingProxyType(
    {
        **dict.fromkeys((*TREES, *FORESTS), read_forest),
        **dict.fromkeys(GRADIENT_BOOSTING, read_gradient_boosting),
        **dict.fromkeys(HIST_GRADIENT_BOOSTING, read_hist_gradient_boosting),
        IsolationForest: read_isolation_forest,
    }
)
"""The readers by exact type: a subclass may predict otherwise."""


def read_sklearn_trees(model: object, hints: Hints) -> Candidate:
    """Return the candidate of a fitted decision tree, forest, isolation forest or gradient boosting of scikit-learn.

    Raises ModelError for another type, for an object that is not fitted, and for what cannot be converted exactly.
    """
    reader = READERS.get(type(model))
    if reader is None:
        raise ModelError(
            f"model {hints.name!r}: this is a {type(model).__name__}; the tree models of scikit-learn that can be converted "
            f"are {', '.join(sorted(cls.__name__ for cls in READERS))}",
            kind="conversion",
            remedy="register another model, or this one with the backend python",
        )
    try:
        check_is_fitted(model)
    except NotFittedError:
        raise ModelError(
            f"model {hints.name!r}: this {type(model).__name__} is not fitted",
            kind="conversion",
            remedy="call fit first",
        ) from None
    return reader(model, hints)
