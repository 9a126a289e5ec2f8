"""How far a back-fill is, from the committed offsets of its group. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from forebay.stream.audit.chain import split_metadata
from forebay.stream.core.records import TopicPartition
from forebay.stream.eventtime.checkpoint import CommittedState, decode
from forebay.stream.eventtime.combined_state import separate
from forebay.stream.kafka.consumer.backfill_group import RunProgress


@dataclass(frozen=True, slots=True)
class Completion:
    """How far a back-fill is committed, in offsets. Some offsets have no record.

    open_windows: number of partitions that have windows which are not emitted.
    is_complete: whether all is committed that is to be predicted.
    """

    done: int
    total: int
    open_windows: int
    is_complete: bool


def completion(progress: Mapping[TopicPartition, RunProgress], *, closable_before_ms: int | None = None) -> Completion:
    """Return how far a back-fill is.

    closable_before_ms: windows are to be emitted whose watermark is before this time; None if open ones are left out.
    """
    total = sum(part.frozen.end - part.frozen.start for part in progress.values())
    remaining = sum(part.remaining for part in progress.values())
    open_windows, unfinished = 0, 0
    for partition, part in progress.items():
        states = [state for state in _states(partition, part) if state.has_windows]
        open_windows += bool(states)
        unfinished += any(
            state.pending is not None
            or (closable_before_ms is not None and state.checkpoint.watermark < closable_before_ms)
            for state in states
        )
    return Completion(total - remaining, total, open_windows, remaining == 0 and unfinished == 0)


def _states(partition: TopicPartition, part: RunProgress) -> Iterator[CommittedState]:
    """Yield the states of the windows of each model."""
    text = split_metadata(partition, part.committed)[1].metadata
    texts = separate(text) or {"": text}
    for one in texts.values():
        state = decode(part.committed.offset, one)
        if state is not None:
            yield state
