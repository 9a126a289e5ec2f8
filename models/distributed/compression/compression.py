"""What a compression does, and the two that need no state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from forebay.models.distributed.buckets import Bucket
from forebay.models.distributed.state import State
from forebay.models.distributed.transport import Transport
from forebay.schemas.errors import ModelError


class Compression(Protocol):
    """Averages gradients over all ranks, sending fewer bytes. All ranks end with the same bits."""

    def average(self, buckets: Sequence[Bucket], transport: Transport) -> None:
        """Replace the buffers by their mean over all ranks."""
        ...

    def state(self) -> State:
        """Return what the next step depends on."""
        ...

    def restore(self, state: State) -> None:
        """Continue from a state."""
        ...


class NoCompression:
    """Sends the gradients as they are."""

    def average(self, buckets: Sequence[Bucket], transport: Transport) -> None:
        """Replace the buffers by their mean over all ranks."""
        for bucket in buckets:
            transport.reduce(bucket.flat)
            bucket.flat.div_(len(transport.members))

    def state(self) -> State:
        """Return an empty state."""
        return State()

    def restore(self, state: State) -> None:
        """Check that the state is empty."""
        check_names(state, ())


class HalfPrecision(NoCompression):
    """Sends float16 values: half or a quarter of the bytes, at a relative error of 0.0005.

    The gradients are divided by the number of ranks first, so that their sum does not overflow; finite values beyond
    ±65,504 are clipped.
    """

    def average(self, buckets: Sequence[Bucket], transport: Transport) -> None:
        """Replace the buffers by their mean over all ranks."""
        limit = torch.finfo(torch.float16).max
        for bucket in buckets:
            check_finite(bucket.flat)
            small = (bucket.flat / len(transport.members)).clamp_(-limit, limit).half()
            transport.reduce(small)
            bucket.flat.copy_(small)


class ErrorFeedback:
    """What the last step did not send, for each bucket; it is added to the gradients of the next step."""

    def __init__(self) -> None:
        self._errors: dict[int, Tensor] = {}

    def corrected(self, number: int, gradient: Tensor) -> Tensor:
        """Return the gradient plus the error of the last step."""
        error = self._errors.get(number)
        return gradient.clone() if error is None else gradient + error

    def keep(self, number: int, corrected: Tensor, sent: Tensor) -> None:
        """Keep the difference for the next step."""
        self._errors[number] = corrected - sent

    def state(self) -> State:
        """Return the errors."""
        return State({f"error.{number}": error for number, error in self._errors.items()})

    def restore(self, state: State) -> None:
        """Continue with the errors of a state."""
        self._errors = {int(name.removeprefix("error.")): error.clone() for name, error in state.tensors.items()}


def check_finite(gradient: Tensor) -> None:
    """Raise ModelError if a gradient is infinite or not a number: compressed, that would look like a number."""
    if not torch.isfinite(gradient).all():
        raise ModelError(
            "the training diverged: a gradient is not finite",
            kind="diverged",
            remedy="lower the learning rate, set gradient_clip, or scale the features and the label",
        )


def check_names(state: State, prefixes: tuple[str, ...]) -> None:
    """Raise ModelError if the state has something that does not belong to this compression."""
    foreign = [name for name in (*state.tensors, *state.values) if not name.startswith(prefixes or ("\0",))]
    if foreign:
        raise ModelError(
            f"the checkpoint has the state {foreign[0]!r} of another compression",
            kind="checkpoint",
            remedy="continue with the compression that it was saved with, or choose another folder for the checkpoints",
        )
