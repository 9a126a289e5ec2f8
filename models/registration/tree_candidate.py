"""Make a candidate of an ensemble of trees that was read from a library, with its signature and the library's own answers.

Shapes: R rows, W values in a row as events give it, G values in a prepared row, O outputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.backend_files import TREES_FILE
from forebay.models.artefacts.golden import Tolerance
from forebay.models.artefacts.manifest import OutputKind
from forebay.models.artefacts.preprocessing import Preprocessing
from forebay.models.artefacts.signature import Feature, Signature, Task
from forebay.models.backends.trees.ensemble import TreeEnsemble
from forebay.models.registration.candidate import Candidate, ConversionNote
from forebay.models.registration.hints import Hints
from forebay.schemas.errors import ModelError

NativeOutputs = Callable[[FloatArray], npt.NDArray[np.floating]]
"""Returns what the library gives for prepared rows float32 [R, G]: [R, O], or [R] for one output."""

# The library and the backend add the same leaves; only rounding and the order of the sum differ.
_RELATIVE: Final = 1e-5
_ABSOLUTE: Final = 1e-6  # of the largest sum that the leaves can give


def tree_candidate(
    ensemble: TreeEnsemble,
    hints: Hints,
    native: NativeOutputs,
    *,
    task: Task,
    outputs: OutputKind,
    features: Sequence[Feature],
    labels: Sequence[str] = (),
    notes: Sequence[ConversionNote] = (),
) -> Candidate:
    """Return the candidate.

    task, outputs, features, labels: what the model says; the hints complete them.

    Raises ModelError if the hints contradict the model.
    """
    preprocessing = hints.preprocessing or Preprocessing.identity()
    brings_columns = not preprocessing.steps
    signature = hints.complete_signature(
        task=task,
        output_dim=ensemble.rules.num_outputs,
        num_features=len(features) if brings_columns else preprocessing.steps[0].width,
        features=features if brings_columns else (),
        labels=labels,
    )
    if brings_columns:
        _check_categories(signature, features, hints.name)

    def expected(rows_RW: FloatArray) -> FloatArray:
        found = np.asarray(native(preprocessing.apply(rows_RW)))
        return found.reshape(len(rows_RW), -1).astype(np.float32)

    return Candidate(
        backend="trees",
        files={TREES_FILE: ensemble.dump()},
        signature=signature,
        preprocessing=preprocessing,
        outputs=outputs,
        params=ensemble.rules.to_params(),
        expected=expected,
        notes=tuple(notes),
        tolerance=Tolerance(_RELATIVE, _ABSOLUTE * max(1.0, _largest_sum(ensemble))),
        own_names=tuple(feature.name for feature in features) if brings_columns else (),
    )


def finite_thresholds(threshold_n: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return thresholds without infinities, which separate missing values from all others. Finite rows decide the same."""
    largest = np.finfo(np.float64).max
    return threshold_n.astype(np.float64).clip(-largest, largest)


def text_labels(classes: Sequence[object] | npt.NDArray[np.generic], place: str) -> tuple[str, ...]:
    """Return the names of classes or categories. Raises ModelError for what has no obvious text, such as 0.5."""
    return tuple(_text(value, place) for value in classes)


def _text(value: object, place: str) -> str:
    plain = value.item() if isinstance(value, np.generic) else value
    match plain:
        case str():
            return plain
        case bool():
            return "true" if plain else "false"
        case int():
            return str(plain)
        case float() if math.isfinite(plain) and plain == int(plain):
            return str(int(plain))
    raise ModelError(
        f"{place} is {plain!r}; allowed are texts and whole numbers",
        kind="conversion",
        remedy="convert the column or the labels to text, and train the model again",
    )


def _check_categories(signature: Signature, features: Sequence[Feature], name: str) -> None:
    """Raise ModelError if a stated column has other categories than the model was trained with, or another order."""
    # A signature may state only a shape: numbers without names.
    columns = signature.column_features or [Feature(feature.name) for feature in features]
    for stated, own in zip(columns, features, strict=True):
        if own.categories and stated.categories and stated.categories != own.categories:
            raise ModelError(
                f"model {name!r}: feature {stated.name!r}: the stated categories are not those that the model was trained "
                f"with, in the same order: {', '.join(own.categories[:8])}{', …' if len(own.categories) > 8 else ''}",
                kind="signature",
                remedy="leave the categories out, or state them in the order of the model",
            )
        if own.categories and not stated.categories:
            raise ModelError(
                f"model {name!r}: feature {stated.name!r} is stated as a number; the model was trained with categories",
                kind="signature",
                remedy="state it as a category, or leave the signature out",
            )


def _largest_sum(ensemble: TreeEnsemble) -> float:
    leaf_N = np.cumsum(ensemble.feature_N == -1)
    first_T = np.concatenate(([0], leaf_N[ensemble.roots_T[1:] - 1]))
    largest_T = np.maximum.reduceat(np.abs(ensemble.values_LV).max(axis=1), first_T)
    total = largest_T.mean() if ensemble.rules.aggregate == "average" else largest_T.sum()
    return float(total + np.abs(ensemble.base_O).max())
