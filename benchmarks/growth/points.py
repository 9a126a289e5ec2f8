"""The points that are measured: one worker each, which differs from a common base in one respect. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

BYTES_A_POINT: Final = 200_000_000
"""Points with large events get fewer of them: as many as have this size."""
MIN_EVENTS: Final = 2_000
LATENCY_BYTES_PER_S: Final = 10_000_000
"""Latency is measured at a lower rate where the events of the usual one would have more bytes than this."""
MIN_RATE: Final = 50.0


@dataclass(frozen=True, slots=True)
class Load:
    """What a worker has to do. The defaults are the base of all comparisons.

    padding_bytes: white space in each event.
    unread_fields: fields of each event that no model reads.
    keys: number of different record keys.
    windows: whether the model takes windows over event time, one for each key, which stay open.
    models: number of models; the events name them in turn.
    """

    partitions: int = 4
    processes: int = 1
    features: int = 32
    batch_size: int = 4_096
    padding_bytes: int = 0
    unread_fields: int = 0
    keys: int = 1_000
    windows: bool = False
    models: int = 1


@dataclass(frozen=True, slots=True)
class Dimension:
    """One respect in which loads differ.

    field: the field of `Load` that has the values.
    base: the load that the values are set in.
    """

    name: str
    title: str
    field: str
    values: tuple[int, ...]
    base: Load = Load()


@dataclass(frozen=True, slots=True)
class Point:
    """One load of a dimension. value: what the field of the dimension is."""

    dimension: str
    value: int
    load: Load


DIMENSIONS: Final[Mapping[str, Dimension]] = MappingProxyType(
    {
        dimension.name: dimension
        for dimension in (
            Dimension("partitions", "partitions of each topic", "partitions", (1, 4, 16, 64, 256)),
            Dimension("processes", "processes, 8 partitions", "processes", (1, 2, 4), base=Load(partitions=8)),
            Dimension("features", "features of an event", "features", (8, 32, 128, 512, 4_096)),
            Dimension("batch", "batch.max_batch_size", "batch_size", (64, 512, 4_096, 16_384)),
            Dimension("record", "more bytes in each event", "padding_bytes", (0, 1_024, 8_192, 65_536)),
            Dimension("unread", "fields that no model reads", "unread_fields", (0, 1, 8)),
            Dimension("keys", "different keys", "keys", (1, 1_000, 100_000)),
            Dimension(
                "windows",
                "open windows, one a key, 8 features",
                "keys",
                (1_000, 10_000, 100_000),
                base=Load(windows=True, features=8),
            ),
            Dimension("models", "models, events in turn", "models", (1, 2, 4, 8)),
        )
    }
)


def points_of(names: Sequence[str], *, quick: bool) -> list[Point]:
    """Return the points of these dimensions. quick: only the first and the last of each.

    Raises KeyError for a dimension that does not exist.
    """
    points = []
    for name in names:
        dimension = DIMENSIONS[name]
        values = (dimension.values[0], dimension.values[-1]) if quick else dimension.values
        points += [
            Point(name, value, replace(dimension.base, **{dimension.field: value}))  # type: ignore[arg-type]
            for value in values
        ]
    return points


def in_order(points: Sequence[Point], number: int) -> list[Point]:
    """Return the points in the order of round `number`: every second round is reversed, so that a drift shows in the range."""
    return list(points if number % 2 == 0 else reversed(points))


def num_events(event_bytes: int, most: int) -> int:
    """Return how many events are drained, at most `most`."""
    return max(MIN_EVENTS, min(most, BYTES_A_POINT // event_bytes))


def latency_rate(event_bytes: int, most: float) -> float:
    """Return the events per second at which latency is measured, at most `most`."""
    return max(MIN_RATE, min(most, LATENCY_BYTES_PER_S / event_bytes))
