"""The only poll of the consumer lag; telemetry and the admin API share its results."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from forebay.stream.core.clock import Clock
from forebay.stream.core.records import PartitionLag, TopicPartition

log = logging.getLogger("forebay.telemetry")

POLL_S: Final = 2.0
TIMEOUT_S: Final = 10.0


class LagSource(Protocol):
    """What the poller requests from the source (see `kafka.consumer.source`)."""

    async def partition_lags(self) -> Mapping[TopicPartition, PartitionLag]: ...
    async def ask_cluster(self) -> None: ...


class LagPoller:
    """Requests the lag of the assigned partitions every `POLL_S` seconds.

    on_lags: receives each result.
    partition_lags: the last result; empty while the gate is closed.
    answered_s: the monotonic time at which the cluster last answered; None if it never has.
    """

    def __init__(
        self,
        source: LagSource,
        on_lags: Callable[[Mapping[TopicPartition, PartitionLag]], None],
        *,
        clock: Clock,
    ) -> None:
        self._source = source
        self._on_lags = on_lags
        self._clock = clock
        self.partition_lags: Mapping[TopicPartition, PartitionLag] = {}
        self.answered_s: float | None = None

    async def run(self) -> None:
        """Poll until cancelled. A failed poll keeps the last result."""
        while True:
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    await self.poll()
            except Exception as error:  # of many kinds; each only means that there was no response
                log.debug("cannot measure the lag: %s", error)
            await asyncio.sleep(POLL_S)

    async def poll(self) -> None:
        """Poll once. Raises what the client raises."""
        partition_lags = await self._source.partition_lags()
        if not partition_lags:
            self._on_lags(partition_lags)
            # Without a partition to request, this shows that the cluster answers.
            await self._source.ask_cluster()
        self.partition_lags = partition_lags
        self.answered_s = self._clock.monotonic_s()
        if partition_lags:
            # Last: an error in it must not look as if the cluster did not answer.
            self._on_lags(partition_lags)
