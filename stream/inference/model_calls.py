"""Calls of a model with micro-batches, on the thread that owns the device."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Protocol

from forebay.stream.core.clock import Clock
from forebay.stream.core.records import BatchResult, MicroBatch
from forebay.stream.inference.batch_runner import BatchRunner, Call
from forebay.stream.inference.executor import Deferred


class ModelCalls(Protocol):
    """Runs micro-batches in the order in which they begin.

    depth: the number of micro-batches that may have begun and not been finished.
    """

    @property
    def depth(self) -> int: ...

    def warm_up(self, batch_sizes: Sequence[int]) -> None:
        """Warm up the model. Raises the error of the model."""

    def begin(self, batch: MicroBatch) -> None:
        """Begin a micro-batch. At most `depth` may be unfinished."""

    def finish(self) -> BatchResult | Deferred:
        """Return the result of the oldest unfinished micro-batch. Raises only what ends the worker."""


class SerialCalls:
    """Runs one micro-batch after the other. Implements `ModelCalls`."""

    depth = 1

    def __init__(self, runner: BatchRunner, clock: Clock) -> None:
        self._runner = runner
        self._clock = clock
        self._begun: deque[Call] = deque()

    def warm_up(self, batch_sizes: Sequence[int]) -> None:
        """Warm up the model. Raises the error of the model."""
        self._runner.warm_up(batch_sizes)

    def begin(self, batch: MicroBatch) -> None:
        """Take a micro-batch, which `finish` runs."""
        self._begun.append(Call(batch, self._clock.monotonic_s(), self._clock.wall_ms()))

    def finish(self) -> BatchResult | Deferred:
        """Run the micro-batch."""
        return self._runner.run_call(self._begun.popleft())
