"""Plan a replay from the cluster's dead letters, and publish it in order per partition, with every delivery confirmed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from forebay.schemas.errors import BrokerError
from forebay.stream.config.sections import KafkaSection
from forebay.stream.core.clock import Clock
from forebay.stream.core.quantities import quantity
from forebay.stream.dlq.dead_letter import DeadLetter
from forebay.stream.dlq.filter import DeadLetterFilter
from forebay.stream.dlq.reader import DeadLetterReader, Progress
from forebay.stream.dlq.replay_history import ReplayHistory
from forebay.stream.dlq.replay_plan import ReplayPlan, ReplayPlanner, ReplayTarget, reason_to_skip
from forebay.stream.kafka.cluster.topics import topic_limits
from forebay.stream.kafka.consumer.topic_reader import OffsetRanges
from forebay.stream.publish.pacer import Pacer
from forebay.stream.publish.publisher import Publisher
from forebay.stream.publish.rate_limited_publish import TICK_S

CHUNK_RECORDS: Final = 1000
CHUNK_BYTES: Final = 1_048_576

Sleep = Callable[[float], Awaitable[None]]


async def plan_replay(
    reader: DeadLetterReader,
    kafka: KafkaSection,
    selection: DeadLetterFilter,
    *,
    max_replays: int,
    limit: int | None,
    progress: Progress,
    outputs: Collection[str] = (),
    token: bytes | None = None,
) -> ReplayPlan:
    """Read the dead letters up to the current end and plan their replay. Raises BrokerError.

    outputs: topics to which nothing is replayed.
    token: of the user who replays (see `replay_headers`).
    """
    planner = ReplayPlanner(token)
    targets: dict[str, ReplayTarget | None] = {}
    extent = await reader.extent(since_ms=selection.since_ms)
    async for dead_letter in reader.dead_letters(extent, progress=progress):
        planner.add_to_history(dead_letter)
        if selection.matches(dead_letter):
            topic = dead_letter.source.topic
            if topic not in targets:
                targets[topic] = await _look_up(reader, kafka, topic)
            planner.add(dead_letter, reason_to_skip(dead_letter, targets[topic], outputs, token=token))
    await _read_earlier_dead_letters(reader, planner.history, extent, progress)
    return planner.finish(limit, max_replays=max_replays)


async def _read_earlier_dead_letters(
    reader: DeadLetterReader, history: ReplayHistory, extent: OffsetRanges, progress: Progress
) -> None:
    """Read the dead letters before `extent` that later ones name: replays cannot be counted without them."""
    read_from = {partition: offsets.start for partition, offsets in extent.items()}
    while unread := history.unread(read_from):
        whole = await reader.extent()
        earlier = {
            partition: range(max(offset, whole[partition].start), read_from[partition])
            for partition, offset in unread.items()
        }
        earlier = {partition: offsets for partition, offsets in earlier.items() if offsets}
        if not earlier:
            return  # removed by the topic's retention
        read_from |= {partition: offsets.start for partition, offsets in earlier.items()}
        async for dead_letter in reader.dead_letters(earlier, progress=progress):
            history.add(dead_letter)


async def _look_up(reader: DeadLetterReader, kafka: KafkaSection, topic: str) -> ReplayTarget | None:
    count = await reader.num_partitions(topic)
    return None if count is None else ReplayTarget(count, (await topic_limits(kafka, [topic]))[topic])


@dataclass(slots=True)
class ReplayProgress:
    """The events published so far.

    delivered: number of the `sent` events that the cluster has confirmed. seconds: duration of the run.
    """

    sent: int = 0
    delivered: int = 0
    seconds: float = 0.0
    topics: Counter[str] = field(default_factory=Counter)


class Replayer:
    """Publishes the events of a plan, at `rate` events per second (None: as fast as possible).

    progress: what was published so far; valid at any time, also after an error.
    """

    def __init__(
        self,
        options: Mapping[str, object],
        *,
        clock: Clock,
        rate: float | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._options = dict(options)
        self._clock = clock
        self._rate = rate
        self._sleep = sleep
        self._publishers: dict[str, Publisher] = {}
        self.progress = ReplayProgress()

    async def run(
        self, reader: DeadLetterReader, plan: ReplayPlan, on_progress: Callable[[int], None] = lambda sent: None
    ) -> None:
        """Publish the whole plan. Raises BrokerError; more events than `progress` counts may then have been delivered."""
        started_s = self._clock.monotonic_s()
        pacer = Pacer(self._rate, started_s)
        pending: list[DeadLetter] = []
        num_bytes = 0
        try:
            async for dead_letter in reader.dead_letters(plan.extent):
                if not plan.contains(dead_letter):
                    continue
                pending.append(dead_letter)
                num_bytes += len(dead_letter.value or b"")
                if len(pending) >= CHUNK_RECORDS or num_bytes >= CHUNK_BYTES:
                    await self._send(plan, pending, pacer, on_progress)
                    pending, num_bytes = [], 0
            await self._send(plan, pending, pacer, on_progress)
            for publisher in self._publishers.values():
                await publisher.flush()
        except BrokerError as error:
            confirmed = f"{self._num_delivered():,} of {quantity(plan.num_dead_letters, 'event')}"
            raise BrokerError(
                f"{error.message} (replayed and confirmed before the failure: {confirmed})",
                kind=error.kind,
                remedy=error.remedy,
            ) from error
        finally:
            self.progress.delivered = self._num_delivered()
            self.progress.seconds = self._clock.monotonic_s() - started_s
            for publisher in self._publishers.values():
                await publisher.stop()

    def _num_delivered(self) -> int:
        return sum(publisher.num_delivered for publisher in self._publishers.values())

    async def _send(
        self, plan: ReplayPlan, dead_letters: list[DeadLetter], pacer: Pacer, on_progress: Callable[[int], None]
    ) -> None:
        """Send dead letters when they are due, after all that were sent before."""
        start = 0
        while start < len(dead_letters):
            now_s = self._clock.monotonic_s()
            due = pacer.num_due(now_s, self.progress.sent, len(dead_letters) - start)
            if due == 0:
                await self._sleep(max(TICK_S, pacer.wait_s(now_s, self.progress.sent)))
                continue
            await self._send_now(plan, dead_letters[start : start + due])
            start += due
            self.progress.sent += due
            on_progress(self.progress.sent)

    async def _send_now(self, plan: ReplayPlan, dead_letters: list[DeadLetter]) -> None:
        batches: dict[tuple[str, int], list[DeadLetter]] = {}
        for dead_letter in dead_letters:
            publisher = await self._publisher(dead_letter.source.topic)
            # The event returns to its original partition, if the topic still has it.
            number = dead_letter.source.partition
            if number not in publisher.partitions:
                number = publisher.choose_partition(dead_letter.key)
            batches.setdefault((dead_letter.source.topic, number), []).append(dead_letter)
        for (topic, number), batch in batches.items():
            records = [(dead_letter.key, dead_letter.value, plan.headers(dead_letter)) for dead_letter in batch]
            await self._publishers[topic].send_to(number, records, timestamp_ms=self._clock.wall_ms())
            self.progress.topics[topic] += len(batch)

    async def _publisher(self, topic: str) -> Publisher:
        if topic not in self._publishers:
            publisher = Publisher(self._options, topic)
            await publisher.start()
            self._publishers[topic] = publisher
        return self._publishers[topic]
