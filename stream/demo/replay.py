"""The flights of the second half of the year as encoded feature events, in the order of their schedule."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import orjson

from forebay.schemas.errors import ConfigError
from forebay.stream.demo.flights import REPLAY_MONTHS, Flight, FlightData, features_of
from forebay.stream.demo.labels import Labels, labels_of

# Every month has more flights than this; so only as many months are read as are needed.
_MIN_FLIGHTS_PER_MONTH: Final = 25_000
UNKNOWN: Final = -1


@dataclass(frozen=True, slots=True, eq=False)
class Replay:
    """Events as columns, in the order of sending. N: number of events.

    times_ms: timestamps of the events.
    labels_N: int8: 1 late, 0 on time, -1 if the flight did not arrive.
    labels: of the flights that arrived, to publish when they did.
    """

    ids: Sequence[str]
    keys: Sequence[bytes]
    values: Sequence[bytes]
    times_ms: Sequence[int]
    labels_N: npt.NDArray[np.int8]
    labels: Labels

    def __len__(self) -> int:
        return len(self.ids)


def load_replay(data: FlightData, num_events: int) -> Replay:
    """Return the first `num_events` flights from July on. Raises ConfigError if there are fewer, DataError."""
    months = REPLAY_MONTHS[: math.ceil(num_events / _MIN_FLIGHTS_PER_MONTH)]
    flights = sorted(data.read(months), key=lambda flight: flight.scheduled_ms)
    if len(flights) < num_events:
        raise ConfigError(
            f"--events {num_events}: there are only {len(flights):,} flights from July to December",
            kind="too_many_events",
            remedy=f"ask for at most {len(flights)}",
        )
    return build_replay(flights[:num_events])


def build_replay(flights: Sequence[Flight]) -> Replay:
    """Return one event per flight. The key is the flight number, so that each flight's events stay in order."""
    return Replay(
        [flight.id for flight in flights],
        [flight.key.encode() for flight in flights],
        [encode_event(flight) for flight in flights],
        times_ms=[flight.scheduled_ms for flight in flights],
        labels_N=np.array([UNKNOWN if flight.late is None else flight.late for flight in flights], dtype=np.int8),
        labels=labels_of(flights),
    )


def encode_event(flight: Flight, *, round_number: int = 1) -> bytes:
    """Return the event's JSON; its timestamp is the scheduled departure. From the second round on, its id ends in the round."""
    event_id = flight.id if round_number == 1 else f"{flight.id}-{round_number}"
    return orjson.dumps({"id": event_id, "timestamp": flight.scheduled_ms, "features": features_of(flight)})
