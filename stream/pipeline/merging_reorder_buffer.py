"""The reorder buffer of several lanes: it merges their results into offset order. Pure.

The rows of a partition may belong to several lanes, and micro-batches of different lanes finish independently. The *frontier*
of a partition is the smallest offset that one of the lanes has not finished. What is taken for a commit is everything below
the frontier, from all lanes, so that positions never pass an unfinished row and the outputs can be written in offset order.
Parts that cross the frontier are split. Windows are not divisible: the frontier moves back to where such a part begins.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import accumulate
from operator import attrgetter
from typing import Final, NamedTuple

from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.record_columns import RecordColumns
from forebay.stream.core.records import BatchPart, BatchResult, Chunk, MicroBatch, TopicPartition
from forebay.stream.core.rows import RowRecords
from forebay.stream.output.encoder import prediction_bytes

_UNLIMITED: Final = 1 << 63
_OFFSET = attrgetter("offset")

_BatchKey = tuple[ModelRef, int]


class _Piece(NamedTuple):
    """A part of a micro-batch, or the rest of one. first_row: index of its first row in the micro-batch."""

    key: _BatchKey
    part: BatchPart
    first_row: int


@dataclass(slots=True)
class _LaneQueue:
    """The pieces of one lane in one partition, in order: the finished ones are a prefix."""

    finished: deque[_Piece] = field(default_factory=deque)
    unfinished: deque[_Piece] = field(default_factory=deque)


class _Bounds(NamedTuple):
    """What may be taken from one partition. at_least_one: take something even if it exceeds the limits."""

    frontier: int
    max_records: int
    max_bytes: int
    at_least_one: bool


@dataclass(slots=True)
class _Batch:
    """A micro-batch with its result, once it has one. num_pieces: number of its pieces that were not taken."""

    num_pieces: int
    result: BatchResult | None = None
    divided: bool = False


class MergingReorderBuffer:
    """Holds the micro-batches of several lanes from their closing until their results are taken for a commit.

    waiting: returns the parts of all lanes that are not in a closed micro-batch yet.
    """

    def __init__(self, waiting: Callable[[], Iterable[BatchPart]]) -> None:
        self._waiting = waiting
        self._queues: dict[TopicPartition, dict[ModelRef, _LaneQueue]] = {}
        self._batches: dict[_BatchKey, _Batch] = {}

    def add(self, batch: MicroBatch) -> None:
        """Add a closed micro-batch. Call in the order of `batch.seq` for each lane."""
        key, first_row = (batch.model, batch.seq), 0
        self._batches[key] = _Batch(len(batch.chunks))
        for part in batch.chunks:
            queue = self._queues.setdefault(part.partition, {}).setdefault(batch.model, _LaneQueue())
            queue.unfinished.append(_Piece(key, part, first_row))
            first_row += part.num_rows

    def contains(self, batch: MicroBatch) -> bool:
        """Return whether this micro-batch was added and neither taken nor purged since."""
        return (batch.model, batch.seq) in self._batches

    def on_result(self, result: BatchResult) -> None:
        """Record the result of a micro-batch."""
        self._batches[result.model, result.batch.seq].result = result
        for partition in {part.partition for part in result.batch.chunks}:
            queue = self._queues[partition][result.model]
            while queue.unfinished and self._batches[queue.unfinished[0].key].result is not None:
                queue.finished.append(queue.unfinished.popleft())

    def take(self, *, max_records: int, max_bytes: int) -> list[BatchResult]:
        """Remove and return the results that can be committed now; those of each lane are in its order.

        max_records: limit of records or rows.
        max_bytes: approximate limit of the outputs.

        At least one part is taken if one can be. A micro-batch is divided if only some of its parts can be committed.
        """
        waiting = self._first_waiting()
        taken: list[_Piece] = []
        size = num_bytes = 0
        for partition, queues in self._queues.items():
            frontier = self._frontier(queues, waiting.get(partition, _UNLIMITED))
            bounds = _Bounds(frontier, max_records - size, max_bytes - num_bytes, at_least_one=not taken)
            for piece in self._pop_below(self._limit(queues, bounds), queues):
                taken.append(piece)
                size += _size(piece)
                num_bytes += self._num_bytes(piece)
            if size >= max_records or num_bytes >= max_bytes:
                break
        return self._results(taken)

    def purge(self) -> None:
        """Drop everything. The records will be read again."""
        self._queues.clear()
        self._batches.clear()

    # ---- the frontier

    def _first_waiting(self) -> dict[TopicPartition, int]:
        first: dict[TopicPartition, int] = {}
        for part in self._waiting():
            first[part.partition] = min(first.get(part.partition, _UNLIMITED), part.first_offset)
        return first

    def _frontier(self, queues: dict[ModelRef, _LaneQueue], first_waiting: int) -> int:
        unfinished = (queue.unfinished[0].part.first_offset for queue in queues.values() if queue.unfinished)
        return _align(min([first_waiting, *unfinished]), queues)

    def _limit(self, queues: dict[ModelRef, _LaneQueue], bounds: _Bounds) -> int:
        """Return the greatest offset, up to the frontier, below which the finished pieces fit the bounds; -1 if none do."""
        frontier = bounds.frontier
        pieces = [piece for queue in queues.values() for piece in _takeable(queue, frontier)]
        pieces.sort(key=_end_offset)
        sizes = accumulate(map(_size, pieces))
        byte_sizes = accumulate(map(self._num_bytes, pieces))
        best = -1
        for piece, size, num_bytes in zip(pieces, sizes, byte_sizes, strict=True):
            fits = size <= bounds.max_records and num_bytes <= bounds.max_bytes
            if not fits and (best >= 0 or not bounds.at_least_one):
                return best
            end = min(_end_offset(piece), frontier)
            if _align(end, queues) == end:
                best = end
        return best

    def _pop_below(self, frontier: int, queues: dict[ModelRef, _LaneQueue]) -> Iterator[_Piece]:
        for queue in queues.values():
            while queue.finished:
                piece = queue.finished[0]
                if _end_offset(piece) <= frontier:
                    yield queue.finished.popleft()
                    continue
                count = _records_below(piece.part, frontier)
                if count:
                    head, tail = piece.part.split(count)
                    self._batches[piece.key].num_pieces += 1
                    queue.finished[0] = _Piece(piece.key, tail, piece.first_row + head.num_rows)
                    yield _Piece(piece.key, head, piece.first_row)
                break

    # ---- the results

    def _num_bytes(self, piece: _Piece) -> int:
        result = self._batches[piece.key].result
        assert result is not None
        return piece.part.num_bytes + piece.part.num_rows * prediction_bytes(result.values_BO.shape[1])

    def _results(self, taken: list[_Piece]) -> list[BatchResult]:
        """Return the results of these pieces: whole micro-batches as they are, the others divided."""
        taken.sort(key=lambda piece: (piece.key, piece.first_row))
        counts: dict[_BatchKey, int] = {}
        for piece in taken:
            counts[piece.key] = counts.get(piece.key, 0) + 1
        results: list[BatchResult] = []
        for piece in taken:
            batch = self._batches.get(piece.key)
            if batch is None:
                continue  # returned as a whole
            assert batch.result is not None
            if not batch.divided and counts[piece.key] == batch.num_pieces:
                results.append(batch.result)
                del self._batches[piece.key]
                continue
            batch.divided = True
            batch.num_pieces -= 1
            counts[piece.key] -= 1
            results.append(_restrict(batch.result, piece, is_last_part=batch.num_pieces == 0))
            if batch.num_pieces == 0:
                del self._batches[piece.key]
        return results


def _align(frontier: int, queues: dict[ModelRef, _LaneQueue]) -> int:
    """Return the greatest offset up to `frontier` at which no indivisible part is cut."""
    aligned = False
    while not aligned:
        aligned = True
        for queue in queues.values():
            for piece in queue.finished:
                part = piece.part
                if part.first_offset >= frontier:
                    break
                if part.next_offset > frontier and not isinstance(part, Chunk):
                    frontier, aligned = part.first_offset, False
                    break
    return frontier


def _takeable(queue: _LaneQueue, frontier: int) -> Iterator[_Piece]:
    for piece in queue.finished:
        if _end_offset(piece) > frontier and not _records_below(piece.part, frontier):
            return
        yield piece


def _records_below(part: BatchPart, frontier: int) -> int:
    """Return how many records of a part are below an offset; 0 for windows, which are not divided."""
    if not isinstance(part, Chunk) or part.first_offset >= frontier:
        return 0
    rejected = sum(rejection.record.offset < frontier for rejection in part.rejections)
    records = part.records
    if isinstance(records, RowRecords | RecordColumns):
        return int(records.offsets().searchsorted(frontier)) + rejected
    return bisect_left(records, frontier, key=_OFFSET) + rejected


def _end_offset(piece: _Piece) -> int:
    """Return the offset after the last record of a piece. Lanes may share the rows of a record, so all have to reach it."""
    part = piece.part
    return part.end_offset if isinstance(part, Chunk) else part.next_offset


def _size(piece: _Piece) -> int:
    return max(piece.part.num_records, piece.part.num_rows)


def _restrict(result: BatchResult, piece: _Piece, *, is_last_part: bool) -> BatchResult:
    first, end = piece.first_row, piece.first_row + piece.part.num_rows
    batch = result.batch
    return replace(
        result,
        batch=MicroBatch(batch.seq, (piece.part,), batch.reason, batch.opened_s),
        values_BO=result.values_BO[first:end],
        classes_B=None if result.classes_B is None else result.classes_B[first:end],
        confidences_B=None if result.confidences_B is None else result.confidences_B[first:end],
        decisions_B=None if result.decisions_B is None else result.decisions_B[first:end],
        failures={row - first: failure for row, failure in result.failures.items() if first <= row < end},
        is_last_part=is_last_part,
    )
