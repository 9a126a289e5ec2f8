"""What the window stage holds of one partition: its windows, and how far a replay has come."""

from __future__ import annotations

from dataclasses import dataclass, field

from forebay.stream.eventtime.checkpoint import State
from forebay.stream.eventtime.partition_windows import PartitionWindows
from forebay.stream.eventtime.timestamp_guard import TimestampGuard
from forebay.stream.eventtime.types import Window


@dataclass(slots=True)
class PartitionState:
    """The windows of one partition, with what a replay needs until it has reached the committed position.

    seen_s: when events last came, in monotonic seconds.
    until: what was committed, while windows are rebuilt; None otherwise.
    owed: windows that a replay has closed and whose predictions are not all committed.
    flush: whether all windows are closed at the end of the replay, because they are of another configuration.
    record_timestamp: the timestamp of the last record.
    """

    windows: PartitionWindows
    guard: TimestampGuard
    seen_s: float
    until: State | None = None
    owed: list[Window] = field(default_factory=list)
    flush: bool = False
    record_timestamp: int = 0

    @property
    def owes(self) -> bool:
        """Whether windows have to be emitted when the replay ends."""
        return self.flush or (self.until is not None and self.until.pending is not None)
