"""Choosing the device that a model runs on."""

from __future__ import annotations

import re

import torch

from forebay.schemas.errors import ModelError

_ALLOWED = "auto, cpu, cuda, cuda:N or mps"


def resolve_device(text: str) -> torch.device:
    """The device that `text` means: "auto", "cpu", "cuda", "cuda:N" or "mps".

    "auto" is the first CUDA device, else Apple's, else the CPU.
    Raises ModelError(kind="device") where the device is not known or not there.
    """
    if text == "auto":
        return torch.device(_best())
    if text == "cpu":
        return torch.device("cpu")
    if text == "mps":
        if not torch.backends.mps.is_available():
            raise _absent(text, "this torch sees no Apple GPU")
        return torch.device("mps")
    match = re.fullmatch(r"cuda(?::([0-9]{1,3}))?", text)
    if match is None:
        raise ModelError(
            f"device is {text!r}; allowed is {_ALLOWED}", kind="device", remedy=f"set device to {_ALLOWED}"
        )
    if not torch.cuda.is_available():
        why = "this torch was built without CUDA" if torch.version.cuda is None else "this torch sees no CUDA device"
        raise _absent(text, why)
    index, count = int(match[1] or 0), torch.cuda.device_count()
    if index >= count:
        raise _absent(text, f"there are {count} CUDA devices, numbered from 0")
    return torch.device("cuda", index)


def limit_threads(threads: int) -> None:
    """How many CPU threads one call of a model may use in this process."""
    torch.set_num_threads(threads)


def _best() -> str:
    if torch.cuda.is_available():
        return "cuda:0"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _absent(text: str, why: str) -> ModelError:
    return ModelError(
        f"device {text!r} is not there: {why}",
        kind="device",
        remedy='set device to "cpu", or to "auto" for what there is',
    )
