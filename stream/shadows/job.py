"""What a shadow is given, and what becomes of it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from operator import attrgetter
from typing import NamedTuple, Protocol

from forebay.stream.core.outputs import Outgoing
from forebay.stream.core.records import BatchResult, Chunk, TopicPartition
from forebay.stream.rollouts.comparison import PairedComparison
from forebay.stream.rollouts.sampling import OffsetSample

_OFFSET = attrgetter("offset")


class DropReason(StrEnum):
    """Why a shadow did not predict sampled events."""

    LOAD = "load"
    SHARE = "share"
    QUEUE_FULL = "queue_full"
    DEADLINE = "deadline"
    STOPPED = "stopped"
    ERROR = "error"


class ChunkRows(NamedTuple):
    """Rows of a chunk. first_row: index of the chunk's first row in the micro-batch."""

    chunk: Chunk
    first_row: int
    rows: range


@dataclass(frozen=True, slots=True)
class ShadowJob:
    """Sampled rows of a micro-batch that the primary has predicted.

    has_same_columns: whether the shadow takes the primary's rows as they are; otherwise it decodes the records.
    revision: of the rollout.
    offered_s: monotonic time.
    """

    result: BatchResult
    parts: Sequence[ChunkRows]
    has_same_columns: bool
    revision: int
    offered_s: float

    @property
    def num_events(self) -> int:
        return sum(len(part.rows) for part in self.parts)


@dataclass(frozen=True, slots=True)
class ShadowOutcome:
    """What became of a job.

    comparison: None if nothing was predicted.
    outgoing: the records of the pairs, by partition of their topic.
    busy_s: how long the job took.
    num_bytes: their size.
    dropped: why the job was not run, if it was not.
    fault: why the shadow predicted none of the events, if it failed on all of them.
    """

    job: ShadowJob
    busy_s: float
    comparison: PairedComparison | None = None
    outgoing: dict[TopicPartition, Outgoing] | None = None
    num_bytes: int = 0
    dropped: DropReason | None = None
    fault: str | None = None


class ShadowExecutor(Protocol):
    """Runs the jobs of one shadow, one after the other. No method blocks. All are for the event loop's thread."""

    async def start(self, warm_up_sizes: Sequence[int]) -> None:
        """Warm up the model. Raises the error of the model."""

    def submit(self, job: ShadowJob) -> None:
        """Queue a job. Its outcome is passed to the callback of the executor, on the event loop's thread."""

    def running_for_s(self) -> float:
        """Return how many seconds the current job has been running; 0 if there is none."""

    def stop(self) -> None:
        """End the executor after its current job, without waiting for it. Queued jobs are dropped."""


OnOutcome = Callable[[ShadowOutcome], None]


def sampled_rows(result: BatchResult, sample: OffsetSample) -> list[ChunkRows]:
    """Return the rows of a micro-batch that the sample contains. Parts that are not chunks of events have none."""
    parts, first_row = [], 0
    for chunk in result.batch.chunks:
        if isinstance(chunk, Chunk) and chunk.num_rows:
            records = chunk.records
            first, stop = records[0].offset, records[-1].offset + 1
            for offsets in sample.ranges(chunk.partition, first, stop):
                start = bisect_left(records, offsets.start, key=_OFFSET)
                end = bisect_left(records, offsets.stop, start, key=_OFFSET)
                if start < end:
                    parts.append(ChunkRows(chunk, first_row, range(start, end)))
        first_row += chunk.num_rows
    return parts
