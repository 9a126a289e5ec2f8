"""Read a model that `@forebay.model` declares: the version names its module, and holds no code."""

from __future__ import annotations

from typing import Any

from forebay.models.artefacts.user_module import MODULE_BACKEND, UserModule
from forebay.models.backends.python.backend import FunctionRunner
from forebay.models.backends.python.declared import bound_function, declaration_of, reference_to
from forebay.models.registration.candidate import Candidate
from forebay.models.registration.hints import Hints
from forebay.models.registration.own_code import expected_outputs, own_outputs
from forebay.schemas.errors import ModelError


def read_declared(model: Any, hints: Hints) -> Candidate:
    """Return the candidate for a declared function or class. Implements `Reader`.

    Raises ModelError if a worker could not import it, or the caller states another input than the declaration.
    """
    declaration = declaration_of(model)
    assert declaration is not None
    found = UserModule(*reference_to(model))
    if hints.signature is not None or hints.features or hints.preprocessing is not None:
        raise ModelError(
            f"{found.module}:{found.name}: its signature and preprocessing are in @forebay.model",
            kind="registration",
            remedy="leave signature and preprocessing out, or change the declaration",
        )
    run = FunctionRunner(bound_function(model, hints.name), f"{found.module}:{found.name}").run
    signature = declaration.signature
    return Candidate(
        MODULE_BACKEND,
        {},
        signature,
        declaration.preprocessing,
        outputs=own_outputs(signature, hints.outputs or declaration.outputs, classifier="probabilities"),
        params=found.params(),
        expected=expected_outputs(run, signature, declaration.preprocessing),
    )
