"""The executor protocol: what runs the micro-batches of one model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from forebay.stream.core.records import BatchResult, MicroBatch


class Deferred(NamedTuple):
    """A micro-batch that the model could not run on, for reasons other than its data. It must be submitted again."""

    batch: MicroBatch
    reason: str


class Executor(Protocol):
    """Runs the micro-batches of one model. All methods are for the event loop's thread.

    `submit` accepts micro-batches while there is `capacity` and never calls back; `collect` returns the results that have
    arrived, in the order of `submit`; `wait` returns when there may be some. So the caller drives it in one flat loop.
    """

    async def start(self, warm_up_sizes: Sequence[int]) -> None:
        """Warm up the model. Raises the error of the model."""

    def capacity(self) -> int:
        """Return how many micro-batches `submit` accepts now."""

    def submit(self, batch: MicroBatch) -> None:
        """Submit a micro-batch. Requires `capacity`."""

    def collect(self) -> list[BatchResult | Deferred]:
        """Return the results that have arrived."""

    async def wait(self, timeout_s: float | None = None) -> None:
        """Wait until there may be results, `wake` is called, or the timeout is over."""

    def wake(self) -> None:
        """End a `wait`."""

    def running_for_s(self) -> float:
        """Return how many seconds the current model call has been running; 0 if there is none."""

    async def submit_ad_hoc(self, batch: MicroBatch) -> BatchResult:
        """Run a micro-batch that is not part of the stream, behind those already submitted.

        Raises ModelFault if the model cannot run.
        """

    def stop(self) -> None:
        """End the executor after its current work, without waiting for it."""
