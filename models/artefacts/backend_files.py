"""The backends that a manifest can name: which files each reads, and whether these contain code that is run.

What a backend does with its files is in `models/backends`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

WEIGHTS_FILE: Final = "weights.safetensors"
MAX_WEIGHTS_BYTES: Final = 4 * 1024 * 1024 * 1024
MODULE_FILE: Final = "module.py"
FUNCTION_FILE: Final = "predict.py"
PROGRAM_FILE: Final = "program.pt2"
MAX_SOURCE_BYTES: Final = 1024 * 1024
TREES_FILE: Final = "trees.safetensors"
MAX_TREES_BYTES: Final = 1024 * 1024 * 1024
ONNX_FILE: Final = "model.onnx"
MAX_ONNX_BYTES: Final = 1024 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class BackendFiles:
    """The files of a backend.

    max_bytes: every file that a version must have for the backend, and how large it may be.
    runs_code: whether code of the user runs when the model is loaded, from a file or from a module that the manifest names.
        Such a model is loaded only where the worker's trust policy allows it.
    """

    max_bytes: Mapping[str, int]
    runs_code: bool = False


BACKENDS: Final[Mapping[str, BackendFiles]] = MappingProxyType(
    {
        "torch": BackendFiles({WEIGHTS_FILE: MAX_WEIGHTS_BYTES}),
        "torch-module": BackendFiles({MODULE_FILE: MAX_SOURCE_BYTES, WEIGHTS_FILE: MAX_WEIGHTS_BYTES}, runs_code=True),
        "torch-export": BackendFiles({PROGRAM_FILE: MAX_WEIGHTS_BYTES}, runs_code=True),
        "python": BackendFiles({FUNCTION_FILE: MAX_SOURCE_BYTES}, runs_code=True),
        "python-module": BackendFiles({}, runs_code=True),
        "trees": BackendFiles({TREES_FILE: MAX_TREES_BYTES}),
        "onnx": BackendFiles({ONNX_FILE: MAX_ONNX_BYTES}),
    }
)
