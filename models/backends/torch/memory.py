"""Recognise when torch has run out of memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import torch

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


def within_memory(problem: str, run: Callable[[], _Result]) -> _Result:
    """Run a function; raise ModelError(kind="out_of_memory") if it has not enough memory. problem: the start of the message."""
    try:
        return run()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        reason = _first_line(error)
    # Raised here and not above: there the torch error would become its context and keep alive the frames, and so the
    # tensors, that filled the memory, while a smaller batch is tried.
    raise ModelError(f"{problem}: {reason}", kind="out_of_memory")


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error of torch means that memory has run out."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(sign in str(error) for sign in _OUT_OF_MEMORY)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
