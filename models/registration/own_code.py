"""Read models that consist of their user's own code: here a function in a file.

The code becomes part of the version and runs in every worker that serves it, if the worker's trust policy allows that. It also
runs when it is registered: registering is the user's consent.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.backend_files import FUNCTION_FILE, MAX_SOURCE_BYTES
from forebay.models.artefacts.manifest import OutputKind
from forebay.models.artefacts.preparation import prepared_shape, shaped_rows
from forebay.models.artefacts.preprocessing import Preprocessing
from forebay.models.artefacts.signature import Signature
from forebay.models.backends.python.backend import load_function
from forebay.models.registration.candidate import Candidate
from forebay.models.registration.hints import Hints
from forebay.models.registration.source import check_self_contained, read_source

Run = Callable[[FloatArray], FloatArray]
"""Returns the raw outputs [B, O] for prepared rows [B, *row shape]."""


def read_function(model: object, hints: Hints) -> Candidate:
    """Return the candidate for a file that defines `predict(x)`. Implements `Reader`.

    The function takes float32 [B, F], the rows after the preprocessing, and returns an array [B, O], or [B] for one output.
    What the file computes at its top level is computed once, when a worker loads the model. It may import what is installed
    where the worker runs, but no file beside it. Unless the hints state otherwise, a classifier returns probabilities; a
    binary one that of class 1.

    model: the path of the file.

    Raises ModelError with the line if the file is not valid, raises, or defines no such function. Runs the file.
    """
    file = Path(str(model))
    source = read_source(file, MAX_SOURCE_BYTES)
    check_self_contained(source, file)
    run = load_function(source, str(file)).run
    signature, preprocessing = complete_hints(hints, run)
    return Candidate(
        "python",
        {FUNCTION_FILE: source},
        signature,
        preprocessing,
        outputs=own_outputs(signature, hints.outputs, classifier="probabilities"),
        expected=expected_outputs(run, signature, preprocessing),
    )


def complete_hints(hints: Hints, run: Run) -> tuple[Signature, Preprocessing]:
    """Return the signature and the preprocessing of a model whose code says nothing about its input.

    Runs the model with two rows of zeros if its number of outputs is not stated. Raises ModelError if the hints do not
    state the features or the task.
    """
    preprocessing = Preprocessing.identity() if hints.preprocessing is None else hints.preprocessing
    if hints.signature is not None or not hints.features or hints.task is None:
        return hints.stated_signature(), preprocessing
    draft = Signature(features=hints.features, shape=(len(hints.features),), task="regression", output_dim=1)
    outputs = run(np.zeros((2, *prepared_shape(draft, preprocessing)), dtype=np.float32))
    return hints.stated_signature(outputs.shape[1]), preprocessing


def expected_outputs(run: Run, signature: Signature, preprocessing: Preprocessing) -> Run:
    """Return a function from rows as events give them to the outputs of the original model."""
    return lambda rows_RW: run(shaped_rows(signature, preprocessing, rows_RW))


def own_outputs(signature: Signature, stated: OutputKind | None, *, classifier: OutputKind) -> OutputKind:
    """Return what a model returns. classifier: what a classifier returns unless it is stated."""
    if stated is not None:
        return stated
    return "values" if signature.task == "regression" else classifier
