"""An observer that forwards to several observers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from forebay.stream.core.records import BatchResult, Chunk, MicroBatch, TopicPartition, WindowStatus
from forebay.stream.output.ledger import Ledger
from forebay.stream.pipeline.observer import CommitTimes, Observer


class CompositeObserver:
    """Forwards each call to several observers, in their order."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = list(observers)

    def add(self, observer: Observer) -> None:
        """Forward calls to another observer, after the others."""
        self._observers.append(observer)

    def on_polled(self, chunks: Sequence[Chunk], *, began_s: float, received_s: float) -> None:
        for observer in self._observers:
            observer.on_polled(chunks, began_s=began_s, received_s=received_s)

    def on_batch_closed(self, batch: MicroBatch) -> None:
        for observer in self._observers:
            observer.on_batch_closed(batch)

    def on_result(self, result: BatchResult) -> None:
        for observer in self._observers:
            observer.on_result(result)

    def on_commit_started(self, batches: Sequence[BatchResult]) -> None:
        for observer in self._observers:
            observer.on_commit_started(batches)

    def delta_headers(self, batches: Sequence[BatchResult]) -> list[tuple[str, bytes]]:
        return [header for observer in self._observers for header in observer.delta_headers(batches)]

    def on_committed(self, batches: Sequence[BatchResult], ledger: Ledger, times: CommitTimes) -> None:
        for observer in self._observers:
            observer.on_committed(batches, ledger, times)

    def on_commit_failed(self, batches: Sequence[BatchResult], error: BaseException) -> None:
        for observer in self._observers:
            observer.on_commit_failed(batches, error)

    def on_purged(self) -> None:
        for observer in self._observers:
            observer.on_purged()

    def on_window_status(self, statuses: Mapping[TopicPartition, WindowStatus]) -> None:
        for observer in self._observers:
            observer.on_window_status(statuses)
