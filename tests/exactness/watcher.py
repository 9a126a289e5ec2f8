"""A watcher of a group's committed offsets, which must never fall while workers come and go."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import KafkaError, for_code

from forebay.stream.core.records import TopicPartition
from forebay.stream.kafka.consumer.group_offsets import UNSTABLE_OFFSET_COMMIT
from forebay.stream.kafka.protocol.offset_requests import OffsetFetch
from tests.exactness.log_scan import raw_client
from tests.worker.harness import WorkerGroup

EVERY_S = 0.2
TIMEOUT_S = 3.0
FLOWS_S = 0.8


class OffsetsWatcher:
    """Records falling offsets.

    samples: the number of responses.
    falls: each offset that was below an earlier one.
    longest_still_s: the longest time in which no offset rose."""

    def __init__(self, worker_group: WorkerGroup) -> None:
        self._group = worker_group.prefix
        self._places = [
            TopicPartition(worker_group.topic(name), number)
            for name in worker_group.inputs
            for number in range(worker_group.partitions)
        ]
        self._highest: dict[TopicPartition, int] = {}
        self._rose_s = 0.0
        self.samples = 0
        self.falls: list[str] = []
        self.longest_still_s = 0.0

    async def watch(self, client: AIOKafkaClient) -> None:
        """Sample the offsets until cancelled. There is no sample while the coordinator is unreachable or loading."""
        while True:
            with suppress(KafkaError, TimeoutError):
                async with asyncio.timeout(TIMEOUT_S):
                    self._take(await self._fetch(client))
            await asyncio.sleep(EVERY_S)

    async def _fetch(self, client: AIOKafkaClient) -> dict[TopicPartition, int]:
        node = await client.coordinator_lookup(CoordinationType.GROUP, self._group)
        # Stable offsets: without this, a coordinator that had just started after an outage of the whole cluster was seen to
        # return offsets from before its last commits, or none at all (Kafka 4.1.1).
        response = await client.send(node, OffsetFetch(self._group, self._places, require_stable=True))
        parts = [(topic, part) for topic, answers, _ in response.topics for part in answers]
        errors = {response.error_code, *(part[4] for _, part in parts)} - {0, UNSTABLE_OFFSET_COMMIT}
        if errors:
            raise for_code(max(errors))(self._group)
        return {TopicPartition(topic, part[0]): part[1] for topic, part in parts if not part[4]}

    def _take(self, offsets: dict[TopicPartition, int]) -> None:
        self.samples += 1
        for place, offset in offsets.items():
            highest = self._highest.get(place, -1)
            if offset < highest:
                self.falls.append(
                    f"{place.topic}-{place.partition}: from {highest} to {offset} in sample {self.samples}"
                )
            if offset > highest:
                self._highest[place] = offset
                now_s = time.monotonic()
                if self._rose_s:
                    self.longest_still_s = max(self.longest_still_s, now_s - self._rose_s)
                self._rose_s = now_s

    def flows(self) -> bool:
        """Return whether offsets are rising."""
        return time.monotonic() - self._rose_s < FLOWS_S

    def check(self) -> None:
        assert self.samples >= 5, "the committed offsets were sampled too rarely"
        assert not self.falls, f"committed offsets fell {len(self.falls)} times: {self.falls[:5]}"


@asynccontextmanager
async def watched_offsets(worker_group: WorkerGroup) -> AsyncIterator[OffsetsWatcher]:
    """Yield a running watcher."""
    watcher = OffsetsWatcher(worker_group)
    async with raw_client(worker_group.bootstrap) as client:
        task = asyncio.create_task(watcher.watch(client))
        try:
            yield watcher
            if task.done():
                task.result()
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
