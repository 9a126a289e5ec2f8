"""The labels of the demo: whether each flight was late, published when it had arrived, hours after its event."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from forebay.stream.core.clock import Clock
from forebay.stream.demo.flights import Flight
from forebay.stream.publish.rate_limited_publish import CHUNK_EVENTS, Sink

_TICK_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of the flights that arrived, as columns, in the order of their times (ms since the Unix epoch)."""

    keys: Sequence[bytes]
    values: Sequence[bytes]
    times_ms: Sequence[int]

    def __len__(self) -> int:
        return len(self.keys)


def labels_of(flights: Sequence[Flight]) -> Labels:
    """Return the labels. The key is that of the event, so that a label is in the partition of its prediction."""
    arrived = sorted(
        ((time_ms, flight) for flight in flights if (time_ms := flight.arrived_ms) is not None),
        key=lambda pair: pair[0],
    )
    return Labels(
        [flight.key.encode() for _, flight in arrived],
        [
            orjson.dumps({"id": flight.id, "label": bool(flight.late), "timestamp": time_ms})
            for time_ms, flight in arrived
        ],
        [time_ms for time_ms, _ in arrived],
    )


async def publish_labels(
    labels: Labels, sink: Sink, *, event_time_ms: Callable[[], int | None], clock: Clock, sleep_s: float = _TICK_S
) -> None:
    """Publish each label once the events have reached its time.

    event_time_ms: returns the time of the last event that was sent; None once all were sent, after which no label waits.
    """
    sent = 0
    while sent < len(labels):
        now_ms = event_time_ms()
        due = len(labels) if now_ms is None else bisect_right(labels.times_ms, now_ms)
        while sent < due:
            chunk = slice(sent, min(due, sent + CHUNK_EVENTS))
            await sink.send(labels.keys[chunk], labels.values[chunk], timestamp_ms=clock.wall_ms(), headers=())
            sent = chunk.stop
        if sent < len(labels):
            await asyncio.sleep(sleep_s)
    await sink.flush()
