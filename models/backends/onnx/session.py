"""Create sessions of ONNX Runtime and run them.

Shapes: B rows, O outputs.
"""

from __future__ import annotations

import re
from typing import Any, Final

import numpy as np
import onnxruntime

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.backends.protocol import RunOptions
from forebay.schemas.errors import ModelError

MAX_ARENA_BYTES: Final = 4 * 1024**3
"""What all ONNX models of a process may allocate together, for weights and values."""

_ALLOWED: Final = "auto, cpu, cuda or cuda:N"
_CUDA: Final = "CUDAExecutionProvider"
_CPU: Final = "CPUExecutionProvider"
_FATAL: Final = 4  # the least detailed level of its log: errors are raised anyway
_GROW_AS_REQUESTED: Final = 1  # the default doubles the memory with each step
# Parts of ONNX Runtime's messages when memory runs out: from its arena, C++, and CUDA.
_OUT_OF_MEMORY: Final = (
    "Available memory of",
    "bad_alloc",
    "bad allocation",
    "Failed to allocate memory",
    "out of memory",
)


class OnnxRunner:
    """A session with the names of its input and of the output that is used. Implements `Runner`."""

    def __init__(self, session: Any, device: str, *, input_name: str, output_name: str) -> None:
        self.device = device
        self._session = session
        self._input_name = input_name
        self._output_names = [output_name]

    def run(self, x: FloatArray) -> FloatArray:
        """Return the outputs [B, O] for rows [B, *row shape]. Raises like `Runner.run`."""
        try:
            (out,) = self._session.run(self._output_names, {self._input_name: x})
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            reason = first_line(error)
        else:
            if isinstance(out, np.ndarray) and out.dtype == np.float32:
                return out
            found = out.dtype if isinstance(out, np.ndarray) else type(out).__name__
            raise ModelError(f"returned {found} instead of float32", kind="output_shape")
        raise ModelError(f"not enough memory for {len(x)} rows on {self.device}: {reason}", kind="out_of_memory")


def create_session(data: bytes, options: RunOptions) -> tuple[Any, str]:
    """Return a session for an ONNX file, and the device that it runs on.

    Raises ModelError(kind="device") if the device is not available; ONNX Runtime's exceptions for what it refuses.
    """
    providers, device = _find_providers(options.device)
    _limit_memory()
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.inter_op_num_threads = 1
    settings.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    settings.log_severity_level = _FATAL
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    settings.add_session_config_entry("session.use_env_allocators", "1")
    settings.add_session_config_entry("session.load_model_format", "ONNX")
    session = onnxruntime.InferenceSession(
        data,
        settings,
        providers=providers,
        # It allocates outside the limited arena while the session is created. Exporters fold constants anyway.
        disabled_optimizers=["ConstantFolding"],
    )
    if device != "cpu" and session.get_providers()[0] != _CUDA:
        raise _unavailable(device, "ONNX Runtime cannot use it and would run on the CPU")
    return session, device


def is_out_of_memory(error: Exception) -> bool:
    """Return whether ONNX Runtime raised the exception because memory ran out."""
    return isinstance(error, MemoryError) or any(sign in str(error) for sign in _OUT_OF_MEMORY)


def first_line(error: Exception) -> str:
    """Return the start of an exception's message."""
    return str(error).strip().partition("\n")[0][:500] or type(error).__name__


def _find_providers(text: str) -> tuple[list[Any], str]:
    if text in ("auto", "cpu"):
        return [_CPU], "cpu"
    match = re.fullmatch(r"cuda(?::([0-9]{1,3}))?", text)
    if match is None:
        raise ModelError(
            f"device is {text!r}; the backend onnx has {_ALLOWED}", kind="device", remedy=f"set device to {_ALLOWED}"
        )
    if _CUDA not in onnxruntime.get_available_providers():
        raise _unavailable(text, "this onnxruntime was built without CUDA (the package onnxruntime-gpu has it)")
    index = int(match[1] or 0)
    return [(_CUDA, {"device_id": index}), _CPU], f"cuda:{index}"


def _limit_memory() -> None:
    """Register the arena that all sessions of this process share. ONNX Runtime keeps the first one."""
    info = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    limits = {"max_mem": MAX_ARENA_BYTES, "arena_extend_strategy": _GROW_AS_REQUESTED}
    onnxruntime.create_and_register_allocator(info, onnxruntime.OrtArenaCfg(limits))


def _unavailable(text: str, reason: str) -> ModelError:
    return ModelError(
        f"device {text!r} is not available: {reason}", kind="device", remedy='set device to "cpu" or "auto"'
    )
