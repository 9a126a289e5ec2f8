"""The settings of windows over event time."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from forebay.stream.config.section import DAY_MS, Section


class WindowSection(Section):
    """Keyed windows over event time (docs/windows.md). Without a kind each event is predicted by itself."""

    kind: Literal["none", "tumbling", "hopping", "session"] = Field(
        default="none", description="how the events of a key are gathered into the rows that the model takes"
    )
    size_ms: int | None = Field(
        default=None, ge=1, le=31 * DAY_MS, description="length of tumbling and hopping windows"
    )
    hop_ms: int | None = Field(
        default=None, ge=1, le=31 * DAY_MS, description="hopping: time between the starts of two windows"
    )
    gap_ms: int | None = Field(
        default=None, ge=1, le=31 * DAY_MS, description="session: it ends this long after its last event"
    )
    max_session_ms: int = Field(
        default=DAY_MS, ge=1, le=31 * DAY_MS, description="session: it is cut at multiples of this since 1970 (UTC)"
    )
    max_out_of_orderness_ms: int = Field(
        default=1_000,
        ge=0,
        le=31 * DAY_MS,
        description="the watermark is the newest event time of the partition less this",
    )
    allowed_lateness_ms: int = Field(
        default=0,
        ge=0,
        le=31 * DAY_MS,
        description="a window is kept open for this long after the watermark has passed its end",
    )
    idle_timeout_ms: int = Field(
        default=60_000,
        ge=100,
        le=31 * DAY_MS,
        description="a partition without events for this long closes its windows by the wall clock",
    )
    max_timestamp_ahead_ms: int = Field(
        default=60_000,
        ge=0,
        le=31 * DAY_MS,
        description="an event further ahead of its record's timestamp is rejected, and of the worker's clock where the topic's "
        "timestamps are the producers' (CreateTime): it would close every window",
    )
    max_timestamp_behind_ms: int = Field(
        default=50 * 365 * DAY_MS,
        ge=1_000,
        le=200 * 365 * DAY_MS,
        description="an event further behind its record's timestamp is rejected: seconds taken for milliseconds are in 1970",
    )
    max_rows_per_window: int = Field(
        default=10_000,
        ge=1,
        le=16_777_216,
        description="maximum number of events in one window; further ones fail (sequences keep the last)",
    )
    max_open_windows: int = Field(
        default=100_000,
        ge=1,
        le=1_000_000_000,
        description="windows open in one partition; beyond it all of them are closed",
    )
    max_buffered_rows: int = Field(
        default=1_000_000,
        ge=1,
        le=10_000_000_000,
        description="events that these windows hold; beyond it all of them are closed",
    )
    max_buffered_bytes: int = Field(
        default=268_435_456,
        ge=1,
        le=1 << 40,
        description="memory of open windows and their predictions; beyond it all of them are closed",
    )
    max_replay_records: int = Field(
        default=1_000_000,
        ge=1,
        le=10_000_000_000,
        description="records of one partition that a restart may have to read again; beyond it all windows are closed",
    )
    outage_ms: int = Field(
        default=DAY_MS,
        ge=0,
        le=365 * DAY_MS,
        description="how long the worker may be away: the input must be kept that much longer than a window is open",
    )
    late_events_topic: bool = Field(
        default=False, description="whether late events are also written to the topic late-events"
    )
    on_changed: Literal["refuse", "flush"] = Field(
        default="refuse",
        description="what to do with windows that another configuration left open: refuse to start, or close them at once",
    )

    @property
    def longest_ms(self) -> int:
        """How long a window may be open, by event time, from its first event on."""
        length = self.max_session_ms if self.kind == "session" else self.size_ms or 0
        return length + self.max_out_of_orderness_ms + self.allowed_lateness_ms
