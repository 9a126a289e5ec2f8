"""The intake of events into the windows of a partition: which are accepted, and why the others are rejected."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from operator import attrgetter

from forebay.schemas.failures import FailureKind
from forebay.stream.core.clock import Clock
from forebay.stream.core.records import Chunk
from forebay.stream.eventtime.partition_state import PartitionState
from forebay.stream.eventtime.plan import WindowPlan
from forebay.stream.eventtime.restore import partition_name
from forebay.stream.eventtime.timestamp_guard import Decided
from forebay.stream.eventtime.types import Events, Verdict
from forebay.stream.eventtime.window_chunk import EventOutcomes, Refused

log = logging.getLogger("forebay.windows")

_KEY, _OFFSET, _TIMESTAMP = attrgetter("key"), attrgetter("offset"), attrgetter("timestamp")


class EventIntake:
    """Adds the events of chunks to windows. The first event rejected for its timestamp is logged, once for each bound."""

    def __init__(self, plan: WindowPlan, *, clock: Clock) -> None:
        self._plan = plan
        self._clock = clock
        self._warned: set[FailureKind] = set()

    def add(self, held: PartitionState, chunk: Chunk, head: int) -> tuple[Verdict, EventOutcomes]:
        """Add a chunk's events to the windows. `head`: the offset of the record after them."""
        records, times = chunk.records, chunk.timestamps
        keys: list[bytes | None] = list(map(_KEY, records))
        for row, key in chunk.keys.items():
            keys[row] = key
        stamps: list[int] = list(map(_TIMESTAMP, records))
        refused = [Refused(one.record, one.kind, one.message, count=one.count) for one in chunk.rejections]
        rows: list[int] | None = None
        x_NF = chunk.x_BF
        offsets: list[int] = list(map(_OFFSET, records))
        bad = self._reject(held, chunk, keys, stamps=stamps, offsets=offsets)
        if bad:
            refused += bad.values()
            rows = [row for row in range(len(records)) if row not in bad]
            offsets, keys = [offsets[row] for row in rows], [keys[row] for row in rows]
            times, x_NF = [times[row] for row in rows], x_NF[rows]
        verdict = held.windows.add(Events(offsets, keys, times, x_NF), head)  # type: ignore[arg-type]  # no key is None here
        taken = stamps if rows is None else [stamps[row] for row in rows]
        if verdict.late or verdict.full:
            watermark, most = held.windows.watermark, self._plan.limits.max_rows_per_window
            for places, kind in ((verdict.late, FailureKind.LATE), (verdict.full, FailureKind.WINDOW_FULL)):
                for place in places:
                    row = place if rows is None else rows[place]
                    message = (
                        f"{watermark - chunk.timestamps[row]} ms before the watermark"
                        if kind is FailureKind.LATE
                        else f"its window holds {most} events"
                    )
                    refused.append(Refused(records[row], kind, message, chunk.ids[row]))
            gone = {*verdict.late, *verdict.full}
            taken = [stamp for place, stamp in enumerate(taken) if place not in gone]
        refused.sort(key=lambda one: one.record.offset)
        last = max((one.record.timestamp for one in refused), default=0)
        held.record_timestamp = max(stamps[-1] if stamps else 0, last) or held.record_timestamp
        return verdict, EventOutcomes(taken, refused)

    def _reject(
        self,
        held: PartitionState,
        chunk: Chunk,
        keys: Sequence[bytes | None],
        *,
        stamps: Sequence[int],
        offsets: Sequence[int],
    ) -> dict[int, Refused]:
        """Reject events without a key or with a timestamp that cannot be right; return them by row."""
        wall_ms, times = self._clock.wall_ms(), chunk.timestamps
        decided = None
        if held.until is not None:
            decided = Decided(self._plan.newest_at(held.until.checkpoint.watermark), frozenset(held.until.by_clock))
        wrong = held.guard.reject(times, stamps, offsets, wall_ms=wall_ms, replay=decided)
        bad = {}
        for row, bound in wrong.items():
            kind = FailureKind.TIMESTAMP_BEHIND if bound == "behind" else FailureKind.TIMESTAMP_AHEAD
            message = held.guard.explain(bound, times[row], stamps[row], wall_ms)
            bad[row] = Refused(chunk.records[row], kind, message, chunk.ids[row])
            if held.until is None and kind not in self._warned:
                self._warned.add(kind)
                log.warning(
                    "%s: the event at offset %d is rejected (%s), and others after it will be without a line here: %s",
                    partition_name(chunk.partition),
                    offsets[row],
                    kind.value,
                    message,
                )
        if None in keys:
            message = "neither the record nor the event has a key"
            for row, key in enumerate(keys):
                if key is None:
                    bad[row] = Refused(chunk.records[row], FailureKind.MISSING_KEY, message, chunk.ids[row])
        return bad
