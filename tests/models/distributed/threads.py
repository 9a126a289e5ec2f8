"""Ranks as threads of one process, for tests of what runs above a transport."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
TIMEOUT_S = 60.0


class ThreadTransport:
    """Connects ranks that are threads."""

    def __init__(self, rank: int, shared: list[Tensor | None], barrier: threading.Barrier) -> None:
        self.rank = rank
        self.members = tuple(range(len(shared)))
        self.sent_bytes = 0
        self._shared = shared
        self._barrier = barrier

    def reduce(self, buffer: Tensor) -> None:
        parts = self._all(buffer)
        self.sent_bytes += buffer.nbytes
        buffer.copy_(torch.stack(parts).sum(0))

    def gather(self, payload: Tensor) -> list[Tensor]:
        assert payload.dtype == torch.uint8 and payload.dim() == 1
        parts = self._all(payload)
        assert len({len(part) for part in parts}) == 1
        self.sent_bytes += payload.nbytes
        return parts

    def collect(self, payload: Tensor) -> list[Tensor]:
        parts = self.gather(payload)
        return parts if self.rank == 0 else []

    def close(self) -> None: ...

    def _all(self, tensor: Tensor) -> list[Tensor]:
        self._shared[self.rank] = tensor.clone()
        self._barrier.wait(TIMEOUT_S)
        parts = [part for part in self._shared if part is not None]
        self._barrier.wait(TIMEOUT_S)
        return parts


def on_ranks(count: int, run: Callable[[ThreadTransport], T]) -> list[T]:
    """Call a function on each rank, and return the results in the ranks' order."""
    shared: list[Tensor | None] = [None] * count
    barrier = threading.Barrier(count)

    def start(rank: int) -> T:
        try:
            return run(ThreadTransport(rank, shared, barrier))
        except BaseException:
            barrier.abort()
            raise

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(start, range(count)))
