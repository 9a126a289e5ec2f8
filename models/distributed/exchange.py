"""The exchange of gradients that the training loop calls between `backward` and the optimiser's step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import nn

from forebay.models.distributed.buckets import Buckets
from forebay.models.distributed.compression.compression import Compression
from forebay.models.distributed.state import State
from forebay.models.distributed.transport import Transport

_MIB: Final = 1024 * 1024


class RankExchange:
    """Averages the gradients of all ranks.

    bucket_mb: size of the buffers that are sent, in MiB.
    """

    def __init__(self, transport: Transport, compression: Compression, bucket_mb: float = 25.0) -> None:
        self.transport = transport
        self.compression = compression
        self._max_bytes = int(bucket_mb * _MIB)
        self._buckets: Buckets | None = None

    @property
    def rank(self) -> int:
        """This process's place among the ranks that take part."""
        return self.transport.members.index(self.transport.rank)

    @property
    def world_size(self) -> int:
        """How many ranks take part."""
        return len(self.transport.members)

    def exchange(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace each gradient by its mean over all ranks. The parameters must be the same ones at each call."""
        if self._buckets is None:
            self._buckets = Buckets(parameters, self._max_bytes)
        self._buckets.load()
        self.compression.average(self._buckets.buckets, self.transport)
        self._buckets.store()

    def total(self, value: float) -> float:
        """Return the sum of a number over all ranks, the same on each."""
        buffer = torch.tensor([value], dtype=torch.float64)
        self.transport.reduce(buffer)
        return float(buffer)

    def state(self) -> State:
        """Return the state of the compression, which belongs into every checkpoint."""
        return self.compression.state()

    def restore(self, state: State) -> None:
        """Continue from a state."""
        self.compression.restore(state)
