"""Several observers in the place of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from forebay.stream.core.records import BatchResult, Chunk, MicroBatch, TopicPartition, WindowStatus
from forebay.stream.output.ledger import Ledger
from forebay.stream.pipeline.observer import CommitTimes, Observer


class CompositeObserver:
    """An `Observer` that tells each of them, in their order."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def polled(self, chunks: Sequence[Chunk], *, began_s: float, received_s: float) -> None:
        for each in self._observers:
            each.polled(chunks, began_s=began_s, received_s=received_s)

    def closed(self, batch: MicroBatch) -> None:
        for each in self._observers:
            each.closed(batch)

    def finished(self, finished: BatchResult) -> None:
        for each in self._observers:
            each.finished(finished)

    def committing(self, batches: Sequence[BatchResult]) -> None:
        for each in self._observers:
            each.committing(batches)

    def delta_headers(self, batches: Sequence[BatchResult]) -> list[tuple[str, bytes]]:
        return [header for each in self._observers for header in each.delta_headers(batches)]

    def committed(self, batches: Sequence[BatchResult], ledger: Ledger, times: CommitTimes) -> None:
        for each in self._observers:
            each.committed(batches, ledger, times)

    def commit_failed(self, batches: Sequence[BatchResult], error: BaseException) -> None:
        for each in self._observers:
            each.commit_failed(batches, error)

    def purged(self) -> None:
        for each in self._observers:
            each.purged()

    def windows(self, statuses: Mapping[TopicPartition, WindowStatus]) -> None:
        for each in self._observers:
            each.windows(statuses)
