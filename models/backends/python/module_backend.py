"""The backend `python-module`: a function or class that `@forebay.model` declares in a module of the environment.

The files of the version contain no code. The load gate has checked that the configuration trusts the module.
"""

from __future__ import annotations

from forebay.models.artefacts.artefact import Artefact
from forebay.models.artefacts.fit import check_own_shape
from forebay.models.artefacts.manifest import Manifest
from forebay.models.artefacts.repository import MANIFEST_FILE
from forebay.models.artefacts.user_module import read_user_module
from forebay.models.backends.precision import require_fp32
from forebay.models.backends.protocol import RunOptions
from forebay.models.backends.python.backend import CPU_NAMES, FunctionRunner
from forebay.models.backends.python.declared import bound_function, import_declared
from forebay.schemas.errors import ModelError


class PythonModuleBackend:
    """Builds runners of declared functions and classes. Implements `Backend`."""

    def check(self, manifest: Manifest, place: str) -> None:
        """Raise ModelError unless the manifest names an object in a module and fits its signature. Imports nothing."""
        check_own_shape(manifest.signature, manifest.preprocessing, place)
        read_user_module(manifest.params, place)

    def build(self, artefact: Artefact, options: RunOptions) -> FunctionRunner:
        """Import the module and return a runner of its object. Raises ModelError that names the module and the remedy."""
        manifest = artefact.manifest
        if options.device not in CPU_NAMES:
            raise ModelError(
                f"device is {options.device!r}; the backend python-module runs on the CPU",
                kind="device",
                remedy='set the device of this model to "cpu" or "auto"',
            )
        require_fp32(options, f"model {manifest.name} is a function in Python")
        place = str(artefact.directory / MANIFEST_FILE)
        found = read_user_module(manifest.params, place)
        declared = import_declared(found.module, found.name, place)
        return FunctionRunner(bound_function(declared, place), f"{found.module}:{found.name}")
