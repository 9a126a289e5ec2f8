"""The compression int8: one byte a value and one scale a bucket, with error feedback."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from forebay.models.distributed.buckets import Bucket
from forebay.models.distributed.compression.compression import ErrorFeedback, check_finite, check_names
from forebay.models.distributed.state import State
from forebay.models.distributed.transport import Transport

_LEVELS: Final = 127
_SCALE_BYTES: Final = 4


class Quantised:
    """Sends each value as a whole number from -127 to 127 times a scale, the bucket's largest value / 127.

    Numbers of different scales cannot be added up, so that each rank gets the bytes of all others: with more than about four
    ranks this sends more than float16 through a ring.
    """

    def __init__(self) -> None:
        self._feedback = ErrorFeedback()

    def average(self, buckets: Sequence[Bucket], transport: Transport) -> None:
        """Replace the buffers by their mean over all ranks."""
        for number, bucket in enumerate(buckets):
            check_finite(bucket.flat)
            corrected = self._feedback.corrected(number, bucket.flat)
            payload = quantise(corrected)
            self._feedback.keep(number, corrected, dequantise(payload, corrected.dtype))
            payloads = transport.gather(payload)
            bucket.flat.zero_()
            for other in payloads:
                bucket.flat.add_(dequantise(other, bucket.flat.dtype))
            bucket.flat.div_(len(payloads))

    def state(self) -> State:
        """Return the error feedback."""
        return self._feedback.state()

    def restore(self, state: State) -> None:
        """Continue from a state."""
        check_names(state, ("error.",))
        self._feedback.restore(state)


def quantise(values: Tensor) -> Tensor:
    """Return the bytes of the scale and of the rounded values."""
    scale = (values.abs().max().float() / _LEVELS).clamp_(min=torch.finfo(torch.float32).tiny)
    whole = (values / scale).round_().clamp_(-_LEVELS, _LEVELS).to(torch.int8)
    return torch.cat((scale.reshape(1).view(torch.uint8), whole.view(torch.uint8)))


def dequantise(payload: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the values in a payload of `quantise`."""
    scale = payload[:_SCALE_BYTES].clone().view(torch.float32)
    return payload[_SCALE_BYTES:].view(torch.int8).to(dtype) * scale.to(dtype)
