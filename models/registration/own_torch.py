"""Read torch models of the user's own: modules with their source, and exported programs.

The code becomes part of the version and runs in every worker that serves it, if the worker's trust policy allows that. It also
runs when it is registered: registering is the user's consent.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from torch import nn

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.backend_files import (
    MAX_SOURCE_BYTES,
    MAX_WEIGHTS_BYTES,
    MODULE_FILE,
    PROGRAM_FILE,
    WEIGHTS_FILE,
)
from forebay.models.artefacts.draft_checks import type_name
from forebay.models.backends.own_code import code_error
from forebay.models.backends.torch.own_module import OwnModuleRunner, build_module
from forebay.models.backends.torch.program import load_program, program_runner, program_shape
from forebay.models.backends.torch.weights import dump_state, load_state
from forebay.models.registration.candidate import Candidate
from forebay.models.registration.hints import Hints
from forebay.models.registration.own_code import Run, complete_hints, expected_outputs, own_outputs
from forebay.models.registration.source import check_definitions_only, check_self_contained, read_source
from forebay.schemas.errors import ModelError

_INSTALLED: Final = frozenset({"site-packages", "dist-packages"})
_CPU: Final = torch.device("cpu")


def read_module(model: object, hints: Hints) -> Candidate:
    """Return the candidate for a trained module of a class of the user's own. Implements `Reader`.

    The file that defines the class becomes part of the version. It may import what is installed where the worker runs, but no
    file beside it. The module takes float32 [B, *row shape], the rows after the preprocessing, and returns a tensor [B, O],
    or [B] for one output. Unless the hints state otherwise, a classifier returns logits.

    model: the trained instance, on any device and in any mode; it is not changed.
    hints: `arguments` are the keyword arguments with which the constructor builds such a module, as JSON values.

    Raises ModelError if there is no such file, as in a notebook, or the file does not stand by itself, or a module that is
    built from it with these arguments does not have the state or the outputs of `model`. Runs the file.
    """
    if not isinstance(model, nn.Module):
        raise ModelError(
            f"model {hints.name!r}: this is a {type_name(type(model))}; allowed are trained torch.nn.Module",
            kind="registration",
            remedy="give the trained module itself",
        )
    cls = type(model)
    file = _source_file(cls)
    source = read_source(file, MAX_SOURCE_BYTES)
    if cls.__module__ == "__main__":
        check_definitions_only(source, file)
    return _module_candidate(
        source,
        file,
        hints,
        class_name=cls.__name__,
        state=model.state_dict(),
        original=_original_outputs(model, file),
    )


def read_module_file(
    file: Path | str,
    hints: Hints,
    *,
    class_name: str,
    state: Mapping[str, torch.Tensor],
) -> Candidate:
    """Return the candidate for a class in a file and the state of a trained module of that class.

    state: what `state_dict` of the trained module returns. The rest is as in `read_module`.
    """
    file = Path(file)
    source = read_source(file, MAX_SOURCE_BYTES)
    return _module_candidate(source, file, hints, class_name=class_name, state=state)


def read_program(model: object, hints: Hints) -> Candidate:
    """Return the candidate for a file that `torch.export.save` has written. Implements `Reader`.

    The program takes one float32 tensor [B, *row shape], the rows after the preprocessing, for any B, and returns one tensor
    [B, O], or [B] for one output. Unless the hints state otherwise, a classifier returns logits.

    model: the path of the file. Loading it runs code that it may contain.

    Raises ModelError if the file cannot be loaded or the program has another input or output.
    """
    file = Path(str(model))
    data = read_source(file, MAX_WEIGHTS_BYTES)
    program = load_program(data, str(file))
    program_shape(program, str(file))
    run = program_runner(program, _CPU, str(file)).run
    signature, preprocessing = complete_hints(hints, run)
    return Candidate(
        "torch-export",
        {PROGRAM_FILE: data},
        signature,
        preprocessing,
        outputs=own_outputs(signature, hints.outputs, classifier="logits"),
        expected=expected_outputs(run, signature, preprocessing),
    )


def _module_candidate(
    source: bytes,
    file: Path,
    hints: Hints,
    *,
    class_name: str,
    state: Mapping[str, object],
    original: Run | None = None,
) -> Candidate:
    """Return the candidate. original: runs the trained module; None if only its state is at hand."""
    check_self_contained(source, file)
    arguments = _json_values(hints.arguments, hints.name)
    weights = dump_state(hints.name, state, MAX_WEIGHTS_BYTES)
    module = build_module(source, str(file), class_name, arguments)
    load_state(module, weights, f"model {hints.name!r}")
    rebuilt = OwnModuleRunner(module, _CPU, str(file)).run
    signature, preprocessing = complete_hints(hints, rebuilt)
    return Candidate(
        "torch-module",
        {MODULE_FILE: source, WEIGHTS_FILE: weights},
        signature,
        preprocessing,
        outputs=own_outputs(signature, hints.outputs, classifier="logits"),
        params={"class": class_name, "arguments": arguments},
        expected=expected_outputs(rebuilt if original is None else original, signature, preprocessing),
    )


def _source_file(cls: type[nn.Module]) -> Path:
    """Return the file that defines a class. Raises ModelError unless it is a file of the user's own."""
    try:
        found = inspect.getsourcefile(cls)
    except (TypeError, OSError):
        found = None
    if found is None or not Path(found).is_file():
        raise _error(
            f"the class {cls.__qualname__} is not defined in a file",
            "write the class into a file and import it; in a notebook, begin its cell with %%writefile net.py and import "
            "it from net in the next cell",
        )
    file = Path(found)
    if "." in cls.__qualname__:
        raise _error(
            f"{file}: the class {cls.__qualname__} is defined within a function or another class",
            "define the class at the top level of its file",
        )
    if _INSTALLED.intersection(file.parts):
        raise _error(
            f"{file}: the class {cls.__module__}.{cls.__qualname__} belongs to an installed package",
            "write a file with a class of your own that inherits from it or contains it, and train an instance of that",
        )
    return file


def _original_outputs(model: nn.Module, file: Path) -> Run:
    """Return a function that runs the trained module in evaluation mode and restores its modes."""

    def run(x: FloatArray) -> FloatArray:
        modes = {module: module.training for module in model.modules()}
        weight = next(iter([*model.parameters(), *model.buffers()]), None)
        device = _CPU if weight is None else weight.device
        try:
            with torch.inference_mode():
                out: object = model.eval()(torch.from_numpy(x.copy()).to(device))
        except Exception as error:
            raise code_error(error, str(file)) from error
        finally:
            for module, training in modes.items():
                module.training = training
        if not isinstance(out, torch.Tensor):
            raise ModelError(
                f"{file}: the module returned {type(out).__name__} instead of a tensor",
                kind="output_shape",
                remedy="return one tensor [B, O] from forward",
            )
        out_BO: FloatArray = out.to("cpu", torch.float32).numpy()
        return out_BO.reshape(len(out_BO), 1) if out_BO.ndim == 1 else out_BO

    return run


def _json_values(arguments: Mapping[str, object], name: str) -> dict[str, object]:
    try:
        values: dict[str, object] = json.loads(json.dumps(dict(arguments), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise _error(
            f"model {name!r}: the arguments of the constructor are not JSON values: {error}",
            "let the constructor take numbers, strings, booleans, lists and objects of them",
        ) from None
    return values


def _error(message: str, remedy: str) -> ModelError:
    return ModelError(message, kind="code", remedy=remedy)
