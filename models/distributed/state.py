"""States as files: named tensors and JSON values in one safetensors file. Reading one runs no code.

safetensors keeps texts beside its tensors; the values are one of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import safetensors
import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from forebay.schemas.errors import ModelError

_VALUES: Final = "values"
_HEADER_BYTES: Final = 8  # the length of safetensors' JSON header


@dataclass(frozen=True, slots=True)
class State:
    """Named tensors, and values that JSON can represent."""

    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    values: Mapping[str, object] = field(default_factory=dict)

    def part(self, prefix: str) -> State:
        """Return what was merged under a prefix."""
        return State(
            {name.removeprefix(prefix): tensor for name, tensor in self.tensors.items() if name.startswith(prefix)},
            {name.removeprefix(prefix): value for name, value in self.values.items() if name.startswith(prefix)},
        )


def merge(parts: Mapping[str, State]) -> State:
    """Return one state of several, each under its prefix."""
    return State(
        {prefix + name: tensor for prefix, part in parts.items() for name, tensor in part.tensors.items()},
        {prefix + name: value for prefix, part in parts.items() for name, value in part.values.items()},
    )


def to_bytes(state: State) -> bytes:
    """Return the state as the content of a file. Floats that JSON lacks (infinity, NaN) raise ValueError."""
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.tensors.items()}
    values = json.dumps(dict(state.values), allow_nan=False, sort_keys=True)
    return safetensors.torch.save(tensors, metadata={_VALUES: values})


def from_bytes(data: bytes, name: str) -> State:
    """Return the state in a file's content. Raises ModelError that names the file."""
    try:
        tensors = safetensors.torch.load(data)
        length = int.from_bytes(data[:_HEADER_BYTES], "little")
        header = json.loads(data[_HEADER_BYTES : _HEADER_BYTES + length])
        values = json.loads(header["__metadata__"][_VALUES])
        if not isinstance(values, dict):
            raise ValueError("its values are not an object")
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{name}: this is not a state of a training: {error}", kind="checkpoint", remedy="use an older checkpoint"
        ) from error
    return State(tensors, values)
