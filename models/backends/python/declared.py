"""`@forebay.model`: a function or a class of an importable module, declared as a model.

The version in the repository names the module and the object; it holds no code and no pickle. A worker imports the module
only if its configuration lists it in `trust.modules`, and runs only what was declared with `@forebay.model`.

Shapes: B rows, F columns after preprocessing, O outputs.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import FunctionType
from typing import Any, Final, TypeVar, cast

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.manifest import OUTPUT_KINDS, OutputKind
from forebay.models.artefacts.preprocessing import Preprocessing
from forebay.models.artefacts.signature import Feature, Signature, Task
from forebay.models.artefacts.user_module import MODULE_NAME
from forebay.schemas.errors import ModelError

T = TypeVar("T", bound=Callable[..., Any])

ATTRIBUTE: Final = "__forebay_model__"
METHOD: Final = "predict"
_REFERENCE: Final = re.compile(rf"({MODULE_NAME.pattern}):([A-Za-z_][A-Za-z0-9_]*)")
_MAX_REASON: Final = 300


@dataclass(frozen=True, slots=True)
class ModelDeclaration:
    """What `@forebay.model` states about a function or a class."""

    name: str
    signature: Signature
    preprocessing: Preprocessing
    outputs: OutputKind | None


def model(
    signature: Signature | Sequence[Feature],
    *,
    task: Task = "regression",
    labels: Sequence[str] = (),
    name: str | None = None,
    preprocessing: Preprocessing | None = None,
    outputs: OutputKind | None = None,
) -> Callable[[T], T]:
    """Declare a function or a class as a model, for `forebay.register` and for workers. It can still be called as before.

        @forebay.model([forebay.Feature("amount"), forebay.Feature("retries")], task="binary")
        def risk(x):  # float32 [B, F] -> [B, O], or [B] for one output
            return (x > [100.0, 3.0]).mean(axis=1)

    A class is constructed without arguments, once for each worker, and its method `predict(x)` is called.

    signature: what it takes and returns; or only its features, with the task.
    task, labels: only if the signature is a list of features. A multiclass model needs labels.
    name: of the model; None for the name of the function or class.
    preprocessing: applied to rows before the call; None for none.
    outputs: "logits", "probabilities" or "values"; None for probabilities of a classifier, and values of a regression.

    Raises ModelError if the signature is not one, or what is decorated is neither a function nor a class with `predict`.
    """
    stated = _signature(signature, task, tuple(labels))
    if outputs is not None and outputs not in OUTPUT_KINDS:
        raise _error(f"outputs is {outputs!r}", f"choose {', '.join(OUTPUT_KINDS)}, or leave it out")

    def declare(declared: T) -> T:
        if not isinstance(declared, FunctionType) and not (
            isinstance(declared, type) and callable(getattr(declared, METHOD, None))
        ):
            raise _error(
                f"@forebay.model decorates {type(declared).__name__} {getattr(declared, '__qualname__', '')}",
                f"decorate a function, or a class with a method {METHOD}(self, x)",
            )
        declaration = ModelDeclaration(
            name or declared.__name__, stated, preprocessing or Preprocessing.identity(), outputs
        )
        setattr(declared, ATTRIBUTE, declaration)
        return declared

    return declare


def declaration_of(declared: object) -> ModelDeclaration | None:
    """Return what `@forebay.model` states about an object itself, not about a class that it inherits from; None if nothing."""
    if not isinstance(declared, FunctionType | type):
        return None
    declaration = vars(declared).get(ATTRIBUTE)
    return declaration if isinstance(declaration, ModelDeclaration) else None


def is_reference(text: str) -> bool:
    """Return whether a text is the name of an object in a module: `shop.scoring:risk`."""
    return _REFERENCE.fullmatch(text) is not None


def reference_to(declared: Any) -> tuple[str, str]:
    """Return the module and the name of a declared object. Raises ModelError if a worker could not import it."""
    module, qualified = declared.__module__, declared.__qualname__
    if module == "__main__":
        raise _error(
            f"{qualified} is defined in the script itself, which a worker cannot import",
            "move it to a module that the worker can import, such as a package that is installed there",
        )
    if "." in qualified or getattr(sys.modules.get(module), qualified, None) is not declared:
        raise _error(
            f"{qualified} is not a name at the top level of {module}, so a worker cannot import it",
            "define it at the top level of a module",
        )
    return module, qualified


def import_declared(module: str, name: str, place: str = "") -> Any:
    """Import a module and return a declared object in it. Runs the module: the caller has checked that this is allowed.

    place: the start of messages, such as the path of a manifest.

    Raises ModelError(kind="code") that names the module, why it cannot be used and the remedy.
    """
    before = f"{place}: " if place else ""
    try:
        found = getattr(import_module(module), name, None)
    except ModuleNotFoundError as error:
        missing = error.name or module
        own = missing == module or module.startswith(f"{missing}.")
        raise ModelError(
            f"{before}the module {module} cannot be imported: there is no module {missing}",
            kind="code",
            remedy="install the package that contains it in the environment of the worker, or add its folder to PYTHONPATH"
            if own
            else f"install {missing.partition('.')[0]} in the environment of the worker",
        ) from None
    except (Exception, SystemExit) as error:  # code that calls sys.exit must not end the worker
        reason = str(error)[:_MAX_REASON]
        raise ModelError(
            f"{before}the module {module} cannot be imported: {type(error).__name__}: {reason}",
            kind="code",
            remedy="correct the module",
        ) from error
    if declaration_of(found) is None:
        what = "has no" if found is None else "has, but does not declare with @forebay.model,"
        raise ModelError(
            f"{before}the module {module} {what} {name}",
            kind="code",
            remedy="install the version of the module that the model was registered with, or register the model again",
        )
    return found


def resolve_reference(reference: str) -> Any:
    """Return the declared object that `module:object` names. Raises ModelError."""
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise _error(f"{reference!r} is not the name of an object in a module", "write it like shop.scoring:risk")
    module, name = reference.split(":")
    return import_declared(module, name)


def bound_function(declared: Any, place: str) -> Callable[[FloatArray], object]:
    """Return the function to call: the declared one, or the method of a new object of the class. Raises ModelError."""
    if not isinstance(declared, type):
        return cast("Callable[[FloatArray], object]", declared)
    try:
        return cast("Callable[[FloatArray], object]", getattr(declared(), METHOD))
    except (Exception, SystemExit) as error:
        raise ModelError(
            f"{place}: building {declared.__module__}:{declared.__qualname__} raised {type(error).__name__}: "
            f"{str(error)[:_MAX_REASON]}",
            kind="code",
            remedy="a declared class is constructed without arguments; correct its constructor",
        ) from error


def _signature(signature: object, task: Task, labels: tuple[str, ...]) -> Signature:
    if isinstance(signature, Signature):
        return signature
    features = tuple(signature) if isinstance(signature, list | tuple) else ()
    if not features:
        raise _error(
            f"the signature is {type(signature).__name__}", "give a forebay.Signature, or a list of forebay.Feature"
        )
    if task == "multiclass" and not labels:
        raise _error("a multiclass model has no labels", 'give them, such as labels=("red", "green", "blue")')
    output_dim = len(labels) if task == "multiclass" else 1
    columns = sum(max(1, len(feature.parts)) if isinstance(feature, Feature) else 1 for feature in features)
    return Signature(features, (columns,), task, output_dim, labels=labels)


def _error(message: str, remedy: str) -> ModelError:
    return ModelError(message, kind="registration", remedy=remedy)
