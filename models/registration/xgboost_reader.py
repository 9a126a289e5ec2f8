"""Read XGBoost models: fitted boosters and estimators, and files in its JSON or UBJ format.

XGBoost itself reads the files and says what it predicts; the trees are taken from the JSON that it writes.

Shapes: B rows, F features, R golden rows, W values in a row as events give it, T trees, n nodes of a tree, O outputs.
"""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NoReturn

import numpy as np
import xgboost

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.backend_files import TREES_FILE
from forebay.models.artefacts.golden import Tolerance
from forebay.models.artefacts.manifest import default_outputs
from forebay.models.artefacts.preparation import prepare
from forebay.models.artefacts.preprocessing import Preprocessing
from forebay.models.artefacts.signature import Feature, Task
from forebay.models.backends.trees.ensemble import TreeEnsemble
from forebay.models.backends.trees.rules import EnsembleRules, Link
from forebay.models.registration.candidate import Candidate, ConversionNote
from forebay.models.registration.hints import Hints
from forebay.models.registration.tree_builder import EnsembleBuilder
from forebay.models.registration.xgboost_document import BoosterDocument
from forebay.schemas.errors import ModelError

_IDENTITY: Final = "identity"
_READ_FILE: Final = """
import pathlib, sys, xgboost
booster = xgboost.Booster()
booster.load_model(bytearray(pathlib.Path(sys.argv[1]).read_bytes()))
sys.stdout.buffer.write(booster.save_raw("json"))
"""
OBJECTIVES: Final[Mapping[str, tuple[Task, Link]]] = {
    "binary:logistic": ("binary", "identity"),
    "binary:logitraw": ("binary", "identity"),
    "count:poisson": ("regression", "exp"),
    "multi:softmax": ("multiclass", "identity"),
    "multi:softprob": ("multiclass", "identity"),
    "rank:map": ("regression", "identity"),
    "rank:ndcg": ("regression", "identity"),
    "rank:pairwise": ("regression", "identity"),
    "reg:absoluteerror": ("regression", "identity"),
    "reg:gamma": ("regression", "exp"),
    "reg:logistic": ("regression", "sigmoid"),
    "reg:pseudohubererror": ("regression", "identity"),
    "reg:quantileerror": ("regression", "identity"),
    "reg:squarederror": ("regression", "identity"),
    "reg:squaredlogerror": ("regression", "identity"),
    "reg:tweedie": ("regression", "exp"),
    "survival:aft": ("regression", "exp"),
    "survival:cox": ("regression", "exp"),
}
"""The task of each objective, and the link of its outputs. Classifiers return logits."""


@dataclass(frozen=True, slots=True)
class XGBoostTrees:
    """The trees of a booster.

    native_ids: for each node of the ensemble, its number in XGBoost's tree.
    rounds: the number of boosting rounds that are used; `is_cut` if there are more.
    """

    ensemble: TreeEnsemble
    native_ids: np.ndarray[Any, np.dtype[np.int64]]
    task: Task
    rounds: int
    is_cut: bool


def read_xgboost(model: object, hints: Hints) -> Candidate:
    """Return the candidate of a Booster, a fitted XGBModel, or the path of a JSON or UBJ file.

    Where training stopped early, the rounds up to the best one are used, as XGBModel.predict does.

    Raises ModelError that names what cannot be converted, and if the model does not fit the hints.
    """
    place = f"model {hints.name!r}"
    booster = _booster(model, place)
    document = BoosterDocument.read(bytes(booster.save_raw("json")), place)
    trees = convert(booster, document, place)
    rules = trees.ensemble.rules
    preprocessing = Preprocessing.identity() if hints.preprocessing is None else hints.preprocessing
    is_direct = not preprocessing.steps
    signature = hints.complete_signature(
        task=trees.task,
        output_dim=rules.num_outputs,
        num_features=rules.num_features if is_direct else preprocessing.steps[0].width,
        features=_features(document) if is_direct else (),
    )
    outputs = default_outputs(trees.task)
    if hints.outputs not in (None, outputs):
        _refuse(place, f"outputs stated: {hints.outputs}; {document.objective} gives {outputs}", "leave outputs out")
    return Candidate(
        "trees",
        files={TREES_FILE: trees.ensemble.dump()},
        signature=signature,
        preprocessing=preprocessing,
        outputs=outputs,
        params=rules.to_params(),
        expected=lambda rows_RW: native_outputs(booster, document, trees, prepare(signature, preprocessing, rows_RW)),
        notes=_notes(document, trees),
        tolerance=_tolerance(trees.ensemble),
        own_names=tuple(feature.name for feature in _features(document)) if is_direct else (),
    )


def convert(booster: xgboost.Booster, document: BoosterDocument, place: str) -> XGBoostTrees:
    """Return the trees of a booster. Raises ModelError that names what cannot be converted."""
    if document.objective not in OBJECTIVES:
        _refuse(
            place,
            f"the objective is {document.objective}; allowed is {', '.join(OBJECTIVES)}",
            "train with one of these objectives",
        )
    task, link = OBJECTIVES[document.objective]
    if task == "binary" and document.num_outputs > 1:
        _refuse(place, f"there are {document.num_outputs} binary targets", "train a model for each target")
    rounds = document.best_round + 1 if document.best_round is not None else document.num_rounds
    rules = EnsembleRules(document.num_features, document.num_outputs, comparison="<", link=link)
    builder = EnsembleBuilder(rules)
    for number in range(document.num_trees(rounds)):
        builder.add(document.tree(number), document.output_of(number))
    # Checked before XGBoost predicts with it.
    ensemble = replace(builder.build(place), base_O=np.array(_base_margins(document)))
    return XGBoostTrees(ensemble, builder.native_ids(), task, rounds=rounds, is_cut=rounds < document.num_rounds)


