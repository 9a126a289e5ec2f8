"""The plan of event-time windows: which windows exist, how the model takes them, and their limits."""

from __future__ import annotations

from dataclasses import dataclass

from forebay.models.artefacts.window_input import WindowInput
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.eventtime.spec import WindowSpec
from forebay.stream.eventtime.timestamp_guard import TimestampBounds


@dataclass(frozen=True, slots=True)
class WindowLimits:
    """The limits of one partition's windows. Exceeding one of the first four closes all windows of the partition.

    idle_timeout_s: time without events after which a partition is idle.
    timestamps: how far an event's timestamp may be from its record's and the clock.
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
    """Which windows exist and how the model takes them.

    model: the model that takes the windows.
    digest: identifies all that decides the content of windows (see `spec.digest`).
    flush: whether to close windows that another digest left open, rather than refuse to start.
    keeps_events: whether accepted events are kept until their commit, for the audit.
    """

    spec: WindowSpec
    model: ModelRef
    window_input: WindowInput
    num_features: int
    digest: str
    limits: WindowLimits
    flush: bool = False
    keeps_events: bool = False

    def newest_event_time(self, watermark: int) -> int:
        """Return the event time, in ms, that no event accepted before this watermark exceeds."""
        return watermark + self.spec.out_of_orderness_ms
