"""The compressions top_k and top_k_int8: only the largest values are sent; the others wait in the error feedback."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from forebay.models.distributed.buckets import Bucket
from forebay.models.distributed.compression.compression import ErrorFeedback, check_finite, check_names
from forebay.models.distributed.compression.quantised import dequantise, quantise
from forebay.models.distributed.state import State
from forebay.models.distributed.transport import Transport

_INDEX_BYTES: Final = 4


class Sparse:
    """Sends the fraction `density` of each bucket's values that is largest, with their places.

    What is not sent is added to the next step's gradient, so that nothing is lost, only late.

    is_quantised: whether the values are sent as int8 with one scale (then 5 bytes a value instead of 8).
    """

    def __init__(self, density: float, *, is_quantised: bool) -> None:
        self._density = density
        self._is_quantised = is_quantised
        self._feedback = ErrorFeedback()

    def average(self, buckets: Sequence[Bucket], transport: Transport) -> None:
        """Replace the buffers by their mean over all ranks."""
        for number, bucket in enumerate(buckets):
            check_finite(bucket.flat)
            corrected = self._feedback.corrected(number, bucket.flat)
            payload = self._encode(corrected)
            sent = torch.zeros_like(corrected)
            self._add(payload, sent)
            self._feedback.keep(number, corrected, sent)
            payloads = transport.gather(payload)
            bucket.flat.zero_()
            for other in payloads:
                self._add(other, bucket.flat)
            bucket.flat.div_(len(payloads))

    def _count(self, size: int) -> int:
        return min(size, max(1, round(size * self._density)))

    def _encode(self, values: Tensor) -> Tensor:
        places = values.abs().topk(self._count(values.numel()), sorted=False).indices
        largest = values[places]
        content = quantise(largest) if self._is_quantised else largest.float().view(torch.uint8)
        return torch.cat((places.int().view(torch.uint8), content))

    def _add(self, payload: Tensor, total: Tensor) -> None:
        end = self._count(total.numel()) * _INDEX_BYTES
        places = payload[:end].clone().view(torch.int32).long()
        content = payload[end:].clone()
        values = dequantise(content, total.dtype) if self._is_quantised else content.view(torch.float32).to(total.dtype)
        total[places] += values  # a payload has each place once

    def state(self) -> State:
        """Return the error feedback."""
        return self._feedback.state()

    def restore(self, state: State) -> None:
        """Continue from a state."""
        check_names(state, ("error.",))
        self._feedback.restore(state)
