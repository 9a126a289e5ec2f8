"""Run a torch module on its device.

Shapes: B rows, O outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from forebay.models.artefacts.arrays import FloatArray
from forebay.schemas.errors import ModelError

# Parts of torch's messages when memory runs out without OutOfMemoryError: from its CPU allocator, Apple's, cuBLAS and
# cuDNN.
_OUT_OF_MEMORY: Final = (
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "out of memory",
    "ALLOC_FAILED",
)

_Result = TypeVar("_Result")


class TorchRunner:
    """A module on its device, in evaluation mode. Implements `Runner`."""

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        """Move `module` to `device`; no other component may use it afterwards.

        Raises ModelError(kind="out_of_memory") if the device has not enough memory.
        """
        self.device = str(device)
        self._torch_device = device
        self._module = _within_memory(
            f"its weights do not fit on {device}", lambda: module.requires_grad_(False).eval().to(device)
        )
        self.memory_bytes = sum(
            tensor.numel() * tensor.element_size() for tensor in (*self._module.parameters(), *self._module.buffers())
        )

    def run(self, x: FloatArray) -> FloatArray:
        """Return the outputs [B, O] for rows [B, *row shape]. Raises like `Runner.run`."""
        return _within_memory(f"not enough memory for {len(x)} rows on {self.device}", lambda: self._run(x))

    def _run(self, x: FloatArray) -> FloatArray:
        if not (x.flags.c_contiguous and x.flags.writeable):
            x = np.array(x, order="C")  # torch does not take negative strides, and warns about read-only memory
        with torch.inference_mode():
            out: object = self._module(torch.from_numpy(x).to(self._torch_device))
            if not isinstance(out, Tensor):
                raise ModelError(f"returned {type(out).__name__} instead of a tensor", kind="output_shape")
            out_BO: FloatArray = out.to("cpu", torch.float32).numpy()
            return out_BO


def _within_memory(problem: str, run: Callable[[], _Result]) -> _Result:
    try:
        return run()
    except (RuntimeError, MemoryError) as error:
        if not _is_out_of_memory(error):
            raise
        reason = _first_line(error)
    # Raised here and not above: there the torch error would become its context and keep alive the frames, and so the
    # tensors, that filled the memory, while a smaller batch is tried.
    raise ModelError(f"{problem}: {reason}", kind="out_of_memory")


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(sign in str(error) for sign in _OUT_OF_MEMORY)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
