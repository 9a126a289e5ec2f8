"""Read decision trees, forests and isolation forests of scikit-learn, whose trees are averaged.

Shapes: R rows, G values in a row, n nodes of a tree, O outputs.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier, ExtraTreeRegressor

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.manifest import OutputKind
from forebay.models.artefacts.signature import Feature, Task
from forebay.models.backends.trees.rules import EnsembleRules
from forebay.models.registration.candidate import Candidate
from forebay.models.registration.hints import Hints
from forebay.models.registration.tree_builder import EnsembleBuilder, NativeTree
from forebay.models.registration.tree_candidate import finite_thresholds, text_labels, tree_candidate
from forebay.schemas.errors import ModelError

TREES: Final = (DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier, ExtraTreeRegressor)
FORESTS: Final = (RandomForestClassifier, RandomForestRegressor, ExtraTreesClassifier, ExtraTreesRegressor)
_CLASSIFIERS: Final = (DecisionTreeClassifier, ExtraTreeClassifier, RandomForestClassifier, ExtraTreesClassifier)


def read_forest(model: Any, hints: Hints) -> Candidate:
    """Return the candidate of a fitted decision tree or forest: class probabilities, or one value for each target.

    Raises ModelError for what cannot be converted.
    """
    place = f"model {hints.name!r}"
    is_classifier = isinstance(model, _CLASSIFIERS)
    if is_classifier and model.n_outputs_ > 1:
        raise ModelError(
            f"{place}: it classifies {model.n_outputs_} targets at once; allowed is one",
            kind="conversion",
            remedy="train a classifier for each target, and register each as a model",
        )
    task, num_outputs = _task(model, place) if is_classifier else ("regression", int(model.n_outputs_))
    trees = [model] if isinstance(model, TREES) else model.estimators_
    takes_missing = _takes_missing(model, trees[0])
    builder = EnsembleBuilder(
        EnsembleRules(
            num_features=model.n_features_in_,
            num_outputs=num_outputs,
            aggregate="average",
            missing="default" if takes_missing else "refused",
        )
    )
    for tree in trees:
        value_nOC = tree.tree_.value
        values_nO = value_nOC[:, :, 0]
        if is_classifier:
            # Frequencies, not counts, since scikit-learn 1.3.
            values_nO = value_nOC[:, 0, 1:] if task == "binary" else value_nOC[:, 0, :]
        builder.add(native_tree(tree.tree_, values_nO))

    def native(x_RG: FloatArray) -> npt.NDArray[np.floating]:
        if not is_classifier:
            return np.asarray(model.predict(named(model, x_RG)))
        p_RC = np.asarray(model.predict_proba(named(model, x_RG)))
        return p_RC[:, 1] if task == "binary" else p_RC

    outputs: OutputKind = "probabilities" if is_classifier else "values"
    return tree_candidate(
        builder.build(place),
        hints,
        native,
        task=task,
        outputs=outputs,
        features=numeric_features(model, nullable=takes_missing),
        labels=text_labels(model.classes_, f"{place}: a class") if is_classifier else (),
    )


def read_isolation_forest(model: IsolationForest, hints: Hints) -> Candidate:
    """Return the candidate of an isolation forest: the anomaly score from 0 to 1, which is `-model.score_samples`.

    Raises ModelError for a forest that was trained on one row.
    """
    from sklearn.ensemble._iforest import _average_path_length

    place = f"model {hints.name!r}"
    scale = float(_average_path_length([model._max_samples])[0])
    if scale <= 0:
        raise ModelError(
            f"{place}: its trees were trained on one row each, so that every score is 0.5",
            kind="conversion",
            remedy="train with max_samples of 2 or more",
        )
    rules = EnsembleRules(
        num_features=model.n_features_in_, num_outputs=1, aggregate="average", link="isolation", scale=scale
    )
    builder = EnsembleBuilder(rules)
    columns_of_trees = model.estimators_features_
    draws_columns = model._max_features != model.n_features_in_
    for index, tree in enumerate(model.estimators_):
        depth_n = model._decision_path_lengths[index] + model._average_path_length_per_tree[index] - 1.0
        columns = np.asarray(columns_of_trees[index]) if draws_columns else None
        builder.add(native_tree(tree.tree_, depth_n, columns))
    return tree_candidate(
        builder.build(place),
        hints,
        lambda x_RG: -np.asarray(model.score_samples(named(model, x_RG))),
        task="regression",
        outputs="values",
        features=numeric_features(model, nullable=bool(model.__sklearn_tags__().input_tags.allow_nan)),
    )


def native_tree(
    tree: Any, values: npt.NDArray[np.floating], columns: npt.NDArray[np.integer] | None = None
) -> NativeTree:
    """Return one `tree_` of scikit-learn.

    values: of the leaves, [n] or [n, O].
    columns: the columns of a row that the tree takes; None for all.
    """
    feature_n = np.maximum(tree.feature, 0)  # leaves have -2
    return NativeTree(
        feature=feature_n if columns is None else columns[feature_n],
        threshold=finite_thresholds(tree.threshold),
        left=tree.children_left,
        right=tree.children_right,
        default_left=tree.missing_go_to_left,
        values=values,
    )


def feature_names(model: Any) -> tuple[str, ...]:
    """Return the names of the columns that the model was trained with, or x0, x1, …, as scikit-learn names them."""
    names = getattr(model, "feature_names_in_", None)
    if names is None:
        return tuple(f"x{column}" for column in range(model.n_features_in_))
    return tuple(str(name) for name in names)


def numeric_features(model: Any, *, nullable: bool) -> tuple[Feature, ...]:
    """Return the columns of a model that takes numbers only."""
    return tuple(Feature(name, nullable=nullable) for name in feature_names(model))


def named(model: Any, x_RG: FloatArray) -> Any:
    """Return the rows as the model was trained: with names of columns, for which scikit-learn asks, or without."""
    names = getattr(model, "feature_names_in_", None)
    if names is None:
        return x_RG
    import pandas as pd

    return pd.DataFrame(x_RG, columns=names)


def classifier_task(num_classes: int, place: str) -> tuple[Task, int]:
    """Return the task for this number of classes, and the number of outputs. Raises ModelError for one class."""
    if num_classes < 2:
        raise ModelError(
            f"{place}: it was trained with one class, which it gives for every row",
            kind="conversion",
            remedy="train with data of two classes or more",
        )
    return ("binary", 1) if num_classes == 2 else ("multiclass", num_classes)


def _task(model: Any, place: str) -> tuple[Task, int]:
    return classifier_task(len(model.classes_), place)


def _takes_missing(model: Any, tree: Any) -> bool:
    return bool(model.__sklearn_tags__().input_tags.allow_nan) and getattr(tree, "monotonic_cst", None) is None
