"""The backend `python`: `def predict(x)` in a file of the model. Does not import torch.

Shapes: B rows, F columns after preprocessing, O outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.artefact import Artefact
from forebay.models.artefacts.backend_files import FUNCTION_FILE
from forebay.models.artefacts.fit import check_own_shape
from forebay.models.artefacts.manifest import Manifest
from forebay.models.backends.own_code import code_error, load_source, unload, unload_with
from forebay.models.backends.precision import require_fp32
from forebay.models.backends.protocol import RunOptions
from forebay.schemas.errors import ModelError

FUNCTION_NAME: Final = "predict"
CPU_NAMES: Final = ("auto", "cpu")


class PythonBackend:
    """Builds runners of functions. Implements `Backend`."""

    def check(self, manifest: Manifest, place: str) -> None:
        """Raise ModelError unless the preprocessing fits the signature. Runs no code."""
        check_own_shape(manifest.signature, manifest.preprocessing, place)
        if manifest.params:
            raise ModelError(
                f"{place}: params has {', '.join(sorted(manifest.params))[:200]}; the backend python has no parameters",
                kind="manifest",
                remedy="write constants into the file of the function, and publish the model again",
            )

    def build(self, artefact: Artefact, options: RunOptions) -> FunctionRunner:
        """Execute the file and return a runner of its function. Raises ModelError that names the file and the line."""
        if options.device not in CPU_NAMES:
            raise ModelError(
                f"device is {options.device!r}; the backend python runs on the CPU",
                kind="device",
                remedy='set the device of this model to "cpu" or "auto"',
            )
        require_fp32(options, f"model {artefact.manifest.name} is a function in Python")
        return load_function(artefact.contents[FUNCTION_FILE], str(artefact.directory / FUNCTION_FILE))


def load_function(source: bytes, file: str) -> FunctionRunner:
    """Execute the source and return a runner of its function. Raises ModelError that names the file and the line."""
    module = load_source(source, file)
    function = getattr(module, FUNCTION_NAME, None)
    if not callable(function):
        unload(module, file)
        found = "defines none" if function is None else f"has a {type(function).__name__} of that name"
        raise ModelError(
            f"{file}: the file must define a function {FUNCTION_NAME}(x), but it {found}",
            kind="code",
            remedy=f"write `def {FUNCTION_NAME}(x):` at the top level of the file, and publish the model again",
        )
    runner = FunctionRunner(function, file)
    unload_with(runner, module, file)
    return runner


class FunctionRunner:
    """A function as a runner on the CPU. Implements `Runner`."""

    device = "cpu"

    def __init__(self, function: Callable[[FloatArray], object], file: str) -> None:
        self._function = function
        self._file = file

    def run(self, x: FloatArray) -> FloatArray:
        """Return what the function returns for rows [B, *row shape], as float32 [B, O].

        The function gets a copy of the rows, so that it may change them. Raises ModelError with kind "out_of_memory",
        "output_shape" if it does not return one array of numbers, or "code" with the line if it raises.
        """
        try:
            returned = self._function(np.array(x, dtype=np.float32, order="C"))
        except MemoryError as error:
            raise ModelError(f"not enough memory for {len(x)} rows: {error}", kind="out_of_memory") from None
        except (Exception, SystemExit) as error:  # code that calls sys.exit must not end the worker
            raise code_error(error, self._file) from error
        return as_outputs(returned)


def as_outputs(returned: object) -> FloatArray:
    """Return an array of numbers [B] or [B, O], or a list of them, as float32 [B, O].

    Raises ModelError(kind="output_shape") for anything else. Values too large for float32 become infinite.
    """
    try:
        values = np.asarray(returned)
    except (ValueError, TypeError) as error:
        raise _wrong_output(returned, str(error)) from None
    if values.dtype.kind not in "fiub" or values.ndim not in (1, 2):
        raise _wrong_output(returned, f"{values.dtype} {list(values.shape)}")
    with np.errstate(over="ignore"):
        out_BO: FloatArray = np.ascontiguousarray(values, dtype=np.float32)
    return out_BO[:, np.newaxis] if out_BO.ndim == 1 else out_BO


def _wrong_output(returned: object, found: str) -> ModelError:
    return ModelError(
        f"returned {type(returned).__name__} ({found[:200]}) instead of an array of numbers [B, O] or [B]",
        kind="output_shape",
    )
