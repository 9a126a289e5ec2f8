"""Read gradient boosting of scikit-learn: GradientBoosting and HistGradientBoosting, whose trees are added to a first guess.

Shapes: R rows, G values in a row, n nodes of a tree, O outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.manifest import OutputKind
from forebay.models.artefacts.signature import Feature, Task
from forebay.models.backends.trees.rules import EnsembleRules, Link
from forebay.models.registration.candidate import Candidate
from forebay.models.registration.hints import Hints
from forebay.models.registration.sklearn_forests import (
    classifier_task,
    feature_names,
    named,
    native_tree,
    numeric_features,
)
from forebay.models.registration.tree_builder import CategorySet, EnsembleBuilder, NativeTree
from forebay.models.registration.tree_candidate import finite_thresholds, text_labels, tree_candidate
from forebay.schemas.errors import ModelError

GRADIENT_BOOSTING: Final = (GradientBoostingClassifier, GradientBoostingRegressor)
HIST_GRADIENT_BOOSTING: Final = (HistGradientBoostingClassifier, HistGradientBoostingRegressor)
_CLASSIFIERS: Final = (GradientBoostingClassifier, HistGradientBoostingClassifier)
_GUESSES: Final = {"prior", "most_frequent", "constant", "mean", "median", "quantile"}
_LINKS: Final[dict[str, Link]] = {
    "squared_error": "identity",
    "absolute_error": "identity",
    "quantile": "identity",
    "huber": "identity",
    "poisson": "exp",
    "gamma": "exp",
}
_WORD_BITS: Final = 32


def read_gradient_boosting(model: Any, hints: Hints) -> Candidate:
    """Return the candidate of a fitted GradientBoostingClassifier or GradientBoostingRegressor.

    Raises ModelError for what cannot be converted exactly, such as a first guess that depends on the row.
    """
    place = f"model {hints.name!r}"
    # The loss "exponential" has the probability 1 / (1 + exp(-2 z)).
    scale = 2.0 if model.loss == "exponential" else 1.0
    num_outputs = model.estimators_.shape[1]
    base_O = _first_guess(model, place) * scale
    builder = EnsembleBuilder(
        EnsembleRules(num_features=model.n_features_in_, num_outputs=num_outputs, missing="refused")
    )
    for stage in model.estimators_:
        for output, tree in enumerate(stage):
            values_n = tree.tree_.value[:, 0, 0] * model.learning_rate * scale
            builder.add(native_tree(tree.tree_, values_n), output)
    return _candidate(
        model, hints, builder, base_O=base_O, scale=scale, features=numeric_features(model, nullable=False)
    )


def read_hist_gradient_boosting(model: Any, hints: Hints) -> Candidate:
    """Return the candidate of a fitted HistGradientBoostingClassifier or HistGradientBoostingRegressor.

    Raises ModelError for what cannot be converted exactly, such as a loss of your own.
    """
    place = f"model {hints.name!r}"
    link: Link = "identity"
    if not isinstance(model, _CLASSIFIERS):
        if not isinstance(model.loss, str) or model.loss not in _LINKS:
            raise ModelError(
                f"{place}: the loss {model.loss!r} is not known; allowed are {', '.join(sorted(_LINKS))}",
                kind="conversion",
                remedy="train with one of these losses",
            )
        link = _LINKS[model.loss]
    categories = _categories(model, place)
    # The model's own encoder moves columns with categories before the others.
    order = np.arange(model.n_features_in_)
    if model.is_categorical_ is not None:
        is_category = np.asarray(model.is_categorical_)
        order = np.concatenate((np.flatnonzero(is_category), np.flatnonzero(~is_category)))
    builder = EnsembleBuilder(
        EnsembleRules(num_features=model.n_features_in_, num_outputs=model.n_trees_per_iteration_, link=link)
    )
    for stage in model._predictors:
        for output, predictor in enumerate(stage):
            builder.add(_hist_tree(predictor, order, categories), output)
    features = [
        Feature(name, "category", categories[column], nullable=True)
        if column in categories
        else Feature(name, nullable=True)
        for column, name in enumerate(feature_names(model))
    ]
    base_O = np.asarray(model._baseline_prediction, dtype=np.float64).reshape(-1)
    return _candidate(model, hints, builder, base_O=base_O, scale=1.0, features=features)


def _candidate(
    model: Any,
    hints: Hints,
    builder: EnsembleBuilder,
    *,
    base_O: npt.NDArray[np.float64],
    scale: float,
    features: Sequence[Feature],
) -> Candidate:
    place = f"model {hints.name!r}"
    is_classifier = isinstance(model, _CLASSIFIERS)
    task: Task = classifier_task(len(model.classes_), place)[0] if is_classifier else "regression"
    outputs: OutputKind = "logits" if is_classifier else "values"

    def native(x_RG: FloatArray) -> npt.NDArray[np.floating]:
        rows = _original_rows(model, x_RG)
        return np.asarray(model.decision_function(rows) * scale if is_classifier else model.predict(rows))

    return tree_candidate(
        builder.build(place, base_O),
        hints,
        native,
        task=task,
        outputs=outputs,
        features=features,
        labels=text_labels(model.classes_, f"{place}: a class") if is_classifier else (),
    )


def _first_guess(model: Any, place: str) -> npt.NDArray[np.float64]:
    """Return the constant that the trees are added to, for each output."""
    first = model.init_
    is_constant = isinstance(first, str) or (
        isinstance(first, DummyClassifier | DummyRegressor) and first.strategy in _GUESSES
    )
    if not is_constant:
        raise ModelError(
            f"{place}: its first guess is a {type(first).__name__}, whose answer may depend on the row",
            kind="conversion",
            remedy='train with init=None or init="zero"',
        )
    x_1G = np.zeros((1, model.n_features_in_), dtype=np.float32)
    guess: npt.NDArray[np.float64] = np.asarray(model._raw_predict_init(x_1G), dtype=np.float64).reshape(-1)
    return guess


def _hist_tree(predictor: Any, order: npt.NDArray[np.intp], categories: dict[int, tuple[str, ...]]) -> NativeTree:
    nodes = predictor.nodes
    is_leaf_n = nodes["is_leaf"].astype(np.bool_)
    column_n = order[np.where(is_leaf_n, 0, nodes["feature_idx"])]
    sets = {}
    for node in np.flatnonzero(nodes["is_categorical"].astype(np.bool_) & ~is_leaf_n).tolist():
        words = predictor.raw_left_cat_bitsets[int(nodes["bitset_idx"][node])]
        size = len(categories[int(column_n[node])])
        left = np.array([bool(words[code // _WORD_BITS] >> (code % _WORD_BITS) & 1) for code in range(size)])
        # A category that was not seen in training is taken as missing.
        sets[node] = CategorySet(left, unknown_left=bool(nodes["missing_go_to_left"][node]))
    return NativeTree(
        feature=column_n,
        threshold=finite_thresholds(np.where(is_leaf_n, 0.0, nodes["num_threshold"])),
        left=np.where(is_leaf_n, -1, nodes["left"].astype(np.int64)),
        right=np.where(is_leaf_n, -1, nodes["right"].astype(np.int64)),
        default_left=nodes["missing_go_to_left"],
        values=nodes["value"],
        categories=sets,
    )


def _encoder_categories(model: Any) -> dict[int, npt.NDArray[np.generic]]:
    """Return the values of the columns with categories in the order of their codes; a missing value is not one."""
    if model.is_categorical_ is None:
        return {}
    found = model._preprocessor.named_transformers_["encoder"].categories_
    return {
        int(column): np.array([value for value in values if value is not None and value == value], dtype=values.dtype)
        for column, values in zip(np.flatnonzero(model.is_categorical_), found, strict=True)
    }


def _categories(model: Any, place: str) -> dict[int, tuple[str, ...]]:
    names = feature_names(model)
    return {
        column: text_labels(values, f"{place}: a category of {names[column]}")
        for column, values in _encoder_categories(model).items()
    }


def _original_rows(model: Any, x_RG: FloatArray) -> Any:
    """Return the rows with categories instead of their codes, as the model takes them."""
    if getattr(model, "is_categorical_", None) is None:
        return named(model, x_RG)
    import pandas as pd

    columns: dict[Any, Any] = {
        name: x_RG[:, column]
        for column, name in enumerate(getattr(model, "feature_names_in_", range(model.n_features_in_)))
    }
    names = list(columns)
    for column, values in _encoder_categories(model).items():
        code_R = x_RG[:, column]
        is_missing_R = np.isnan(code_R)
        value_R = values[np.where(is_missing_R, 0, code_R).astype(np.intp)].astype(object)
        value_R[is_missing_R] = np.nan
        columns[names[column]] = pd.Categorical(value_R, categories=values)
    frame = pd.DataFrame(columns)
    return frame if hasattr(model, "feature_names_in_") else frame.to_numpy()
