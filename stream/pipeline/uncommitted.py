"""How far partitions were read beyond what is committed, to know at the end of a drain that nothing is left. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from forebay.stream.core.records import BatchPart, BatchResult, TopicPartition


class Uncommitted:
    """The offsets up to which records were taken in and not yet committed, by partition."""

    def __init__(self) -> None:
        self._ends: dict[TopicPartition, int] = {}
        self._to_read_again = 0

    @property
    def num_to_read_again(self) -> int:
        """Events that a rewind has dropped and that have not been read again since."""
        return self._to_read_again

    def record_taken(self, part: BatchPart) -> None:
        """Record that a part was taken in."""
        self._ends[part.partition] = max(part.next_offset, self._ends.get(part.partition, 0))
        self._to_read_again = max(0, self._to_read_again - part.num_records)

    def record_committed(self, batches: Sequence[BatchResult]) -> None:
        """Record that these micro-batches are committed."""
        for result in batches:
            for chunk in result.batch.chunks:
                if chunk.is_last_part and self._ends.get(chunk.partition, -1) <= chunk.next_offset:
                    self._ends.pop(chunk.partition, None)

    def record_dropped(self, num_events: int) -> None:
        """Record that `num_events` events were dropped and will be read again."""
        self._to_read_again += num_events

    def keep_assigned(self, positions: Mapping[TopicPartition, int] | None) -> None:
        """Forget partitions that are not assigned any more: what was taken of them is read by others, or their topic is gone.

        positions: as for `is_behind`.
        """
        if positions is not None and not self._ends.keys() <= positions.keys():
            self._ends = {partition: end for partition, end in self._ends.items() if partition in positions}

    def is_behind(self, positions: Mapping[TopicPartition, int] | None) -> bool:
        """Whether records that were taken in before still have to be read again.

        positions: where reading stands in the assigned partitions, None while that is not known. A partition that is not
        assigned any more belongs to another member of the group, which reads on there.
        """
        if positions is None:
            return bool(self._ends)
        return any(positions.get(partition, end) < end for partition, end in self._ends.items())

    def record_all_read(self) -> None:
        """Record that nothing has to be read again: a commit of unknown outcome had succeeded, or others read it now."""
        self._to_read_again = 0
