"""Find a backend by its name in the manifest. A backend's libraries are imported when it is first needed."""

from __future__ import annotations

from importlib import import_module
from types import MappingProxyType
from typing import Final

from forebay.models.backends.protocol import Backend

_CLASSES: Final = MappingProxyType(
    {
        "torch": ("forebay.models.backends.torch.backend", "TorchBackend"),
        "torch-module": ("forebay.models.backends.torch.own_module", "TorchModuleBackend"),
        "torch-export": ("forebay.models.backends.torch.program", "TorchExportBackend"),
        "python": ("forebay.models.backends.python.backend", "PythonBackend"),
        "python-module": ("forebay.models.backends.python.module_backend", "PythonModuleBackend"),
        "trees": ("forebay.models.backends.trees.backend", "TreesBackend"),
        "onnx": ("forebay.models.backends.onnx.backend", "OnnxBackend"),
    }
)


def find_backend(name: str) -> Backend:
    """Return the backend with this name, which is a key of `BACKENDS`."""
    module, cls = _CLASSES[name]
    backend: Backend = getattr(import_module(module), cls)()
    return backend
