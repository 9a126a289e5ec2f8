"""Write and read a net's weights as safetensors, with checks on both sides."""

from __future__ import annotations

from typing import Final

import safetensors
import safetensors.torch
import torch

from forebay.models.artefacts.storage import COPY_AGAIN
from forebay.models.backends.torch.architectures import Net
from forebay.schemas.errors import ModelError

_MAX_LISTED: Final = 10


def dump_weights(name: str, net: Net, max_bytes: int) -> bytes:
    """Return the weights of `net` as the bytes of a file. Raises ModelError for weights that cannot be stored.

    Weights that share memory are stored once for each name and are separate in the loaded net.
    """
    tensors: dict[str, torch.Tensor] = {}
    storages: set[int] = set()
    for key, value in net.state_dict().items():
        if not _is_plain(value) or not bool(torch.isfinite(value).all()):
            raise ModelError(
                f"model {name!r}: the weights {key} are not all finite float32",
                kind="weights",
                remedy="train again with a lower learning rate, and publish a float32 net",
            )
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


def load_weights(net: Net, data: bytes, file: str) -> Net:
    """Load the weights in `data` into the outline `net`; return it in evaluation mode. Raises ModelError that names `file`."""
    try:
        tensors = safetensors.torch.load(data)
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{file}: this is not a safetensors file: {error}", kind="weights", remedy=COPY_AGAIN
        ) from None
    wanted = net.state_dict()
    problems = [f"{key} is missing" for key in wanted if key not in tensors]
    problems += [f"{key} is not expected" for key in tensors if key not in wanted]
    problems += [
        f"{key} is {_described(tensors[key])} instead of {_described(value)}"
        for key, value in wanted.items()
        if key in tensors and (tensors[key].shape != value.shape or tensors[key].dtype != value.dtype)
    ]
    if problems:
        raise ModelError(
            f"{file}: the weights are not those of the {net.architecture} in manifest.json: "
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
    net.load_state_dict(tensors, assign=True)
    return net.requires_grad_(False).eval()


def _is_plain(value: object) -> bool:
    return (
        isinstance(value, torch.Tensor)
        and value.dtype == torch.float32
        and value.layout == torch.strided
        and not value.is_meta
    )


def _described(tensor: torch.Tensor) -> str:
    return f"{tensor.dtype} {list(tensor.shape)}"
