"""Publishing the flights from July on to any topic, at a rate, once or repeatedly."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count

from forebay.stream.core.clock import Clock
from forebay.stream.demo.flights import REPLAY_MONTHS, FlightData
from forebay.stream.demo.replay import encode_event
from forebay.stream.publish.pacer import Pacer
from forebay.stream.publish.rate_limited_publish import Sink, send_paced


async def feed(
    data: FlightData,
    sink: Sink,
    *,
    rate: float | None,
    limit: int | None,
    repeat: bool,
    clock: Clock,
    progress: Callable[[int], None] = lambda sent: None,
) -> int:
    """Send the flights in the order of their schedule, with one month in memory at a time. Return how many were sent.

    rate: events per second; None for as fast as possible.
    limit: number of events after which to stop; None for all.
    repeat: whether to start over in July after December, without end.
    progress: receives the number of events sent so far.

    Raises BrokerError, DataError.
    """
    pacer, sent = Pacer(rate, clock.monotonic_s()), 0
    for round_number in count(1) if repeat else (1,):
        for month in REPLAY_MONTHS:
            if limit is not None and sent >= limit:
                return sent
            keys, values = await asyncio.to_thread(_month, data, month, round_number)
            if limit is not None:
                keys, values = keys[: limit - sent], values[: limit - sent]
            await send_paced(
                keys, values, sink, pacer, sent=sent, clock=clock, on_sent=lambda done, now_s: progress(done)
            )
            sent += len(keys)
    return sent


def _month(data: FlightData, month: int, round_number: int) -> tuple[list[bytes], list[bytes]]:
    """Return the keys and values of a month. The key is the flight number, so that each flight's events stay in order."""
    flights = sorted(data.read([month]), key=lambda flight: flight.scheduled_ms)
    return (
        [flight.key.encode() for flight in flights],
        [encode_event(flight, round_number=round_number) for flight in flights],
    )
