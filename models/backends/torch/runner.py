"""Run a torch module on its device.

Shapes: B rows, O outputs.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.backends.torch.memory import within_memory
from forebay.schemas.errors import ModelError


class TorchRunner:
    """A module on its device, in evaluation mode. Implements `Runner`."""

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        """Move `module` to `device`; no other component may use it afterwards.

        Raises ModelError(kind="out_of_memory") if the device has not enough memory.
        """
        self.device = str(device)
        self._torch_device = device
        self._module = within_memory(
            f"its weights do not fit on {device}", lambda: module.requires_grad_(False).eval().to(device)
        )
        self.memory_bytes = sum(
            tensor.numel() * tensor.element_size() for tensor in (*self._module.parameters(), *self._module.buffers())
        )

    def run(self, x: FloatArray) -> FloatArray:
        """Return the outputs [B, O] for rows [B, *row shape]. Raises like `Runner.run`."""
        return within_memory(f"not enough memory for {len(x)} rows on {self.device}", lambda: self._run(x))

    def _run(self, x: FloatArray) -> FloatArray:
        if not (x.flags.c_contiguous and x.flags.writeable):
            x = np.array(x, order="C")  # torch does not take negative strides, and warns about read-only memory
        with torch.inference_mode():
            out: object = self._module(torch.from_numpy(x).to(self._torch_device))
            if not isinstance(out, Tensor):
                raise ModelError(f"returned {type(out).__name__} instead of a tensor", kind="output_shape")
            out_BO: FloatArray = out.to("cpu", torch.float32).numpy()
            return out_BO
