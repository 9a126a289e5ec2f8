"""Settings of windows over event time."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from forebay.stream.config.section import DAY_MS, Section


class WindowSection(Section):
    """Keyed windows over event time (docs/windows.md). With kind "none", each event is predicted by itself."""

    kind: Literal["none", "tumbling", "hopping", "session"] = Field(
        default="none",
        description="How the events of a key are grouped into windows. none: the model takes single events.",
    )
    size_ms: int | None = Field(
        default=None, ge=1, le=31 * DAY_MS, description="Tumbling and hopping windows: the length of a window."
    )
    hop_ms: int | None = Field(
        default=None, ge=1, le=31 * DAY_MS, description="Hopping windows: the time between the starts of two windows."
    )
    gap_ms: int | None = Field(
        default=None,
        ge=1,
        le=31 * DAY_MS,
        description="Session windows: a session ends this long after its last event.",
    )
    max_session_ms: int = Field(
        default=DAY_MS,
        ge=1,
        le=31 * DAY_MS,
        description="Session windows: sessions are cut at multiples of this since 1970 (UTC).",
    )
    max_out_of_orderness_ms: int = Field(
        default=1_000,
        ge=0,
        le=31 * DAY_MS,
        description="The watermark is the newest event time of the partition minus this.",
    )
    allowed_lateness_ms: int = Field(
        default=0,
        ge=0,
        le=31 * DAY_MS,
        description="A window stays open until the watermark is this far past its end.",
    )
    idle_timeout_ms: int = Field(
        default=60_000,
        ge=100,
        le=31 * DAY_MS,
        description="If a partition has no events for this long, its windows close by the wall clock.",
    )
    max_timestamp_ahead_ms: int = Field(
        default=60_000,
        ge=0,
        le=31 * DAY_MS,
        description="An event whose timestamp is further than this ahead of its record's timestamp is rejected: it "
        "would close every window. If producers set the record timestamps (CreateTime), the event is also"
        " compared with the worker's clock.",
    )
    max_timestamp_behind_ms: int = Field(
        default=50 * 365 * DAY_MS,
        ge=1_000,
        le=200 * 365 * DAY_MS,
        description="An event whose timestamp is further than this behind its record's timestamp is rejected: seconds"
        " taken for milliseconds are in 1970.",
    )
    max_rows_per_window: int = Field(
        default=10_000,
        ge=1,
        le=16_777_216,
        description="Maximum number of events in one window. Further events fail, except for a sequence, which keeps "
        "the last.",
    )
    max_open_windows: int = Field(
        default=100_000,
        ge=1,
        le=1_000_000_000,
        description="Maximum number of open windows in one partition. Beyond it, all of them close.",
    )
    max_buffered_rows: int = Field(
        default=1_000_000,
        ge=1,
        le=10_000_000_000,
        description="Maximum number of events in the open windows of one partition. Beyond it, all of them close.",
    )
    max_buffered_bytes: int = Field(
        default=268_435_456,
        ge=1,
        le=1 << 40,
        description="Maximum memory of the open windows of one partition and their predictions. Beyond it, all of"
        " them close.",
    )
    max_replay_records: int = Field(
        default=1_000_000,
        ge=1,
        le=10_000_000_000,
        description="Maximum number of records of one partition that a restart may have to read again. Beyond it,"
        " all open windows close.",
    )
    outage_ms: int = Field(
        default=DAY_MS,
        ge=0,
        le=365 * DAY_MS,
        description="How long the worker may be down without losing windows. The input topics must keep records for "
        "this long plus the time a window is open.",
    )
    late_events_topic: bool = Field(default=False, description="Also write late events to the topic late-events.")
    on_changed: Literal["refuse", "flush"] = Field(
        default="refuse",
        description="What to do with windows that another configuration left open. refuse: do not start. flush: close"
        " them at once.",
    )

    @property
    def longest_ms(self) -> int:
        """Return the longest time that a window is open, by event time, from its first event."""
        length = self.max_session_ms if self.kind == "session" else self.size_ms or 0
        return length + self.max_out_of_orderness_ms + self.allowed_lateness_ms
