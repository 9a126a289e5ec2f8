"""Gradients in a few large buffers, because many small messages are slow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from forebay.schemas.errors import ModelError


@dataclass(frozen=True, slots=True, eq=False)
class Bucket:
    """One buffer. flat: the values of some gradients, one after the other. gradients: views of them in their shapes."""

    flat: Tensor
    gradients: tuple[Tensor, ...]


class Buckets:
    """The gradients of a net in buffers of limited size, each of one element type.

    A gradient is never divided: one that is larger than the limit has a buffer of its own.

    max_bytes: the limit.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], max_bytes: int) -> None:
        self._parameters = tuple(parameters)
        groups: list[list[nn.Parameter]] = []
        for parameter in self._parameters:
            last = groups[-1] if groups else []
            used = sum(other.nbytes for other in last)
            if not last or used + parameter.nbytes > max_bytes or last[0].dtype != parameter.dtype:
                groups.append([parameter])
            else:
                last.append(parameter)
        self.buckets = tuple(map(_bucket, groups))
        self._gradients = [gradient for bucket in self.buckets for gradient in bucket.gradients]

    @property
    def num_bytes(self) -> int:
        """The size of all gradients."""
        return sum(bucket.flat.nbytes for bucket in self.buckets)

    def load(self) -> None:
        """Copy the parameters' gradients into the buffers.

        Raises ModelError for a parameter without a gradient: whether one has a gradient may differ among the ranks.
        """
        for number, (parameter, gradient) in enumerate(zip(self._parameters, self._gradients, strict=True)):
            if parameter.grad is None:
                raise ModelError(
                    f"parameter {number} {list(parameter.shape)} of the net has no gradient",
                    kind="params",
                    remedy="use every parameter in `forward`, or set requires_grad=False for it",
                )
            gradient.copy_(parameter.grad)

    def store(self) -> None:
        """Copy the buffers into the parameters' gradients."""
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            assert parameter.grad is not None
            parameter.grad.copy_(gradient)


def _bucket(parameters: Sequence[nn.Parameter]) -> Bucket:
    first = parameters[0]
    flat = torch.zeros(sum(parameter.numel() for parameter in parameters), dtype=first.dtype, device=first.device)
    parts = torch.split(flat, [parameter.numel() for parameter in parameters])
    return Bucket(flat, tuple(part.view(parameter.shape) for part, parameter in zip(parts, parameters, strict=True)))