def native_outputs(
    booster: xgboost.Booster, document: BoosterDocument, trees: XGBoostTrees, x_BF: FloatArray
) -> FloatArray:
    """Return what XGBoost predicts, as the raw outputs of the backend: logits for classifiers, else values, [B, O]."""
    out: FloatArray = booster.predict(
        native_matrix(document, x_BF),
        output_margin=trees.ensemble.rules.link == _IDENTITY,
        iteration_range=(0, trees.rounds),
    )
    return out.reshape(len(x_BF), -1).astype(np.float32, copy=False)


def native_matrix(document: BoosterDocument, x_BF: FloatArray) -> xgboost.DMatrix:
    """Return rows of numbers and category codes as XGBoost takes them."""
    return xgboost.DMatrix(
        x_BF,
        feature_names=list(document.feature_names) or None,
        feature_types=list(document.feature_types) or None,
        enable_categorical=True,
        nthread=1,
    )


def _booster(model: object, place: str) -> xgboost.Booster:
    try:
        if isinstance(model, Path):
            booster = xgboost.Booster()
            booster.load_model(bytearray(_read_file(model)))
            return booster
        if isinstance(model, xgboost.Booster):
            return model
        if isinstance(model, xgboost.XGBModel):
            missing = model.missing
            if not (isinstance(missing, int | float) and math.isnan(missing)):
                _refuse(place, f"missing is {missing!r}; allowed is NaN", "train with NaN for missing values")
            return model.get_booster()
    except (xgboost.core.XGBoostError, ValueError, OSError) as error:  # NotFittedError is a ValueError
        reason = str(error).strip().partition("\n")[0][:300]
        what = str(model) if isinstance(model, Path) else type(model).__name__
        _refuse(
            place, f"{what} is not a fitted XGBoost model: {reason}", "give a fitted model, or a file of save_model"
        )
    _refuse(
        place,
        f"{type(model).__module__}.{type(model).__qualname__} is not an XGBoost model",
        "give a Booster, an estimator such as XGBClassifier, or the path of a .json or .ubj file",
    )


def _read_file(path: Path) -> bytes:
    """Return the model in a file as XGBoost writes it in JSON. Raises ValueError with XGBoost's message.

    XGBoost aborts the process at some damaged files, so another process reads it first.
    """
    done = subprocess.run([sys.executable, "-c", _READ_FILE, str(path)], capture_output=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.decode(errors="replace").splitlines() if "Error" in line]
        raise ValueError(lines[-1] if lines else "XGBoost cannot read it")
    return done.stdout


def _base_margins(document: BoosterDocument) -> list[float]:
    """Return the base score of each output as a margin.

    Whether files state it before or after the objective's link depends on the release. A copy whose leaves are zero shows it.
    """
    booster = xgboost.Booster()
    booster.load_model(bytearray(document.without_leaves()))
    row = np.zeros((1, document.num_features), dtype=np.float32)
    margins = booster.predict(native_matrix(document, row), output_margin=True)
    return [float(margin) for margin in np.asarray(margins).reshape(-1)]


def _features(document: BoosterDocument) -> tuple[Feature, ...]:
    """Return the features that the model names, with the categories that it knows. Any of them may be missing in a row."""
    names = document.feature_names or tuple(f"f{number}" for number in range(document.num_features))
    return tuple(
        Feature(name, "category" if texts else "float32", texts, nullable=True)
        for name, texts in zip(names, document.categories(), strict=True)
    )


def _notes(document: BoosterDocument, trees: XGBoostTrees) -> tuple[ConversionNote, ...]:
    reason = f"{trees.ensemble.num_trees} trees with {trees.ensemble.num_nodes} nodes"
    if trees.is_cut:
        reason += f"; the first {trees.rounds} of {document.num_rounds} rounds, which are the best"
    notes = [ConversionNote("trees", "frozen", reason), ConversionNote(f"objective {document.objective}", "frozen")]
    if "c" in document.feature_types and not any(document.categories()):
        notes.append(
            ConversionNote(
                "categories",
                "frozen",
                "the model does not hold their names: events give the codes, or give a signature",
            )
        )
    return tuple(notes)


def _tolerance(ensemble: TreeEnsemble) -> Tolerance | None:
    """Return a tolerance for the sums of XGBoost, which are of float32; None where a link follows."""
    if ensemble.rules.link != _IDENTITY:
        return None
    largest = np.abs(ensemble.values_LV).max(axis=1)
    tree_L = np.repeat(np.arange(ensemble.num_trees), np.diff(ensemble.roots_T, append=ensemble.num_nodes))[
        ensemble.feature_N < 0
    ]
    bound_T = np.zeros(ensemble.num_trees)
    np.maximum.at(bound_T, tree_L, largest)
    bound = float(bound_T.sum() + np.abs(ensemble.base_O).max())
    return Tolerance(relative=1e-4, absolute=max(1e-5 * bound, 1e-30))


def _refuse(place: str, problem: str, remedy: str) -> NoReturn:
    raise ModelError(f"{place}: {problem}", kind="registration", remedy=remedy)
