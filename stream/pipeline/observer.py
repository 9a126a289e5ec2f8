"""What the stages tell about their work, once a poll, a batch or a commit: plain calls, whoever listens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple, Protocol

from forebay.stream.core.records import BatchResult, Chunk, MicroBatch, TopicPartition, WindowStatus
from forebay.stream.output.ledger import Ledger


class CommitTimes(NamedTuple):
    """When the steps of one commit were over, in monotonic seconds; `began`: before its records were built."""

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
    """Called on the event loop. Times are monotonic seconds. No call may raise, and none may wait."""

    def on_polled(self, chunks: Sequence[Chunk], *, began_s: float, received_s: float) -> None:
        """A poll brought records: it began at began_s, returned at received_s, and now they are decoded."""

    def on_batch_closed(self, batch: MicroBatch) -> None:
        """The window has closed a micro-batch."""

    def on_result(self, result: BatchResult) -> None:
        """The model has answered."""

    def on_commit_started(self, batches: Sequence[BatchResult]) -> None:
        """A commit begins. What the running task, and those that it starts, log from now on belongs to it."""

    def delta_headers(self, batches: Sequence[BatchResult]) -> list[tuple[str, bytes]]:
        """What the deltas of these batches carry, for whoever goes on from them."""

    def on_committed(self, batches: Sequence[BatchResult], ledger: Ledger, times: CommitTimes) -> None:
        """A commit has succeeded: these outcomes count."""

    def on_commit_failed(self, batches: Sequence[BatchResult], error: BaseException) -> None:
        """A commit has not, and a rewind follows."""

    def on_purged(self) -> None:
        """What is in flight is forgotten; it will be read again."""

    def on_window_status(self, statuses: Mapping[TopicPartition, WindowStatus]) -> None:
        """How the windows over event time stand, of all partitions; twice a second."""


class NullObserver:
    """An observer that looks away."""

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
