"""Choose the device that a model runs on."""

from __future__ import annotations

import re

import torch

from forebay.schemas.errors import ModelError

_ALLOWED = "auto, cpu, cuda, cuda:N or mps"


def resolve_device(text: str) -> torch.device:
    """Return the device that a setting names: "auto", "cpu", "cuda", "cuda:N" or "mps".

    "auto" is the first CUDA device, else Apple's, else the CPU. Raises ModelError(kind="device") if the name is unknown or
    the device is not available.
    """
    if text == "auto":
        return torch.device(_best())
    if text == "cpu":
        return torch.device("cpu")
    if text == "mps":
        if not torch.backends.mps.is_available():
            raise _unavailable(text, "torch finds no Apple GPU")
        return torch.device("mps")
    match = re.fullmatch(r"cuda(?::([0-9]{1,3}))?", text)
    if match is None:
        raise ModelError(
            f"device is {text!r}; allowed is {_ALLOWED}", kind="device", remedy=f"set device to {_ALLOWED}"
        )
    if not torch.cuda.is_available():
        reason = "torch was built without CUDA" if torch.version.cuda is None else "torch finds no CUDA device"
        raise _unavailable(text, reason)
    index, count = int(match[1] or 0), torch.cuda.device_count()
    if index >= count:
        raise _unavailable(text, f"there are {count} CUDA devices, numbered from 0")
    return torch.device("cuda", index)


def limit_threads(threads: int) -> None:
    """Set the number of CPU threads that one call of a model may use in this process."""
    torch.set_num_threads(threads)


def reserved_bytes() -> int:
    """Return how much memory torch holds on all CUDA devices, in use or cached."""
    return sum(torch.cuda.memory_reserved(index) for index in range(torch.cuda.device_count()))


def _best() -> str:
    if torch.cuda.is_available():
        return "cuda:0"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _unavailable(text: str, reason: str) -> ModelError:
    return ModelError(
        f"device {text!r} is not available: {reason}",
        kind="device",
        remedy='set device to "cpu", or to "auto" for the best available device',
    )
