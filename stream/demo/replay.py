"""The flights of the second half of the year as feature events, ready to be sent in the order of their schedule."""

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

# Every month has more, so that no more months are read than are needed.
_FEWEST_A_MONTH: Final = 25_000
UNKNOWN: Final = -1


@dataclass(frozen=True, slots=True, eq=False)
class Replay:
    """Events as columns, in the order in which they are sent. N = how many.

    labels_N: int8, 1 late, 0 on time, -1 where the flight never arrived.
    """

    ids: Sequence[str]
    keys: Sequence[bytes]
    values: Sequence[bytes]
    labels_N: npt.NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.ids)


def load_replay(data: FlightData, num_events: int) -> Replay:
    """The first `num_events` flights from July on. Raises ConfigError where there are not so many, DataError."""
    months = REPLAY_MONTHS[: math.ceil(num_events / _FEWEST_A_MONTH)]
    flights = sorted(data.read(months), key=lambda flight: flight.scheduled_ms)
    if len(flights) < num_events:
        raise ConfigError(
            f"--events {num_events}: there are only {len(flights):,} flights from July to December",
            kind="too_many_events",
            remedy=f"ask for at most {len(flights)}",
        )
    return build_replay(flights[:num_events])


def build_replay(flights: Sequence[Flight]) -> Replay:
    """One event for each flight. The key is the flight's number: order is kept for each of them."""
    return Replay(
        [flight.id for flight in flights],
        [flight.key.encode() for flight in flights],
        [encode_event(flight) for flight in flights],
        np.array([UNKNOWN if flight.late is None else flight.late for flight in flights], dtype=np.int8),
    )


def encode_event(flight: Flight, *, round_number: int = 1) -> bytes:
    """The event's JSON; its time is that of the schedule. In a later round than the first its id names the round."""
    event_id = flight.id if round_number == 1 else f"{flight.id}-{round_number}"
    return orjson.dumps({"id": event_id, "timestamp": flight.scheduled_ms, "features": features_of(flight)})
