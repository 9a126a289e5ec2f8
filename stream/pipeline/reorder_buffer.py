"""The reorder buffer: micro-batches may finish out of order; positions may only pass what is finished.

A micro-batch may be taken when, in every partition that it holds records of, all earlier micro-batches were taken
before or are taken with it. So what is emitted of a partition is always the contiguous finished prefix, in offset
order, while partitions that do not meet in a batch do not wait for each other.
"""

from __future__ import annotations

from collections import Counter, deque

from forebay.stream.core.records import BatchResult, MicroBatch, TopicPartition
from forebay.stream.output.encoder import output_bytes


class ReorderBuffer:
    """Holds micro-batches from closing until their results are taken for a commit."""

    def __init__(self) -> None:
        self._order: dict[TopicPartition, deque[int]] = {}
        self._results: dict[int, BatchResult] = {}

    def add(self, batch: MicroBatch) -> None:
        """A micro-batch was closed and is on its way; call in the order of `batch.seq`."""
        for partition in {chunk.partition for chunk in batch.chunks}:
            self._order.setdefault(partition, deque()).append(batch.seq)

    def contains(self, batch: MicroBatch) -> bool:
        """Whether this micro-batch is on its way, and was not purged meanwhile."""
        return batch.seq in self._order.get(batch.chunks[0].partition, ())

    def on_result(self, result: BatchResult) -> None:
        """Its outcomes are decided."""
        self._results[result.batch.seq] = result

    def take(self, *, max_records: int, max_bytes: int) -> list[BatchResult]:
        """Take what may be committed now, in order.

        It stops before more than `max_records` records or rows, and before outputs of more than about `max_bytes`; but it takes
        at least one batch, and never ends between parts that must be committed together.
        """
        taken: list[BatchResult] = []
        passed: Counter[TopicPartition] = Counter()
        unfinished: set[TopicPartition] = set()
        size = num_bytes = whole = 0
        for seq in sorted(self._results):
            result = self._results[seq]
            partitions = {chunk.partition for chunk in result.batch.chunks}
            if any(self._order[partition][passed[partition]] != seq for partition in partitions):
                continue
            size += max(result.batch.num_records, result.batch.num_rows)
            num_bytes += output_bytes(result)
            if whole and (size > max_records or num_bytes > max_bytes):
                break
            taken.append(result)
            passed.update(partitions)
            for chunk in result.batch.chunks:
                (unfinished.discard if chunk.can_end_commit else unfinished.add)(chunk.partition)
            if not unfinished:
                whole = len(taken)
        del taken[whole:]
        for result in taken:
            for partition in {chunk.partition for chunk in result.batch.chunks}:
                self._order[partition].popleft()
            del self._results[result.batch.seq]
        return taken

    def purge(self) -> None:
        """Forget everything; the records will be read again."""
        self._order.clear()
        self._results.clear()
