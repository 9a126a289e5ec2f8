"""Tracks how far partitions were read beyond their commits, so that a drain knows when nothing is left. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from forebay.stream.core.records import BatchPart, BatchResult, TopicPartition


class Uncommitted:
    """The offsets up to which records were polled and not yet committed, by partition."""

    def __init__(self) -> None:
        self._ends: dict[TopicPartition, int] = {}
        self._to_read_again = 0

    @property
    def num_to_read_again(self) -> int:
        """The number of events that a rewind dropped and that were not read again since."""
        return self._to_read_again

    def record_taken(self, part: BatchPart) -> None:
        """Record a part that was polled."""
        self._ends[part.partition] = max(part.next_offset, self._ends.get(part.partition, 0))
        self._to_read_again = max(0, self._to_read_again - part.num_records)

    def record_committed(self, batches: Sequence[BatchResult]) -> None:
        """Record committed micro-batches."""
        for result in batches:
            for chunk in result.batch.chunks:
                if chunk.is_last_part and self._ends.get(chunk.partition, -1) <= chunk.next_offset:
                    self._ends.pop(chunk.partition, None)

    def record_dropped(self, num_events: int) -> None:
        """Record dropped events, which will be read again."""
        self._to_read_again += num_events

    def keep_assigned(self, positions: Mapping[TopicPartition, int] | None) -> None:
        """Drop partitions that are no longer assigned: other members read them, or their topic was deleted.

        positions: as for `is_behind`.
        """
        if positions is not None and not self._ends.keys() <= positions.keys():
            self._ends = {partition: end for partition, end in self._ends.items() if partition in positions}

    def is_behind(self, positions: Mapping[TopicPartition, int] | None) -> bool:
        """Return whether records that were polled before still have to be read again.

        positions: current positions of the assigned partitions; None while they are unknown. A partition that is no longer
        assigned does not count: another member of the group reads it.
        """
        if positions is None:
            return bool(self._ends)
        return any(positions.get(partition, end) < end for partition, end in self._ends.items())

    def record_all_read(self) -> None:
        """Record that nothing has to be read again: a commit with an unknown result had succeeded, or other members read it."""
        self._to_read_again = 0
