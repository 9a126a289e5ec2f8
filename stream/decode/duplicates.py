"""Rejects events that are sent again: those whose id an earlier event of the same partition and model has. Pure.

The ids are remembered in memory, within a window (`SeenIds`). A new worker, or one that gets a partition which another one has
read meanwhile, begins without any.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from forebay.schemas.failures import FailureKind
from forebay.schemas.headers import REPLAY_COUNT
from forebay.stream.core.record_columns import offsets_of, timestamps_of
from forebay.stream.core.records import BatchResult, Chunk, TopicPartition
from forebay.stream.core.rows import position_of
from forebay.stream.decode.rejected_rows import reject_rows
from forebay.stream.decode.seen_ids import DuplicateWindow, SeenIds

_Row = tuple[int, int]


class _Partition:
    """What is remembered of a partition: the ids by model, and where reading continues if no other worker reads on."""

    def __init__(self, generation: int) -> None:
        self.generation = generation
        self.next_offset = 0
        self.ids: dict[str, SeenIds] = {}


class DuplicateFilter:
    """Finds duplicates in polls. Events that `forebay dlq replay` has published are never duplicates."""

    def __init__(self, window: DuplicateWindow) -> None:
        self._window = window
        self._partitions: dict[TopicPartition, _Partition] = {}
        self._generation = 0

    def filter(self, chunks: Sequence[Chunk]) -> list[Chunk]:
        """Return the chunks of a poll, in their order, with duplicates among the rejections."""
        groups: dict[tuple[TopicPartition, str], list[int]] = {}
        for index, chunk in enumerate(chunks):
            groups.setdefault((chunk.partition, chunk.model.name), []).append(index)
        self._begin(chunks)
        filtered = list(chunks)
        for (partition, model), places in groups.items():
            known = self._partitions[partition].ids
            if model not in known:
                known[model] = SeenIds(self._window)
            found = _take(known[model], [chunks[place] for place in places])
            for place, duplicates in zip(places, found, strict=True):
                if duplicates:
                    filtered[place] = reject_duplicates(chunks[place], duplicates)
        return filtered

    def on_committed(self, results: Iterable[BatchResult]) -> None:
        """Forget what no rewind can bring back into the window."""
        ends: dict[TopicPartition, int] = {}
        for result in results:
            for part in result.batch.chunks:
                if part.is_last_part:
                    ends[part.partition] = max(part.next_offset, ends.get(part.partition, 0))
        for partition, end in ends.items():
            if partition in self._partitions:
                for ids in self._partitions[partition].ids.values():
                    ids.forget_before(end)

    @property
    def num_ids(self) -> int:
        """The number of events that are remembered, over all partitions."""
        return sum(len(ids) for partition in self._partitions.values() for ids in partition.ids.values())

    def _begin(self, chunks: Sequence[Chunk]) -> None:
        """Prepare for the partitions of a poll. After a rebalance, forget those that another worker may have read."""
        if not chunks:
            return
        generation, last = chunks[0].epoch.generation, self._generation
        if generation != last:
            self._generation = generation
            # Partitions that this worker did not read since the last rebalance either are not its own any more.
            self._partitions = {place: known for place, known in self._partitions.items() if known.generation == last}
        ends: dict[TopicPartition, int] = {}
        for chunk in chunks:
            ends[chunk.partition] = max(chunk.next_offset, ends.get(chunk.partition, 0))
        for partition, end in ends.items():
            known = self._partitions.get(partition)
            if known is None or (known.generation != generation and _first(chunks, partition) > known.next_offset):
                known = self._partitions[partition] = _Partition(generation)
            known.generation, known.next_offset = generation, end


def reject_duplicates(chunk: Chunk, duplicates: Mapping[int, int]) -> Chunk:
    """Return a chunk without some of its rows, which become rejections. duplicates: the offset that each row repeats."""
    messages = {
        row: f"the event at offset {offset} of this partition has the same id" for row, offset in duplicates.items()
    }
    return reject_rows(chunk, FailureKind.DUPLICATE, messages)


def _first(chunks: Sequence[Chunk], partition: TopicPartition) -> int:
    return min(chunk.first_offset for chunk in chunks if chunk.partition == partition)


def _take(known: SeenIds, chunks: Sequence[Chunk]) -> list[dict[int, int]]:
    """Return the duplicates of each chunk of one partition and model."""
    if len(chunks) == 1:
        records = chunks[0].records
        return [
            known.take(
                chunks[0].ids,
                offsets_of(records).tolist(),
                timestamps_of(records).tolist(),
                may_repeat=lambda row: _is_replay(chunks[0], row),
            )
        ]
    # Versions of a model share its ids: their rows are merged into the order of the log.
    rows: list[_Row] = [(place, row) for place, chunk in enumerate(chunks) for row in range(chunk.num_rows)]
    records_of = [list(chunk.records) for chunk in chunks]
    rows.sort(key=lambda at: position_of(records_of[at[0]][at[1]]))
    found = known.take(
        [chunks[place].ids[row] for place, row in rows],
        [records_of[place][row].offset for place, row in rows],
        [records_of[place][row].timestamp for place, row in rows],
        may_repeat=lambda index: _is_replay(chunks[rows[index][0]], rows[index][1]),
    )
    by_chunk: list[dict[int, int]] = [{} for _ in chunks]
    for index, offset in found.items():
        place, row = rows[index]
        by_chunk[place][row] = offset
    return by_chunk


def _is_replay(chunk: Chunk, row: int) -> bool:
    return any(name.lower() == REPLAY_COUNT for name, _ in chunk.records[row].headers)
