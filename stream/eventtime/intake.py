"""The intake of events into the windows of a partition: which are accepted, and why the others are rejected."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from forebay.schemas.failures import FailureKind
from forebay.stream.core.clock import Clock
from forebay.stream.core.record_columns import keys_of, offsets_of, timestamps_of
from forebay.stream.core.records import Chunk
from forebay.stream.core.rows import RowRecords, position_of, selected
from forebay.stream.eventtime.partition_state import PartitionState
from forebay.stream.eventtime.plan import WindowPlan
from forebay.stream.eventtime.restore import partition_name
from forebay.stream.eventtime.timestamp_guard import Place, ReplayDecisions, offset_of
from forebay.stream.eventtime.types import AddResult, Events
from forebay.stream.eventtime.window_chunk import AcceptedEvents, EventOutcomes, RefusedEvent

log = logging.getLogger("forebay.windows")


class EventIntake:
    """Adds the events of chunks to windows. The first event rejected for its timestamp is logged, once for each bound."""

    def __init__(self, plan: WindowPlan, *, clock: Clock) -> None:
        self._plan = plan
        self._clock = clock
        self._warned: set[FailureKind] = set()

    def add(self, state: PartitionState, chunk: Chunk, head: int) -> tuple[AddResult, EventOutcomes]:
        """Add a chunk's events to the windows.

        head: the offset of the record after them.
        """
        records, times = chunk.records, chunk.timestamps
        keys = keys_of(records)
        for row, key in chunk.keys.items():
            keys[row] = key
        record_times: list[int] = timestamps_of(records).tolist()
        refused = [
            RefusedEvent(rejection.record, rejection.kind, rejection.message, count=rejection.count)
            for rejection in chunk.rejections
        ]
        rows: list[int] | None = None
        x_NF = chunk.x_BF
        offsets: list[int] = offsets_of(records).tolist()
        bad = self._reject(state, chunk, keys, record_times=record_times, places=_places(chunk, offsets))
        if bad:
            refused += bad.values()
            rows = [row for row in range(len(records)) if row not in bad]
            offsets, keys = [offsets[row] for row in rows], [keys[row] for row in rows]
            times, x_NF = [times[row] for row in rows], x_NF[rows]
        result = state.windows.add(Events(offsets, keys, times, x_NF), head)  # type: ignore[arg-type]  # no key is None here
        accepted = record_times if rows is None else [record_times[row] for row in rows]
        if result.late or result.full:
            watermark, limit = state.windows.watermark, self._plan.limits.max_rows_per_window
            for indices, kind in ((result.late, FailureKind.LATE), (result.full, FailureKind.WINDOW_FULL)):
                for index in indices:
                    row = index if rows is None else rows[index]
                    message = (
                        f"the timestamp is {watermark - chunk.timestamps[row]} ms before the watermark"
                        if kind is FailureKind.LATE
                        else f"every open window of this event holds {limit} events, the maximum"
                    )
                    refused.append(RefusedEvent(records[row], kind, message, chunk.ids[row]))
            excluded = {*result.late, *result.full}
            accepted = [time for index, time in enumerate(accepted) if index not in excluded]
            rows = [
                row for index, row in enumerate(range(len(records)) if rows is None else rows) if index not in excluded
            ]
        refused.sort(key=lambda event: position_of(event.record))
        last = max((event.record.timestamp for event in refused), default=0)
        state.record_timestamp = max(record_times[-1] if record_times else 0, last) or state.record_timestamp
        return result, EventOutcomes(accepted, refused, _kept(chunk, rows) if self._plan.keeps_events else None)

    def _reject(
        self,
        state: PartitionState,
        chunk: Chunk,
        keys: Sequence[bytes | None],
        *,
        record_times: Sequence[int],
        places: Sequence[Place],
    ) -> dict[int, RefusedEvent]:
        """Reject events without a key or with a timestamp that cannot be right; return them by row."""
        wall_ms, times = self._clock.wall_ms(), chunk.timestamps
        decided = None
        if state.replay_target is not None:
            decided = ReplayDecisions(
                self._plan.newest_event_time(state.replay_target.checkpoint.watermark),
                frozenset(state.replay_target.clock_rejections),
            )
        wrong = state.guard.reject(times, record_times, places, wall_ms=wall_ms, replay=decided)
        bad = {}
        for row, bound in wrong.items():
            kind = FailureKind.TIMESTAMP_BEHIND if bound == "behind" else FailureKind.TIMESTAMP_AHEAD
            message = state.guard.explain(bound, times[row], record_times[row], wall_ms)
            bad[row] = RefusedEvent(chunk.records[row], kind, message, chunk.ids[row])
            if state.replay_target is None and kind not in self._warned:
                self._warned.add(kind)
                log.warning(
                    "%s: rejected the event at offset %d (%s); further events with this failure kind are not logged: %s",
                    partition_name(chunk.partition),
                    offset_of(places[row]),
                    kind.value,
                    message,
                )
        if None in keys:
            message = "neither the record nor the event has a key"
            for row, key in enumerate(keys):
                if key is None:
                    bad[row] = RefusedEvent(chunk.records[row], FailureKind.MISSING_KEY, message, chunk.ids[row])
        return bad


def _kept(chunk: Chunk, rows: Sequence[int] | None) -> AcceptedEvents:
    """Return the accepted events of a chunk. rows: None for all of them."""
    if rows is None:
        return AcceptedEvents(chunk.records, chunk.ids, chunk.timestamps)
    return AcceptedEvents(
        selected(chunk.records, rows), [chunk.ids[row] for row in rows], [chunk.timestamps[row] for row in rows]
    )


def _places(chunk: Chunk, offsets: Sequence[int]) -> Sequence[Place]:
    """Return the position of each event of a chunk. offsets: those of its records."""
    records = chunk.records
    if not isinstance(records, RowRecords):
        return offsets
    rows = records.row_B.tolist()
    return [offset if row < 0 else (offset, row) for offset, row in zip(offsets, rows, strict=True)]
