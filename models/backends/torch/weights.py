"""Write and read a net's weights as safetensors, with checks on both sides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import safetensors
import safetensors.torch
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from forebay.models.artefacts.storage import COPY_AGAIN
from forebay.models.backends.torch.architectures import Net
from forebay.schemas.errors import ModelError

_MAX_LISTED: Final = 10


def dump_weights(name: str, net: Net, max_bytes: int) -> bytes:
    """Return the weights of `net` as the bytes of a file. Raises ModelError for weights that cannot be stored.

    Weights that share memory are stored once for each name and are separate in the loaded net.
    """
    state = net.state_dict()
    for key, value in state.items():
        if not _is_storable(value) or value.dtype != torch.float32 or not bool(torch.isfinite(value).all()):
            raise ModelError(
                f"model {name!r}: the weights {key} are not all finite float32",
                kind="weights",
                remedy="train again with a lower learning rate, and publish a float32 net",
            )
    return _dump(name, state, max_bytes)


def dump_state(name: str, state: Mapping[str, object], max_bytes: int) -> bytes:
    """Return the state of a module of the user's own, parameters and buffers of any type, as the bytes of a file.

    Raises ModelError for a state that cannot be stored.
    """
    tensors: dict[str, torch.Tensor] = {}
    for key, value in state.items():
        if not isinstance(value, torch.Tensor) or not _is_storable(value):
            raise ModelError(
                f"model {name!r}: the state {key} is not a dense tensor with values ({type(value).__name__})",
                kind="weights",
                remedy="run the module once to initialise lazy parameters, and keep other things than dense tensors out of "
                "its state",
            )
        if not bool(torch.isfinite(value).all()):
            raise ModelError(
                f"model {name!r}: the weights {key} are not all finite",
                kind="weights",
                remedy="train again with a lower learning rate; register a mask with infinite values with persistent=False",
            )
        tensors[key] = value
    return _dump(name, tensors, max_bytes)


def load_weights(net: Net, data: bytes, file: str) -> Net:
    """Load the weights in `data` into the outline `net`; return it in evaluation mode. Raises ModelError that names `file`."""
    net.load_state_dict(_read(net.state_dict(), data, file, f"the {net.architecture}"), assign=True)
    return net.requires_grad_(False).eval()


def load_state(module: nn.Module, data: bytes, file: str) -> None:
    """Copy the state in `data` into a module of the user's own. Raises ModelError that names `file`."""
    wanted: dict[str, object] = module.state_dict()
    tensors = {key: value for key, value in wanted.items() if isinstance(value, torch.Tensor) and _is_storable(value)}
    if len(tensors) < len(wanted):
        unusable = next(key for key in wanted if key not in tensors)
        raise ModelError(
            f"{file}: the state {unusable} of the module is not a dense tensor with values",
            kind="weights",
            remedy="give the constructor the sizes of all layers, and publish the model again",
        )
    # Copied, so that weights that the module shares stay shared.
    module.load_state_dict(_read(tensors, data, file, f"the class {type(module).__name__}"))


def _dump(name: str, state: Mapping[str, torch.Tensor], max_bytes: int) -> bytes:
    tensors: dict[str, torch.Tensor] = {}
    storages: set[int] = set()
    for key, value in state.items():
        tensor = value.detach().to("cpu").contiguous()
        if tensor.untyped_storage().data_ptr() in storages:
            tensor = tensor.clone()
        storages.add(tensor.untyped_storage().data_ptr())
        tensors[key] = tensor
    num_bytes = sum(tensor.nbytes for tensor in tensors.values())
    data = safetensors.torch.save(tensors) if num_bytes <= max_bytes else b""
    if max(num_bytes, len(data)) > max_bytes:
        raise ModelError(
            f"model {name!r}: the weights have {max(num_bytes, len(data))} bytes; allowed are at most {max_bytes}",
            kind="too_large",
            remedy="publish a smaller model",
        )
    return data


def _read(wanted: Mapping[str, torch.Tensor], data: bytes, file: str, owner: str) -> dict[str, torch.Tensor]:
    """Return the tensors in `data`, which have the names, shapes and types of the wanted ones and are finite."""
    try:
        tensors: dict[str, torch.Tensor] = safetensors.torch.load(data)
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{file}: this is not a safetensors file: {error}", kind="weights", remedy=COPY_AGAIN
        ) from None
    problems = [f"{key} is missing" for key in wanted if key not in tensors]
    problems += [f"{key} is not expected" for key in tensors if key not in wanted]
    problems += [
        f"{key} is {_described(tensors[key])} instead of {_described(value)}"
        for key, value in wanted.items()
        if key in tensors and (tensors[key].shape != value.shape or tensors[key].dtype != value.dtype)
    ]
    if problems:
        raise ModelError(
            f"{file}: the weights are not those of {owner} in manifest.json: "
            + "; ".join(problems[:_MAX_LISTED])
            + (f"; and {len(problems) - _MAX_LISTED} more" if len(problems) > _MAX_LISTED else ""),
            kind="weights",
            remedy="publish the model again, with the parameters that it was trained with",
        )
    if not_finite := [key for key, value in tensors.items() if not bool(torch.isfinite(value).all())]:
        raise ModelError(
            f"{file}: the weights {not_finite[0]} are not all finite, so no prediction would be finite",
            kind="weights",
            remedy="train again with a lower learning rate, and publish the model again",
        )
    return tensors


def _is_storable(value: object) -> bool:
    return (
        isinstance(value, torch.Tensor)
        and not is_lazy(value)
        and value.layout == torch.strided
        and not value.is_meta
        and not value.is_quantized
    )


def _described(tensor: torch.Tensor) -> str:
    return f"{tensor.dtype} {list(tensor.shape)}"
