"""Whether the worker is under load, so that its shadows must not take time from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from forebay.stream.core.records import PartitionLag, TopicPartition
from forebay.stream.pipeline.in_flight import InFlight


class KnownLags(Protocol):
    """What is known of the consumer lag (see `kafka.consumer.lag_poller`)."""

    @property
    def partition_lags(self) -> Mapping[TopicPartition, PartitionLag]: ...


class WorkerLoad:
    """Compares what is in flight and what waits in the log with the limits of what may be in flight.

    The load is high from half of a limit on, long before the stream waits; and while more events wait in the log than may be in
    flight, which means that the worker is behind.
    """

    def __init__(self, in_flight: InFlight) -> None:
        self._in_flight = in_flight
        self._lags: KnownLags | None = None
        self._summed: Mapping[TopicPartition, PartitionLag] = {}
        self._lag = 0

    def connect(self, lags: KnownLags) -> None:
        """Set where the lag is known. It is built later."""
        self._lags = lags

    def is_high(self) -> bool:
        """Return whether shadows have to wait."""
        if not self._in_flight.is_low():
            return True
        lags = {} if self._lags is None else self._lags.partition_lags
        if lags is not self._summed:  # each poll of the lag makes a new mapping
            self._summed, self._lag = lags, sum(lag.lag for lag in lags.values())
        return self._lag > self._in_flight.bounds.max_events
