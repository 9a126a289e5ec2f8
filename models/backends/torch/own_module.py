"""The backend `torch-module`: a class of the user's own in a file, with its weights as safetensors."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.artefact import Artefact
from forebay.models.artefacts.backend_files import MODULE_FILE, WEIGHTS_FILE
from forebay.models.artefacts.fit import check_own_shape
from forebay.models.artefacts.json_object import JsonObject
from forebay.models.artefacts.manifest import Manifest
from forebay.models.artefacts.repository import MANIFEST_FILE
from forebay.models.backends.own_code import code_error, load_source, unload, unload_with
from forebay.models.backends.precision import require_fp32
from forebay.models.backends.protocol import Runner, RunOptions
from forebay.models.backends.torch.cuda.build import cuda_runner
from forebay.models.backends.torch.device import limit_threads, resolve_device
from forebay.models.backends.torch.memory import is_out_of_memory
from forebay.models.backends.torch.runner import TorchRunner
from forebay.models.backends.torch.weights import load_state
from forebay.schemas.errors import ModelError


class TorchModuleBackend:
    """Builds runners of modules of the user's own. Implements `Backend`."""

    def check(self, manifest: Manifest, place: str) -> None:
        """Raise ModelError unless the parameters name a class and its arguments. Runs no code."""
        read_params(manifest.params, place)
        check_own_shape(manifest.signature, manifest.preprocessing, place)

    def build(self, artefact: Artefact, options: RunOptions) -> Runner:
        """Execute the file, build the module, load its weights and move it to the device.

        Raises ModelError that names the file and the line.
        """
        device = resolve_device(options.device)
        limit_threads(options.threads)
        class_name, arguments = read_params(artefact.manifest.params, str(artefact.directory / MANIFEST_FILE))
        file = str(artefact.directory / MODULE_FILE)
        module = build_module(artefact.contents[MODULE_FILE], file, class_name, arguments)
        weights_file = str(artefact.directory / WEIGHTS_FILE)
        try:
            load_state(module, artefact.contents[WEIGHTS_FILE], weights_file)
            return own_module_runner(module, device, artefact.manifest, options, file=file)
        except ModelError:
            raise
        except Exception as error:  # a module may override what loads its state or moves it
            raise code_error(error, file, f"loading the weights of {class_name}") from error


def read_params(params: Mapping[str, object], place: str) -> tuple[str, dict[str, object]]:
    """Return the name of the class and the keyword arguments of its constructor. Raises ModelError that names the key."""
    fields = JsonObject(dict(params), place, "params")
    fields.reject_unknown_keys({"class", "arguments"})
    class_name, arguments = fields.text("class"), fields.mapping("arguments")
    if not class_name.isidentifier():
        fields.fail("class", class_name, "the name of a class")
    for name in arguments:
        if not name.isidentifier():
            fields.fail("a name in arguments", name, "the name of an argument of the constructor")
    return class_name, arguments


def build_module(source: bytes, file: str, class_name: str, arguments: Mapping[str, object]) -> nn.Module:
    """Execute the source and return an instance of one of its classes. Raises ModelError that names the file and the line.

    torch's random numbers are as before afterwards: the constructor draws weights that are replaced.
    """
    code = load_source(source, file)
    cls: object = getattr(code, class_name, None)
    if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
        unload(code, file)
        found = "has no such name" if cls is None else f"has something else of that name: {cls!r:.80}"
        raise ModelError(
            f"{file}: the file must define the class {class_name}, a torch.nn.Module, but it {found}",
            kind="code",
            remedy="correct the name of the class or its base class, and publish the model again",
        )
    try:
        with torch.random.fork_rng(devices=[]):
            module = cls(**arguments)
    except Exception as error:
        unload(code, file)
        raise code_error(error, file, f"building {class_name}") from error
    unload_with(module, code, file)
    return module


def own_module_runner(
    module: nn.Module, device: torch.device, manifest: Manifest, options: RunOptions, *, file: str
) -> Runner:
    """Return a runner of a module on a device. file: the path that tracebacks show for its code. Raises ModelError."""
    if device.type == "cuda":
        return cuda_runner(OwnModule(module, file), device, manifest, options, is_own_code=True)
    require_fp32(options, f"the model runs on {device}")
    return OwnModuleRunner(module, device, file)


class OwnModule(nn.Module):
    """A module of the user's own, whose errors name the line. For devices on which it is captured as a graph."""

    def __init__(self, module: nn.Module, file: str) -> None:
        super().__init__()
        self.module = module
        self._file = file

    def forward(self, x: Tensor) -> object:
        """Run the module. Raises ModelError with kind "code", or the error of the device."""
        try:
            return self.module(x)
        except ModelError:
            raise
        except (Exception, SystemExit) as error:  # code that calls sys.exit must not end the worker
            if isinstance(error, Exception) and is_out_of_memory(error):
                raise
            raise code_error(error, self._file) from error


class OwnModuleRunner:
    """A module of the user's own on its device. Implements `Runner`."""

    def __init__(self, module: nn.Module, device: torch.device, file: str) -> None:
        """Take the module. file: the path that tracebacks show for its code. Raises like `TorchRunner`."""
        self._runner = TorchRunner(module, device)
        self.device = self._runner.device
        self._file = file

    def run(self, x: FloatArray) -> FloatArray:
        """Return what the module returns for rows [B, *row shape], as float32 [B, O].

        The module gets a copy of the rows, so that it may change them. Raises ModelError with kind "out_of_memory",
        "output_shape" if it does not return a tensor, or "code" with the line if it raises.
        """
        try:
            out = self._runner.run(np.array(x, dtype=np.float32, order="C"))
        except ModelError:
            raise
        except (Exception, SystemExit) as error:  # code that calls sys.exit must not end the worker
            raise code_error(error, self._file) from error
        return out[:, np.newaxis] if out.ndim == 1 else out
