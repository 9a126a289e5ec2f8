"""The observer protocol: calls that the stages make about their work, once per poll, micro-batch or commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple, Protocol

from forebay.stream.core.records import BatchResult, Chunk, MicroBatch, TopicPartition, WindowStatus
from forebay.stream.output.ledger import Ledger


class CommitTimes(NamedTuple):
    """End times of the steps of one commit, in monotonic seconds. began: start time, before its records were built."""

    began: float
    emit: float
    begin: float
    deliveries: float
    positions: float
    end: float

    def durations_s(self) -> dict[str, float]:
        """Return how long each step took, by name."""
        return {step: after - before for step, (before, after) in zip(self._fields[1:], pairwise(self), strict=True)}


class Observer(Protocol):
    """Receives calls on the event loop. Times are monotonic seconds. Calls must not raise or block."""

    def on_polled(self, chunks: Sequence[Chunk], *, began_s: float, received_s: float) -> None:
        """Observe the records of a poll, now decoded. The poll began at `began_s` and returned at `received_s`."""

    def on_batch_closed(self, batch: MicroBatch) -> None:
        """Observe that a micro-batch was closed."""

    def on_result(self, result: BatchResult) -> None:
        """Observe the model's result for a micro-batch."""

    def on_commit_started(self, batches: Sequence[BatchResult]) -> None:
        """Observe that a commit begins. Later log lines of the current task and its child tasks belong to it."""

    def delta_headers(self, batches: Sequence[BatchResult]) -> list[tuple[str, bytes]]:
        """Return the headers that the outcome deltas of these micro-batches carry, such as a trace context."""

    def on_committed(self, batches: Sequence[BatchResult], ledger: Ledger, times: CommitTimes) -> None:
        """Observe a successful commit. Its outcomes count from now on."""

    def on_commit_failed(self, batches: Sequence[BatchResult], error: BaseException) -> None:
        """Observe a failed commit. A rewind follows, unless the commit was cancelled at a rebalance or the worker stops."""

    def on_purged(self) -> None:
        """Observe that everything in flight was dropped. It will be read again."""

    def on_window_status(self, statuses: Mapping[TopicPartition, WindowStatus]) -> None:
        """Observe the status of the event-time windows of all partitions, twice per second."""


class NullObserver:
    """An observer that ignores all calls."""

    def on_polled(self, chunks: Sequence[Chunk], *, began_s: float, received_s: float) -> None:
        pass

    def on_batch_closed(self, batch: MicroBatch) -> None:
        pass

    def on_result(self, result: BatchResult) -> None:
        pass

    def on_commit_started(self, batches: Sequence[BatchResult]) -> None:
        pass

    def delta_headers(self, batches: Sequence[BatchResult]) -> list[tuple[str, bytes]]:
        return []

    def on_committed(self, batches: Sequence[BatchResult], ledger: Ledger, times: CommitTimes) -> None:
        pass

    def on_commit_failed(self, batches: Sequence[BatchResult], error: BaseException) -> None:
        pass

    def on_purged(self) -> None:
        pass

    def on_window_status(self, statuses: Mapping[TopicPartition, WindowStatus]) -> None:
        pass
