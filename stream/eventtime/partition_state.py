"""The state that the window stage holds for one partition: its windows, and a replay in progress."""

from __future__ import annotations

from dataclasses import dataclass, field

from forebay.stream.eventtime.checkpoint import CommittedState
from forebay.stream.eventtime.partition_windows import PartitionWindows
from forebay.stream.eventtime.timestamp_guard import TimestampGuard
from forebay.stream.eventtime.types import Window


@dataclass(slots=True)
class PartitionState:
    """The windows of one partition, with what a replay needs until it has reached the committed offset.

    last_event_s: when events last came, in monotonic seconds.
    replay_target: what was committed, while windows are rebuilt; None otherwise.
    unemitted: windows that a replay has closed and whose predictions are not all committed.
    flush: whether all windows are closed at the end of the replay, because they are of another configuration.
    record_timestamp: the timestamp of the last record.
    """

    windows: PartitionWindows
    guard: TimestampGuard
    last_event_s: float
    replay_target: CommittedState | None = None
    unemitted: list[Window] = field(default_factory=list)
    flush: bool = False
    record_timestamp: int = 0

    @property
    def must_emit(self) -> bool:
        """Whether the end of the replay emits windows."""
        return self.flush or (self.replay_target is not None and self.replay_target.pending is not None)
