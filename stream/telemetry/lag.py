"""Consumer lag in records and in seconds. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from forebay.stream.core.records import PartitionLag, TopicPartition


class Lag(NamedTuple):
    """The lag of one partition."""

    records: int
    seconds: float


class LagMeter:
    """Computes lag in seconds.

    The timestamp of an unread record is unknown, so its age is bounded from above: it was written after the last record that
    was read, and after the last moment at which nothing was left to read. The later of the two counts. Before either is
    known, the time since the partition was first seen is used.
    """

    def __init__(self) -> None:
        self._since_ms: dict[TopicPartition, int] = {}

    def measure(
        self,
        partition_lags: Mapping[TopicPartition, PartitionLag],
        last_read_ms: Mapping[TopicPartition, int],
        *,
        now_ms: int,
    ) -> dict[TopicPartition, Lag]:
        """Return the lag of each partition in `partition_lags`; other partitions are forgotten.

        last_read_ms: timestamps of the last records read.
        """
        self._since_ms = {partition: self._since_ms.get(partition, now_ms) for partition in partition_lags}
        lags = {}
        for partition, partition_lag in partition_lags.items():
            if not partition_lag.lag:
                self._since_ms[partition] = now_ms
            since_ms = max(self._since_ms[partition], last_read_ms.get(partition, 0))
            lags[partition] = Lag(partition_lag.lag, max(0, now_ms - since_ms) / 1000 if partition_lag.lag else 0.0)
        return lags
