"""The backend `torch-export`: a program that `torch.export.save` has written.

Loading such a file can run code that it contains, so the load gate demands a trust policy for it.
"""

from __future__ import annotations

import io
import logging
from typing import Final

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from forebay.models.artefacts.artefact import Artefact
from forebay.models.artefacts.backend_files import PROGRAM_FILE
from forebay.models.artefacts.fit import ModelShape, check_fit, check_own_shape
from forebay.models.artefacts.manifest import Manifest
from forebay.models.backends.protocol import Runner, RunOptions
from forebay.models.backends.torch.device import limit_threads, resolve_device
from forebay.models.backends.torch.own_module import OwnModuleRunner, own_module_runner
from forebay.schemas.errors import ModelError

MAX_BATCH_SIZE: Final = 65_536
"""The largest value of batch.max_batch_size."""
_TORCH_LOG: Final = logging.getLogger("torch.export")
_EXPORT: Final = (
    "export the module with one float32 input and a dynamic batch: torch.export.export(module.eval(), (x,), "
    'dynamic_shapes=({0: torch.export.Dim("batch")},)) with an x of at least two rows'
)


class TorchExportBackend:
    """Builds runners of exported programs. Implements `Backend`."""

    def check(self, manifest: Manifest, place: str) -> None:
        """Raise ModelError unless the preprocessing fits the signature. Does not load the program."""
        check_own_shape(manifest.signature, manifest.preprocessing, place)
        if manifest.params:
            raise ModelError(
                f"{place}: params has {', '.join(sorted(manifest.params))[:200]}; the backend torch-export has no parameters",
                kind="manifest",
                remedy="publish the model again rather than editing its manifest",
            )

    def build(self, artefact: Artefact, options: RunOptions) -> Runner:
        """Load the program, check its input and output, and move it to the device. Raises ModelError that names the file."""
        device = resolve_device(options.device)
        limit_threads(options.threads)
        file = str(artefact.directory / PROGRAM_FILE)
        program = load_program(artefact.contents[PROGRAM_FILE], file)
        manifest = artefact.manifest
        check_fit(program_shape(program, file), manifest.signature, manifest.preprocessing, file)
        return own_module_runner(program_module(program, device, file), device, manifest, options, file=file)


def load_program(data: bytes, file: str) -> ExportedProgram:
    """Return the program in the bytes of a file. Runs code that the file may contain. Raises ModelError that names `file`."""
    level = _TORCH_LOG.level
    _TORCH_LOG.setLevel(logging.ERROR)  # torch logs a traceback for each format that a damaged file does not have
    try:
        return torch.export.load(io.BytesIO(data))
    except Exception as error:
        raise _unusable(file, error) from None
    finally:
        _TORCH_LOG.setLevel(level)


def program_runner(program: ExportedProgram, device: torch.device, file: str) -> OwnModuleRunner:
    """Return a runner of the program on a device. Raises ModelError that names `file`."""
    return OwnModuleRunner(program_module(program, device, file), device, file)


def program_module(program: ExportedProgram, device: torch.device, file: str) -> nn.Module:
    """Return a module that runs the program on a device. Raises ModelError that names `file`."""
    try:
        return _Program(_moved(program, device, file))
    except ModelError:
        raise
    except Exception as error:  # of a file that torch has loaded and that is damaged nevertheless
        raise _unusable(file, error) from None


def program_shape(program: ExportedProgram, file: str) -> ModelShape:
    """Return what the program takes and returns for one row.

    Raises ModelError unless it takes one float32 tensor [B, *row shape] and returns one tensor [B, O] or [B] for any B.
    """
    x = _only_tensor(program, program.graph_signature.user_inputs, "input", file)
    out = _only_tensor(program, program.graph_signature.user_outputs, "output", file)
    if x.dtype != torch.float32 or x.dim() < 2 or not all(isinstance(size, int) for size in x.shape[1:]):
        raise _refused(file, f"the input is {_described(x)}; allowed is float32 [B, …] with fixed sizes after B")
    _check_batch(program, x.shape[0], file)
    batch, *sizes = out.shape
    if str(batch) != str(x.shape[0]) or len(sizes) > 1 or not all(isinstance(size, int) for size in sizes):
        raise _refused(
            file,
            f"the output is {_described(out)} for the input {_described(x)}; allowed is [B, O] or [B], with the same B",
        )
    if not out.dtype.is_floating_point:
        raise _refused(file, f"the output is {_described(out)}; allowed are floating-point numbers")
    return ModelShape("the program", tuple(int(size) for size in x.shape[1:]), int(sizes[0]) if sizes else 1)


def _check_batch(program: ExportedProgram, size: int | torch.SymInt, file: str) -> None:
    """Raise ModelError unless the first dimension of the input takes every batch size."""
    if not isinstance(size, torch.SymInt):
        raise _refused(file, f"the program takes batches of {size} rows only")
    constraint = program.range_constraints.get(size.node.expr)
    if constraint is None:
        raise _refused(file, f"the batch size is {size}; allowed is any number")
    # Compared as expressions, because the upper end may be infinite. Programs that were exported with a range from 2 on
    # run with one row as well: torch treats 0 and 1 as special only while it exports.
    if bool(constraint.lower > 2) or bool(constraint.upper < MAX_BATCH_SIZE):
        raise _refused(
            file,
            f"the program takes batches of {constraint.lower} to {constraint.upper} rows; allowed are programs for all from 1 "
            f"to {MAX_BATCH_SIZE}",
        )


def _only_tensor(program: ExportedProgram, names: object, what: str, file: str) -> Tensor:
    names = tuple(names) if isinstance(names, list | tuple) else ()
    if len(names) != 1:
        raise _refused(file, f"the program has {len(names)} {what}s; allowed is one")
    value = next((node.meta.get("val") for node in program.graph.nodes if node.name == names[0]), None)
    if not isinstance(value, Tensor) or value.dim() == 0:
        raise _refused(file, f"the {what} of the program is not a tensor with a batch dimension")
    return value


def _moved(program: ExportedProgram, device: torch.device, file: str) -> nn.Module:
    values = (node.meta.get("val") for node in program.graph.nodes)
    if any(isinstance(value, Tensor) and value.device != device for value in values):
        try:
            from torch.export.passes import move_to_device_pass
        except ImportError:
            raise _refused(
                file,
                f"the program was exported for another device than {device}, and torch {torch.__version__} cannot move it",
            ) from None
        program = move_to_device_pass(program, str(device))
    module: nn.Module = program.module()
    return module


class _Program(nn.Module):
    """A program that ignores the mode: its own module refuses `eval` and is in the mode in which it was exported."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._run = [module]  # in a list, so that it is not a submodule

    def forward(self, x: Tensor) -> object:
        """Run the program."""
        return self._run[0](x)


def _described(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} [{', '.join(map(str, tensor.shape))}]"


def _unusable(file: str, error: Exception) -> ModelError:
    reason = (str(error).strip().splitlines() or [""])[0][:300]
    return ModelError(
        f"{file}: torch {torch.__version__} cannot load this program: {type(error).__name__}: {reason}",
        kind="program",
        remedy="save the program with torch.export.save of the same version of torch, and publish it again",
    )


def _refused(file: str, problem: str) -> ModelError:
    return ModelError(f"{file}: {problem}", kind="program", remedy=_EXPORT)
