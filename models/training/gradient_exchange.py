"""What the training loop needs to share a batch with other processes, its ranks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import nn


class GradientExchange(Protocol):
    """Connects the ranks of one training. All ranks call the same methods in the same order.

    Each rank has the same weights and the same order of rows, and computes the gradients of its share of each batch.
    """

    @property
    def rank(self) -> int:
        """The number of this process, from 0."""
        ...

    @property
    def world_size(self) -> int:
        """The number of processes."""
        ...

    def exchange(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace each gradient by its mean over all ranks. Called after `backward` and before the optimiser's step."""
        ...

    def total(self, value: float) -> float:
        """Return the sum of a number over all ranks, the same on each."""
        ...


class SingleProcess:
    """The exchange of a training with one process, which has nothing to do."""

    rank = 0
    world_size = 1

    def exchange(self, parameters: Sequence[nn.Parameter]) -> None:
        """Leave the gradients as they are."""

    def total(self, value: float) -> float:
        """Return the number."""
        return value
