"""Read models of LightGBM: fitted objects, boosters and text files.

Shapes: R rows, G values in a row, S splits of a tree, n nodes of a tree.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

import lightgbm
import numpy as np
import numpy.typing as npt

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.manifest import OutputKind
from forebay.models.artefacts.signature import Feature, Task
from forebay.models.backends.trees.rules import EnsembleRules, Link
from forebay.models.backends.trees.traversal import ZERO_RANGE
from forebay.models.registration.candidate import Candidate, ConversionNote
from forebay.models.registration.hints import Hints
from forebay.models.registration.lightgbm_text import (
    MISSING_NONE,
    MISSING_ZERO,
    LightGBMText,
    TextTree,
    parse_lightgbm,
)
from forebay.models.registration.tree_builder import CategorySet, EnsembleBuilder, NativeTree
from forebay.models.registration.tree_candidate import NativeOutputs, finite_thresholds, text_labels, tree_candidate
from forebay.schemas.errors import ModelError

_BELOW_ZERO_RANGE: Final = float(np.nextafter(np.float32(-1e-35), np.float32(-1)))


class _Output(NamedTuple):
    """What an objective makes of the sum of the leaves. scale: a factor of the leaves."""

    task: Task
    outputs: OutputKind
    link: Link = "identity"
    scale: float = 1.0


_VALUES: Final = _Output("regression", "values")
_EXPONENTIAL: Final = _Output("regression", "values", "exp")
_OBJECTIVES: Final[Mapping[str, _Output]] = {
    "regression": _VALUES,
    "regression_l1": _VALUES,
    "huber": _VALUES,
    "fair": _VALUES,
    "quantile": _VALUES,
    "mape": _VALUES,
    "lambdarank": _VALUES,
    "rank_xendcg": _VALUES,
    "poisson": _EXPONENTIAL,
    "gamma": _EXPONENTIAL,
    "tweedie": _EXPONENTIAL,
    "binary": _Output("binary", "logits"),
    "cross_entropy": _Output("binary", "logits"),
    "cross_entropy_lambda": _Output("regression", "values", "log1p_exp"),
    "multiclass": _Output("multiclass", "logits"),
    "multiclassova": _Output("multiclass", "probabilities", "sigmoid"),
}


def read_lightgbm(model: object, hints: Hints) -> Candidate:
    """Return the candidate of a model of LightGBM.

    model: a fitted LGBMClassifier, LGBMRegressor or LGBMRanker, a Booster, or the path of a text file that
        `Booster.save_model` wrote. What is converted is what its `predict` uses: the best iteration, if there is one.

    Raises ModelError for what cannot be converted exactly.
    """
    text, classes = _text_and_classes(model, hints)
    place = f"model {hints.name!r}"
    parsed = parse_lightgbm(text, str(model) if isinstance(model, str | Path) else place)
    output = _output(parsed, hints)
    features, notes = _features(parsed, hints)
    builder = EnsembleBuilder(
        EnsembleRules(
            num_features=len(parsed.feature_names),
            num_outputs=parsed.trees_per_iteration,
            aggregate="average" if parsed.is_average else "sum",
            link=output.link,
        )
    )
    for number, tree in enumerate(parsed.trees):
        builder.add(_native_tree(tree, output.scale, f"{place}: tree {number}"), number % parsed.trees_per_iteration)
    ensemble = builder.build(place)
    labels = text_labels(classes, f"{place}: a class") if output.task != "regression" and classes is not None else ()
    return tree_candidate(
        ensemble,
        hints,
        _native_outputs(text, output, parsed),
        task=output.task,
        outputs=output.outputs,
        features=features,
        labels=labels,
        notes=notes,
    )


def _text_and_classes(model: object, hints: Hints) -> tuple[str, npt.NDArray[np.generic] | None]:
    if isinstance(model, str | Path):
        try:
            return Path(model).read_text(encoding="utf-8"), None
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise ModelError(
                f"{model}: the file cannot be read: {reason}",
                kind="unreadable",
                remedy="give the path of a file that Booster.save_model wrote",
            ) from None
    if isinstance(model, lightgbm.Booster):
        return model.model_to_string(), None
    if not isinstance(model, lightgbm.LGBMModel):
        raise ModelError(
            f"model {hints.name!r}: this is a {type(model).__name__}; allowed are fitted models and boosters of LightGBM, and "
            "paths of its text files",
            kind="conversion",
            remedy="give one of these",
        )
    if not model.__sklearn_is_fitted__():
        raise ModelError(f"model {hints.name!r}: it is not fitted", kind="conversion", remedy="call fit first")
    classes = model.classes_ if isinstance(model, lightgbm.LGBMClassifier) else None
    return model.booster_.model_to_string(), classes


def _output(parsed: LightGBMText, hints: Hints) -> _Output:
    name, settings = parsed.objective
    if not name or name == "custom":
        return _custom_output(parsed, hints)
    output = _OBJECTIVES.get(name)
    if output is None:
        raise ModelError(
            f"model {hints.name!r}: the objective {name[:80]!r} of LightGBM is not known; allowed are "
            f"{', '.join(sorted(_OBJECTIVES))}",
            kind="conversion",
            remedy="train with one of these objectives, or register the model with the backend python",
        )
    if name == "regression" and "sqrt" in settings:
        return output._replace(link="signed_square")
    if name in ("binary", "multiclassova"):
        return output._replace(scale=float(settings.get("sigmoid", "1")))
    return output


def _custom_output(parsed: LightGBMText, hints: Hints) -> _Output:
    """Return what the caller states about the outputs of a model with a custom objective: `predict` gives sums of leaves."""
    task = hints.signature.task if hints.signature is not None else hints.task
    if hints.outputs is None or task is None:
        raise ModelError(
            f"model {hints.name!r}: it was trained with a custom objective, so that it is unknown what its outputs mean",
            kind="conversion",
            remedy='state the task and the outputs: "values" for regression, otherwise "logits" if sigmoid or softmax of them '
            'are the probabilities, or "probabilities"',
        )
    return _Output(task, hints.outputs)


def _features(parsed: LightGBMText, hints: Hints) -> tuple[tuple[Feature, ...], tuple[ConversionNote, ...]]:
    categories = _pandas_categories(parsed, hints)
    compared = {int(column) for tree in parsed.trees for column in tree.feature_S}
    takes_missing = {int(column) for tree in parsed.trees for column in tree.feature_S[tree.missing_S != MISSING_NONE]}
    features, never_missing = [], []
    for column, name in enumerate(parsed.feature_names):
        is_nullable = column in takes_missing or column not in compared
        if not is_nullable:
            never_missing.append(name)
        if column in categories:
            features.append(Feature(name, "category", categories[column], is_nullable))
        else:
            features.append(Feature(name, nullable=is_nullable))
    if not never_missing:
        return tuple(features), ()
    note = ConversionNote(
        f"features {', '.join(never_missing)}",
        "frozen",
        "they had no missing values in training: events without them are rejected, although LightGBM would take them as 0 or "
        "as another category",
    )
    return tuple(features), (note,)


def _pandas_categories(parsed: LightGBMText, hints: Hints) -> dict[int, tuple[str, ...]]:
    """Return the categories by column. The text lists them without the columns, which are those of dtype category."""
    if not parsed.pandas_categories:
        return {}
    if len(parsed.pandas_categories) != len(parsed.categorical_columns):
        if hints.features or hints.signature is not None:
            return {}
        raise ModelError(
            f"model {hints.name!r}: it was trained with {len(parsed.pandas_categories)} columns of dtype category, but takes "
            f"{len(parsed.categorical_columns)} columns as categories, so that it is unknown whose categories these are",
            kind="conversion",
            remedy="state the features with their categories in the order of the model, or train with unordered columns of "
            'dtype category and categorical_feature="auto"',
        )
    return {
        column: text_labels(tuple(values), f"model {hints.name!r}: a category of {parsed.feature_names[column]}")
        for column, values in zip(sorted(parsed.categorical_columns), parsed.pandas_categories, strict=True)
    }


def _native_tree(tree: TextTree, scale: float, place: str) -> NativeTree:
    """Return the tree with its splits first, then its leaves."""
    if tree.is_linear:
        raise ModelError(
            f"{place}: its leaves are linear models, which cannot be converted",
            kind="conversion",
            remedy="train without linear_tree, or register the model with the backend python",
        )
    num_splits, num_leaves = len(tree.feature_S), len(tree.leaf_values)

    def children(child_S: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return np.concatenate((np.where(child_S >= 0, child_S, num_splits + ~child_S), np.full(num_leaves, -1)))

    def padded(values_S: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        return np.concatenate((values_S, np.zeros(num_leaves, dtype=values_S.dtype)))

    threshold_S = _threshold(tree)
    # Without missing values in training, NaN is compared as 0. In categorical splits it goes to the right.
    default_left_S = np.where(tree.missing_S == MISSING_NONE, threshold_S >= 0, tree.is_default_left_S)
    default_left_S[tree.is_categorical_S] = False
    values_n = np.concatenate((np.zeros(num_splits), tree.leaf_values * scale))
    return NativeTree(
        feature=padded(tree.feature_S).astype(np.int64),
        threshold=padded(threshold_S).astype(np.float64),
        left=children(tree.left_S),
        right=children(tree.right_S),
        default_left=padded(default_left_S),
        values=values_n,
        zero_missing=padded((tree.missing_S == MISSING_ZERO) & ~tree.is_categorical_S),
        categories=_category_sets(tree),
    )


def _threshold(tree: TextTree) -> npt.NDArray[np.float64]:
    """Return thresholds for which a plain comparison decides as LightGBM, which takes values within 1e-35 of zero as zero."""
    threshold_S = np.where(tree.is_categorical_S, 0.0, tree.threshold_S)
    is_above_S = (threshold_S >= 0) & (threshold_S < ZERO_RANGE)
    is_below_S = (threshold_S < 0) & (threshold_S >= -ZERO_RANGE)
    threshold_S = np.where(is_above_S, ZERO_RANGE, finite_thresholds(threshold_S))
    return np.where(is_below_S, _BELOW_ZERO_RANGE, threshold_S)


def _category_sets(tree: TextTree) -> dict[int, CategorySet]:
    sets = {}
    for split in np.flatnonzero(tree.is_categorical_S).tolist():
        codes = tree.categories[int(tree.threshold_S[split])]
        left = np.zeros(int(codes.max(initial=0)) + 1, dtype=np.bool_)
        left[codes] = True
        sets[split] = CategorySet(left)
    return sets


def _native_outputs(text: str, output: _Output, parsed: LightGBMText) -> NativeOutputs:
    """Return what LightGBM itself gives: its raw scores where these are logits, otherwise its predictions."""
    factor = output.scale
    if parsed.is_average:  # raw scores are sums, also where predictions are made of the average
        factor /= len(parsed.trees) // parsed.trees_per_iteration

    def predict(x_RG: FloatArray) -> npt.NDArray[np.floating]:
        booster = lightgbm.Booster(model_str=text)
        if output.outputs != "logits":
            return np.asarray(booster.predict(x_RG))
        return np.asarray(booster.predict(x_RG, raw_score=True)) * factor

    return predict
