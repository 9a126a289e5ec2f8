"""Watches a group's committed offsets while workers come and go: they never fall."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import KafkaError, for_code

from stream.kafka.protocol import OffsetFetch
from stream.records import Partition
from tests.exactness.log_scan import raw_client
from tests.worker.harness import Stage

EVERY_S = 0.3
TIMEOUT_S = 3.0


class OffsetsWatcher:
    """samples: how many answers there were; falls: each offset that was below an earlier one."""

    def __init__(self, stage: Stage) -> None:
        self._group = stage.prefix
        self._places = [Partition(stage.topic("features"), number) for number in range(stage.partitions)]
        self._highest: dict[int, int] = {}
        self._rose_s = 0.0
        self.samples = 0
        self.falls: list[str] = []

    async def watch(self, client: AIOKafkaClient) -> None:
        """Until it is cancelled. Where the coordinator is away or loading there is no sample."""
        while True:
            with suppress(KafkaError, TimeoutError):
                async with asyncio.timeout(TIMEOUT_S):
                    self._take(await self._fetch(client))
            await asyncio.sleep(EVERY_S)

    async def _fetch(self, client: AIOKafkaClient) -> dict[int, int]:
        node = await client.coordinator_lookup(CoordinationType.GROUP, self._group)
        response = await client.send(node, OffsetFetch(self._group, self._places, require_stable=False))
        errors = [response.error_code, *(part[4] for _, answers, _ in response.topics for part in answers)]
        if any(errors):
            raise for_code(max(errors))(self._group)
        return {part[0]: part[1] for _, answers, _ in response.topics for part in answers}

    def _take(self, offsets: dict[int, int]) -> None:
        self.samples += 1
        for number, offset in offsets.items():
            highest = self._highest.get(number, -1)
            if offset < highest:
                self.falls.append(f"partition {number}: from {highest} to {offset} in sample {self.samples}")
            if offset > highest:
                self._highest[number] = offset
                self._rose_s = time.monotonic()

    def flows(self) -> bool:
        """Whether offsets rise."""
        return time.monotonic() - self._rose_s < 2 * EVERY_S

    def check(self) -> None:
        assert self.samples >= 5, "the committed offsets could hardly be seen"
        assert not self.falls, f"committed offsets fell {len(self.falls)} times: {self.falls[:5]}"


@asynccontextmanager
async def watched_offsets(stage: Stage) -> AsyncIterator[OffsetsWatcher]:
    """A watcher at work."""
    watcher = OffsetsWatcher(stage)
    async with raw_client(stage.bootstrap) as client:
        task = asyncio.create_task(watcher.watch(client))
        try:
            yield watcher
            if task.done():
                task.result()
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
