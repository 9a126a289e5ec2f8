"""The load of a worker, as its shadows see it."""

from __future__ import annotations

from collections.abc import Mapping

from forebay.stream.core.records import PartitionLag, TopicPartition
from forebay.stream.pipeline.in_flight import Bounds, InFlight
from forebay.stream.shadows.load import WorkerLoad
from tests.core.build import P0, P1


class Lags:
    def __init__(self, *lags: int) -> None:
        self.partition_lags: Mapping[TopicPartition, PartitionLag] = dict(
            zip((P0, P1), (PartitionLag(10, 10 + lag) for lag in lags), strict=False)
        )


def in_flight(events: int = 0, num_bytes: int = 0) -> InFlight:
    counts = InFlight(Bounds(100, 1_000, 8))
    counts.on_polled(events=events, num_bytes=num_bytes)
    return counts


def test_the_load_is_high_from_half_of_a_limit_on() -> None:
    assert not WorkerLoad(in_flight(50, 500)).is_high()
    assert WorkerLoad(in_flight(51, 10)).is_high()
    assert WorkerLoad(in_flight(1, 501)).is_high()


def test_the_load_is_high_while_the_worker_is_behind() -> None:
    load = WorkerLoad(in_flight())
    load.connect(Lags(60, 40))
    assert not load.is_high()
    load.connect(Lags(60, 41))
    assert load.is_high()
    load.connect(Lags())  # no partition is assigned
    assert not load.is_high()
