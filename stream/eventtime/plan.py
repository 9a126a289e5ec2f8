"""What windows there are, how the model takes them, and their bounds."""

from __future__ import annotations

from dataclasses import dataclass

from forebay.models.artefacts.window_input import WindowInput
from forebay.stream.eventtime.spec import WindowSpec
from forebay.stream.eventtime.timestamp_guard import TimestampBounds


@dataclass(frozen=True, slots=True)
class WindowLimits:
    """Of one partition. What passes one closes all of its windows.

    idle_timeout_s: without events; timestamps: how far off those of events may be.
    """

    max_open_windows: int
    max_buffered_rows: int
    max_buffered_bytes: int
    max_replay_records: int
    max_rows_per_window: int
    idle_timeout_s: float
    timestamps: TimestampBounds


@dataclass(frozen=True, slots=True)
class WindowPlan:
    """What windows there are and how the model takes them. digest: of all that; flush: what another digest left is closed."""

    spec: WindowSpec
    window_input: WindowInput
    num_features: int
    digest: str
    limits: WindowLimits
    flush: bool = False

    def newest_at(self, watermark: int) -> int:
        """Return the event time, in ms, that no event accepted before this watermark exceeds."""
        return watermark + self.spec.out_of_orderness_ms
