"""The reorder buffer puts results back into offset order: micro-batches may finish out of order, but positions may not.

A micro-batch can be taken as soon as all earlier micro-batches of each of its partitions are taken, before or with it.
So the outputs of a partition are always a contiguous finished prefix in offset order, and partitions that share no micro-batch
do not wait for each other.
"""

from __future__ import annotations

from collections import Counter, deque

from forebay.stream.core.records import BatchResult, MicroBatch, TopicPartition
from forebay.stream.output.encoder import output_bytes


class ReorderBuffer:
    """Holds micro-batches from their closing until their results are taken for a commit."""

    def __init__(self) -> None:
        self._order: dict[TopicPartition, deque[int]] = {}
        self._results: dict[int, BatchResult] = {}

    def add(self, batch: MicroBatch) -> None:
        """Add a closed micro-batch. Call in the order of `batch.seq`."""
        for partition in {chunk.partition for chunk in batch.chunks}:
            self._order.setdefault(partition, deque()).append(batch.seq)

    def contains(self, batch: MicroBatch) -> bool:
        """Return whether this micro-batch was added and neither taken nor purged since."""
        return batch.seq in self._order.get(batch.chunks[0].partition, ())

    def on_result(self, result: BatchResult) -> None:
        """Record the result of a micro-batch."""
        self._results[result.batch.seq] = result

    def take(self, *, max_records: int, max_bytes: int) -> list[BatchResult]:
        """Remove and return the results that can be committed now, in order.

        max_records: limit of records or rows.
        max_bytes: approximate limit of the outputs.

        At least one micro-batch is taken, and parts that must be committed together are taken together.
        """
        results: list[BatchResult] = []
        passed: Counter[TopicPartition] = Counter()
        unfinished: set[TopicPartition] = set()
        size = num_bytes = num_complete = 0
        for seq in sorted(self._results):
            result = self._results[seq]
            partitions = {chunk.partition for chunk in result.batch.chunks}
            if any(self._order[partition][passed[partition]] != seq for partition in partitions):
                continue
            size += max(result.batch.num_records, result.batch.num_rows)
            num_bytes += output_bytes(result)
            if num_complete and (size > max_records or num_bytes > max_bytes):
                break
            results.append(result)
            passed.update(partitions)
            for chunk in result.batch.chunks:
                (unfinished.discard if chunk.can_end_commit else unfinished.add)(chunk.partition)
            if not unfinished:
                num_complete = len(results)
        del results[num_complete:]
        for result in results:
            for partition in {chunk.partition for chunk in result.batch.chunks}:
                self._order[partition].popleft()
            del self._results[result.batch.seq]
        return results

    def purge(self) -> None:
        """Drop everything. The records will be read again."""
        self._order.clear()
        self._results.clear()
